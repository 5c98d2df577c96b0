"""Files that are damaged in any way: their births, or one line that names the file."""

import gzip
import io
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.babyweight.params import Prepare
from stages.babyweight.source.births import COLUMNS, FACTS
from stages.babyweight.source.counts import Counts
from stages.babyweight.source.encode import encode
from stages.babyweight.source.facts import read_facts
from stages.babyweight.source.files import File, find
from stages.babyweight.source.formats import all_block_tasks, block_tasks, default_columns
from stages.babyweight.source.synthetic import Generator
from stages.core.errors import InputError
from stages.core.params import PrepareParams
from tests.conftest import ROOT

BIRTHS = next(Generator(read_facts(FACTS), 2017).blocks(40))
LIMITS = PrepareParams[Prepare].read(ROOT / "params.yaml").prepare


def valid_files(births: pd.DataFrame) -> dict[str, bytes]:
    text = births.to_csv(index=False).encode()
    quoted = births.assign(note='a "word",\r\nand more').to_csv(index=False, quoting=1).encode()
    parquet = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(births, preserve_index=False), parquet, row_group_size=15)
    return {
        "births.csv": text,
        "quoted.csv": quoted,
        "no_header.csv": text.partition(b"\n")[2],
        "old_mac.csv": text.replace(b"\n", b"\r"),
        "births.csv.gz": gzip.compress(text, mtime=0),
        "births.csv.zst": pa.compress(text, codec="zstd", asbytes=True),
        "births.parquet": parquet.getvalue(),
    }


FILES = valid_files(BIRTHS)
TOKENS = st.sampled_from([b'"', b'""', b",", b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"nan", b"1e999"])


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """A valid file with a few slices replaced, doubled or taken out."""
    name = draw(st.sampled_from(sorted(FILES)))
    data = FILES[name]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.sampled_from([0, 0, 1, 2, 8, 100, len(data)])))
        piece = draw(st.one_of(TOKENS, st.binary(max_size=8), st.just(b""), st.just(data[start:stop] * 2)))
        data = data[:start] + piece + data[stop:]
    return name, data


def prepare(path: Path) -> Counts:
    """What the stage does with the source, in this process."""
    counts = Counts()
    files = find(str(path))
    default = default_columns(files)
    for file in files:
        for task in block_tasks(file, default):
            counts.add(encode(task(), 0.2, 0.2))
    counts.check(LIMITS)
    return counts


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=mutated())
def test_no_mutation_of_a_file_ends_in_another_error(tmp_path: Path, file: tuple[str, bytes]) -> None:
    name, data = file
    path = tmp_path / name
    path.write_bytes(data)
    try:
        prepare(path)
    except InputError as error:
        assert "\n" not in str(error)
    finally:
        path.unlink()


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_format_has_the_same_births(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    counts = prepare(tmp_path / name)
    assert counts.rows == len(BIRTHS) and not counts.bad.total() and not any(counts.unknown.values())


def test_the_content_tells_the_format_whatever_the_name(tmp_path: Path) -> None:
    for name in FILES:
        for other in ("births.csv", "births.csv.gz", "births.parquet", "births"):
            (tmp_path / other).write_bytes(FILES[name])
            assert prepare(tmp_path / other).rows == len(BIRTHS), (name, other)
            (tmp_path / other).unlink()


def test_shards_without_a_header_have_the_columns_of_the_first(tmp_path: Path) -> None:
    frame = BIRTHS[list(reversed(COLUMNS))]
    lines = frame.to_csv(index=False).splitlines(keepends=True)
    for number in range(3):
        (tmp_path / f"births-{number}.csv").write_text("".join(lines[number * 14 : (number + 1) * 14]))
    files = find(str(tmp_path))
    assert default_columns(files) == list(reversed(COLUMNS))
    assert prepare(tmp_path).rows == len(BIRTHS)


def test_unknown_words_in_most_rows_refuse_the_source(tmp_path: Path) -> None:
    BIRTHS.assign(is_male=BIRTHS.is_male.map({"True": "boy", "False": "girl"})).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(InputError, match=r"is_male: 40 of 40 births have unknown words.*'(boy|girl)' \(\d+\)"):
        prepare(tmp_path)


@pytest.mark.parametrize("name", ["births.csv", "births.parquet"])
def test_a_folders_name_gives_a_column(tmp_path: Path, name: str) -> None:
    frame = BIRTHS.astype({"mother_race": str})
    for race, rows in frame.groupby("mother_race"):
        folder = tmp_path / f"mother_race={str(race).replace(' ', '%20')}"
        folder.mkdir()
        rows = rows.drop(columns="mother_race")
        rows.to_csv(folder / name, index=False) if name.endswith("csv") else rows.to_parquet(folder / name, index=False)
    counts = prepare(tmp_path)
    wanted = {race: n for race, n in frame.mother_race.value_counts().items()}
    assert counts.distributions.metrics()["values"]["mother_race"] == wanted and not counts.absent["mother_race"]
    (folder / name).unlink()
    frame.to_csv(folder / "births.csv", index=False)
    with pytest.raises(InputError, match="column 'mother_race' in the file and in its folder's name; expected it once"):
        prepare(folder)


def test_a_birth_without_a_key_has_file_and_line(tmp_path: Path) -> None:
    births = pd.concat(Generator(read_facts(FACTS), 2017).blocks(1000))
    births.assign(key="").to_csv(tmp_path / "births.csv", index=False)
    without = prepare(tmp_path)
    births.drop(columns="key").to_csv(tmp_path / "births.csv", index=False)
    assert without.kept == prepare(tmp_path).kept and without.with_key == 0
    births.assign(key=births.key.mask(births.index % 5 < 2, "")).to_csv(tmp_path / "births.csv", index=False)
    some = prepare(tmp_path)
    assert some.with_key == some.metrics("files")["with_key"] == 600 and "without a key: 400" in (some.summary() or "")
    assert max(some.kept.values()) < 700, "they do not all land in one split"


FOOTER_BYTES = (64 << 10) + 4
"""What is read of a file to find its format, and at once of the end of Parquet."""


class Counted:
    """A file that counts what is read of it."""

    def __init__(self, file: Any, counts: Counter[str]) -> None:
        self._file, self._counts = file, counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._file.read(size)
        self._counts["bytes"] += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        size = int(self._file.readinto(buffer))
        self._counts["bytes"] += size
        return size


@pytest.mark.parametrize("names", [["births.csv", "births.csv.gz", "births.csv.zst"], ["births.parquet"] * 3])
def test_remote_files_are_opened_once_and_read_once(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    contents = valid_files(next(Generator(read_facts(FACTS), 2017).blocks(3000)))
    system, counts = fsspec.filesystem("memory"), Counter[str]()
    files = [File(f"memory://births/{i}/{name}") for i, name in enumerate(names)]
    for file, name in zip(files, names, strict=True):
        system.pipe_file(file.address, contents[name])

    class System:
        def open(self, path: str, mode: str) -> Counted:
            counts["opens"] += 1
            return Counted(system.open(path, mode), counts)

    monkeypatch.setattr("stages.babyweight.source.files.file_system", lambda address: (System(), address))
    assert sum(encode(task(), 0.1, 0.1).rows for task in all_block_tasks(files)) == 9000
    assert counts["opens"] == 3 and counts["bytes"] <= sum(len(contents[name]) + FOOTER_BYTES for name in names)


def test_each_of_several_files_is_read_once_in_order(tmp_path: Path) -> None:
    text = BIRTHS.to_csv(index=False).encode()
    for number in range(3):
        (tmp_path / f"{number}.csv").write_bytes(text)
    files = find(str(tmp_path), "*.csv")
    assert [task().name for task in all_block_tasks(files)] == ["0.csv", "1.csv", "2.csv"]
