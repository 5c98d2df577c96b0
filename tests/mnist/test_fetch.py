from collections.abc import Callable
from pathlib import Path

from stages.core.files import digest
from stages.mnist.source.idx import FILES, Digits
from tests.conftest import assert_refused, run_stage
from tests.mnist.conftest import idx_folder


def test_the_files_are_written_uncompressed_under_mnists_names(
    digits: Digits, tmp_path: Path, own_params: Callable[..., Path]
) -> None:
    params = own_params(idx_folder(digits, tmp_path / "gz", ".gz", "emnist-digits-"))
    done = run_stage("stages.mnist.fetch", tmp_path / "fetched", "--params", params)
    assert done.returncode == 0, done.stderr
    assert "mnist: fetched from path" in done.stderr
    assert sorted(path.name for path in (tmp_path / "fetched").iterdir()) == sorted(FILES.values())
    assert digest(tmp_path / "fetched") == digest(idx_folder(digits, tmp_path / "plain"))


def test_an_earlier_output_is_kept_if_its_bytes_are_right(
    digits: Digits, tmp_path: Path, own_params: Callable[..., Path]
) -> None:
    fetched = idx_folder(digits, tmp_path / "fetched")
    command = ("stages.mnist.fetch", fetched, "--params", own_params(tmp_path / "none"))
    done = run_stage(*command)
    assert done.returncode == 0, done.stderr
    assert "fetched from" not in done.stderr
    (fetched / FILES["test_labels"]).write_bytes(b"damaged")
    assert_refused(run_stage(*command), "none: no such file or folder (mnist.fetch.path)")


def test_nothing_is_written_if_a_file_is_damaged(
    digits: Digits, tmp_path: Path, own_params: Callable[..., Path]
) -> None:
    folder = idx_folder(digits, tmp_path / "idx")
    (folder / FILES["test_labels"]).write_bytes(b"damaged")
    done = run_stage("stages.mnist.fetch", tmp_path / "fetched", "--params", own_params(folder))
    assert_refused(done, FILES["test_labels"], "expected an IDX file")
    assert not (tmp_path / "fetched").exists()
