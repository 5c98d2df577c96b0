import gzip
import hashlib
import io
import random
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import InputError
from stages.mnist.source.idx import FILES, Digits, pack
from stages.mnist.source.local import NPZ_NAMES, from_folder, from_path
from tests.mnist.conftest import checksums, idx_folder


def npz(digits: Digits, path: Path) -> Path:
    np.savez_compressed(path, allow_pickle=False, **{NPZ_NAMES[key]: values for key, values in digits.items()})
    return path


def same(found: Digits, digits: Digits) -> bool:
    return found.keys() == digits.keys() and all((found[key] == digits[key]).all() for key in digits)


def test_every_form_gives_the_same_digits(digits: Digits, tmp_path: Path) -> None:
    md5 = checksums(digits)
    dotted = idx_folder(digits, tmp_path / "dotted")
    for path in dotted.iterdir():
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    for form in (
        npz(digits, tmp_path / "mnist.npz"),
        idx_folder(digits, tmp_path / "idx"),
        idx_folder(digits, tmp_path / "gz", ".gz"),
        dotted,
    ):
        assert same(from_path(form, md5), digits)


def test_folders_and_broken_links_are_no_files(digits: Digits, tmp_path: Path) -> None:
    """As in Kaggle's copy of MNIST, whose folders are called as the files in them."""
    folder = idx_folder(digits, tmp_path / "kaggle")
    for path in list(folder.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
        path.mkdir()
        (path / "again").touch()
    (folder / "train-images-idx3-ubyte.gz").symlink_to("not fetched")
    assert same(from_folder(folder, checksums(digits)), digits)
    with zipfile.ZipFile(tmp_path / "kaggle.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.exists():
                archive.write(path, path.relative_to(folder))
    assert same(from_path(tmp_path / "kaggle.zip", checksums(digits)), digits)


def test_checksums_of_the_compressed_files_do_as_well(digits: Digits, tmp_path: Path) -> None:
    folder = idx_folder(digits, tmp_path / "gz", ".gz")
    md5 = {key: hashlib.md5((folder / f"{name}.gz").read_bytes()).hexdigest() for key, name in FILES.items()}
    assert same(from_folder(folder, md5), digits)


def test_of_several_splits_the_checksums_choose(digits: Digits, tmp_path: Path) -> None:
    inverted = {key: values if key.endswith("labels") else 255 - values for key, values in digits.items()}
    idx_folder(inverted, tmp_path / "emnist", ".gz", "emnist-balanced-")
    idx_folder(digits, tmp_path / "emnist", ".gz", "emnist-digits-")
    for path in (tmp_path / "emnist").iterdir():
        path.rename(path.with_name(path.name.replace("t10k", "test")))
    (tmp_path / "emnist" / "._emnist-digits-train-images-idx3-ubyte.gz").write_bytes(b"a file of macOS")
    assert same(from_folder(tmp_path / "emnist", checksums(digits)), digits)
    assert same(from_folder(tmp_path / "emnist", checksums(inverted)), inverted)
    with pytest.raises(InputError) as refused:
        from_folder(tmp_path / "emnist", checksums(digits) | {"train_labels": "0" * 32})
    assert "emnist-balanced-train-labels-idx1-ubyte.gz: expected MD5 000" in str(refused.value)
    assert "emnist-digits-train-labels-idx1-ubyte.gz: expected MD5 000" in str(refused.value)


KMNIST_NAMES = {key: f"kmnist-{key.replace('_', '-').replace('images', 'imgs')}.npz" for key in FILES}


def test_kmnists_four_npz_files(digits: Digits, tmp_path: Path) -> None:
    for key, values in digits.items():
        np.savez_compressed(tmp_path / KMNIST_NAMES[key], values)
    assert same(from_path(tmp_path, checksums(digits)), digits)
    md5 = {key: hashlib.md5((tmp_path / name).read_bytes()).hexdigest() for key, name in KMNIST_NAMES.items()}
    assert same(from_path(tmp_path, md5), digits)
    np.savez(tmp_path / KMNIST_NAMES["test_labels"], digits["test_labels"], digits["test_labels"])
    with pytest.raises(InputError, match=r"kmnist-test-labels\.npz: expected an \.npz with one array: too many values"):
        from_path(tmp_path, md5)
    np.savez(tmp_path / KMNIST_NAMES["test_labels"], digits["test_labels"].astype(int))
    with pytest.raises(InputError, match=r"kmnist-test-labels\.npz: expected an array of uint8, found int64 \[20\]"):
        from_path(tmp_path, md5)


def emnist_archive(digits: Digits, path: Path) -> Path:
    """An archive like EMNIST's gzip.zip, of two splits; the other one is inverted."""
    inverted = {key: values if key.endswith("labels") else 255 - values for key, values in digits.items()}
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("gzip")
        for split, values in (("balanced", inverted), ("digits", digits)):
            archive.writestr(f"gzip/emnist-{split}-mapping.txt", "0 48")
            for key, name in FILES.items():
                packed = gzip.compress(pack(values[key]), mtime=0)
                archive.writestr(f"gzip/emnist-{split}-{name.replace('t10k', 'test')}.gz", packed)
    return path


def test_emnists_archive(digits: Digits, tmp_path: Path) -> None:
    archive = emnist_archive(digits, tmp_path / "gzip.zip")
    assert same(from_path(archive, checksums(digits)), digits)
    md5 = {key: hashlib.md5(gzip.compress(pack(values), mtime=0)).hexdigest() for key, values in digits.items()}
    assert same(from_path(archive, md5), digits)
    with pytest.raises(InputError, match=r"gzip/emnist-balanced-train-images-idx3-ubyte\.gz: expected MD5 0"):
        from_path(archive, md5 | {"train_images": "0" * 32})
    raw = bytearray(archive.read_bytes())
    raw[300:310] = bytes(10)
    archive.write_bytes(raw)
    with pytest.raises(InputError, match=r"gzip\.zip/gzip/emnist-.*\.gz: damaged zip archive: "):
        from_path(archive, md5)


def damaged_gzip(raw: bytes) -> bytes:
    """A gzip file whose deflated bytes are invalid inside: not `OSError`, but `zlib.error`."""
    whole, draw = gzip.compress(raw, 1, mtime=0), random.Random(1)
    while True:
        damaged = bytearray(whole)
        at = draw.randint(20, len(whole) - 50)
        damaged[at : at + 30] = draw.randbytes(30)
        try:
            gzip.decompress(bytes(damaged))
        except OSError:
            continue
        except zlib.error:
            return bytes(damaged)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param("missing", "no such file; expected it and three more, gzip or not", id="missing"),
        pytest.param("flipped", r"expected MD5 \w{32} \(mnist\.fetch\.md5\.train_images\), found \w{32}", id="flipped"),
        pytest.param("truncated", "expected 47,056 bytes as its header says, found 46,956", id="truncated"),
        pytest.param("short gzip", "damaged gzip file: Compressed file ended", id="gzip, truncated"),
        pytest.param("damaged gzip", "damaged gzip file: Error -3", id="gzip, damaged inside"),
    ],
)
def test_a_damaged_file_is_named(digits: Digits, tmp_path: Path, damage: str, message: str) -> None:
    folder = idx_folder(digits, tmp_path / "idx")
    path = folder / FILES["train_images"]
    raw = path.read_bytes()
    replacement = {
        "flipped": raw[:100] + bytes([raw[100] ^ 1]) + raw[101:],
        "truncated": raw[:-100],
        "short gzip": gzip.compress(raw)[:-100],
        "damaged gzip": damaged_gzip(raw),
    }
    path.unlink() if damage == "missing" else path.write_bytes(replacement[damage])
    with pytest.raises(InputError, match=f"{path}: {message}"):
        from_folder(folder, checksums(digits))


def test_an_npz_of_something_else_is_refused(digits: Digits, tmp_path: Path) -> None:
    md5 = checksums(digits)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.save(tmp_path / "images.npy", digits["train_images"])
    (tmp_path / "words.npz").write_text("words")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(
            InputError, match=rf"{path.name}: expected .* an \.npz with x_train, y_train, x_test, y_test: "
        ):
            from_path(path, md5)
    np.savez(tmp_path / "objects.npz", allow_pickle=True, **{name: np.array([None]) for name in NPZ_NAMES.values()})
    with pytest.raises(InputError, match=r"objects\.npz/x_train\.npy: expected an \.npy: Object arrays cannot be"):
        from_path(tmp_path / "objects.npz", md5)
    floats = {NPZ_NAMES[key]: values.astype(float) for key, values in digits.items()}
    np.savez(tmp_path / "floats.npz", allow_pickle=False, **floats)
    with pytest.raises(InputError, match=r"x_train\.npy: expected an array of uint8, found float64 \[60, 28, 28\]"):
        from_path(tmp_path / "floats.npz", md5)
    with pytest.raises(InputError, match=r"x_train\.npy: expected MD5 0000"):
        from_path(npz(digits, tmp_path / "good.npz"), md5 | {"train_images": "0" * 32})


def test_what_is_there_is_said(digits: Digits, tmp_path: Path) -> None:
    folder, md5 = idx_folder(digits, tmp_path / "idx"), checksums(digits)
    (folder / FILES["train_labels"]).unlink()
    header = b"\0\0\x0c\x02" + struct.pack(">2I", 60, 8)
    (folder / "qmnist-train-labels-idx2-int").write_bytes(header + bytes(60 * 8 * 4))
    found = r"qmnist-train-labels-idx2-int: expected .* 1 dimensions; found int32 \[60, 8\]"
    with pytest.raises(InputError, match=found):
        from_path(folder, md5)
    solid = digits | {"train_labels": digits["train_labels"].reshape(60, 1, 1)}
    with pytest.raises(InputError, match=r"y_train\.npy: .* uint8, found uint8 \[60, 1, 1\]; expected \[n\]"):
        from_path(npz(solid, tmp_path / "solid.npz"), md5)


def npy_header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def zeros(file: IO[bytes], start: bytes) -> None:
    """Write 256 MiB of zeros after a start; packed, they take a quarter of a megabyte."""
    file.write(start)
    for _ in range(256):
        file.write(bytes(1 << 20))


@pytest.mark.parametrize("form", ["gz", "zip", "npz"])
def test_a_file_is_read_no_further_than_its_header_says(digits: Digits, tmp_path: Path, form: str) -> None:
    name = FILES["train_images"]
    for start, words in (
        (b"", "found a file that begins with 00 00 00 00"),
        (pack(digits["train_images"]), "found more"),
    ):
        path = tmp_path / (f"{name}.gz" if form == "gz" else f"a.{form}")
        if form == "gz":
            with gzip.open(path, "wb", compresslevel=1) as packed:
                zeros(cast(IO[bytes], packed), start)
        else:
            inside, start = (name, start) if form == "zip" else ("x_train.npy", npy_header((342393, 784)))
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(inside, "w") as member:
                zeros(member, start)
        tracemalloc.start()
        with pytest.raises(InputError, match=r"found uint8 \[342393, 784\]" if form == "npz" else words):
            from_path(tmp_path if form == "gz" else path, checksums(digits))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
        tracemalloc.stop()


def test_a_missing_path_names_its_parameter(digits: Digits, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none: no such file or folder \(mnist\.fetch\.path\)"):
        from_path(tmp_path / "none", checksums(digits))


@pytest.fixture(scope="session")
def forms(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("forms")
    few = {key: values[:2] for key, values in digits.items()}
    idx = idx_folder(few, folder / "idx"), idx_folder(few, folder / "gz", ".gz")
    kmnist = folder / "kmnist"
    kmnist.mkdir()
    for key, values in few.items():
        np.savez_compressed(kmnist / KMNIST_NAMES[key], values)
    return [
        npz(few, folder / "few.npz"),
        emnist_archive(few, folder / "few.zip"),
        *(path / sorted(p.name for p in path.iterdir())[0] for path in (*idx, kmnist)),
    ]


@given(st.data())
def test_no_mutation_of_a_file_ends_in_another_error(forms: list[Path], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(forms))
    whole = path.read_bytes()
    raw = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at, length = data.draw(st.integers(0, len(raw))), data.draw(st.sampled_from([0, 1, 4, 30, 1000]))
        raw[at : at + length] = data.draw(st.binary(max_size=30))
    few = {key: "0" * 32 for key in FILES}
    try:
        path.write_bytes(raw)
        with pytest.raises(InputError) as refused:
            from_path(path if path.parent.name.startswith("forms") else path.parent, few)
        assert "\n" not in str(refused.value)
    finally:
        path.write_bytes(whole)


ZEROS = np.zeros((200_000, 28, 28), np.uint8)


def member(form: str) -> bytes:
    """A file of 157 MB of zeros, in few bytes."""
    raw, file = io.BytesIO(), io.BytesIO()
    np.save(raw, ZEROS)
    if form == "npz":
        np.savez_compressed(file, allow_pickle=False, x_train=ZEROS)
        return file.getvalue()
    return gzip.compress(pack(ZEROS), 1) if form == "idx.gz" else raw.getvalue()


@pytest.mark.parametrize(
    ("form", "name"),
    [("npz", "kmnist-train-imgs.npz"), ("npy", "x_train.npy"), ("idx.gz", "train-images-idx3-ubyte.gz")],
)
def test_what_a_header_declares_is_checked_before_there_is_room(
    digits: Digits, tmp_path: Path, form: str, name: str
) -> None:
    path = tmp_path / "small.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, member(form))
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"its header says 156,800,\d+ bytes, expected at most"):
            from_path(path, checksums(digits))
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_a_long_header_is_not_read(digits: Digits, tmp_path: Path) -> None:
    header = b"\x93NUMPY\x02\x00" + struct.pack("<I", 150_000_000) + b" " * 150_000_000
    path = tmp_path / "small.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", header)
    del header
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="header of more than 10,000 bytes"):
            from_path(path, checksums(digits))
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
