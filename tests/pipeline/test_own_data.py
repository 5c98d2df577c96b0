"""Own data are a dependency, wherever they lie: more of them are read, and nothing runs while they stay the same."""

import functools
import gzip
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.babyweight.source.births import FACTS
from stages.babyweight.source.facts import read_facts
from stages.babyweight.source.synthetic import Generator
from stages.core.files import read_json
from stages.mnist.source.idx import FILES
from tests.mnist.conftest import checksums, idx_folder, random_digits
from tests.pipeline.scratch import dvc, ran
from tests.pipeline.test_dependencies import stale
from tools.scratch import change, clone, commit

PREPARE, FETCH = "prepare@babyweight", "fetch@mnist"
SHARD_ROWS = 1000
LINES = next(Generator(read_facts(FACTS), 2017).blocks(3 * SHARD_ROWS)).to_csv(index=False).splitlines()


def shard(number: int, more: int = 0) -> str:
    """A CSV file of births, a thousand and some more."""
    first = 1 + number * SHARD_ROWS
    return "\n".join([LINES[0], *LINES[first : first + SHARD_ROWS + more], ""])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone that reads births from files. Each test names others."""
    folder = clone(tmp_path_factory.mktemp("own data") / "project")
    change(folder, "babyweight.prepare.source.kind", "files")
    dvc(folder, "repro", "check")
    commit(folder, "Read births from files")
    return folder


class _WithTags(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, with an ETag for each file, as servers of data do."""

    def end_headers(self) -> None:
        file = Path(self.translate_path(self.path))
        if file.is_file():
            self.send_header("ETag", f'"{hash(file.read_bytes()):x}"')
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address at which `tmp_path` is served."""
    handler = functools.partial(_WithTags, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def rows(project: Path) -> int:
    """Rows that the last preparation read."""
    found: int = read_json(project / "results/babyweight/prepare.json")["rows"]["read"]
    return found


def name_births(project: Path, path: Path | str, pattern: str = "") -> None:
    change(project, "babyweight.prepare.source.path", f'"{path}"')
    change(project, "babyweight.prepare.source.pattern", pattern)


def check_that_more_is_read(project: Path, stage: str, more: Callable[[], object]) -> None:
    """A stage runs once, not again, and once more after `more` was done; `dvc status` names it, and it alone, then."""
    assert stage in ran(dvc(project, "repro", stage))
    before = stale(project)
    assert stage not in before
    assert ran(dvc(project, "repro", stage)) == set()
    more()
    assert stale(project) == before | {stage}
    assert f"{stage}:" in dvc(project, "status", stage).stdout
    assert ran(dvc(project, "repro", stage)) == {stage}
    assert stale(project) == before


def test_a_row_more_in_a_file_of_the_project(project: Path) -> None:
    file = project / "births.csv"
    file.write_text(shard(0))
    name_births(project, "births.csv")
    check_that_more_is_read(project, PREPARE, lambda: file.write_text(shard(0, more=1)))
    assert rows(project) == SHARD_ROWS + 1


@pytest.mark.parametrize(("pattern", "read"), [("", 3), ('"*.csv.gz"', 2)])
def test_a_shard_more_in_a_folder_outside_the_project(project: Path, tmp_path: Path, pattern: str, read: int) -> None:
    folder = tmp_path / "mother's births $HOME"
    folder.mkdir()
    (folder / "births-0.csv").write_text(shard(0))
    (folder / "births-1.csv.gz").write_bytes(gzip.compress(shard(1).encode()))
    name_births(project, folder, pattern)
    check_that_more_is_read(
        project, PREPARE, lambda: (folder / "births-2.csv.gz").write_bytes(gzip.compress(shard(2).encode()))
    )
    assert rows(project) == read * SHARD_ROWS


def test_another_etag_of_a_web_server(project: Path, tmp_path: Path, served: str) -> None:
    file = tmp_path / "births.csv"
    file.write_text(shard(0))
    name_births(project, f"{served}/births.csv")
    check_that_more_is_read(project, PREPARE, lambda: file.write_text(shard(1, more=1)))
    assert rows(project) == SHARD_ROWS + 1


def test_an_experiment_names_a_path_with_spaces(project: Path, tmp_path: Path) -> None:
    file = tmp_path / "mother's births" / "all of them.csv"
    file.parent.mkdir()
    file.write_text(shard(0))
    name_births(project, "data/raw/babyweight")
    before = (project / "params.yaml").read_text()
    done = dvc(project, "exp", "run", "-S", f'babyweight.prepare.source.path="{file}"', PREPARE)
    assert PREPARE in ran(done)
    assert PREPARE not in stale(project)
    assert rows(project) == SHARD_ROWS
    (project / "params.yaml").write_text(before)  # DVC's writer wraps a long path


def test_a_missing_path_is_one_line_and_no_output_is_deleted(project: Path, tmp_path: Path) -> None:
    (project / "births.csv").write_text(shard(0))
    name_births(project, "births.csv")
    dvc(project, "repro", PREPARE)
    name_births(project, tmp_path / "none.csv")
    done = dvc(project, "repro", PREPARE, check=False)
    assert done.returncode != 0
    error = f"error: params.yaml: babyweight.prepare.source.path: {tmp_path / 'none.csv'}: no such file or folder"
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [error]
    assert rows(project) == SHARD_ROWS


def test_a_missing_address_is_one_line(project: Path, served: str) -> None:
    name_births(project, f"{served}/none.csv")
    done = dvc(project, "repro", PREPARE, check=False)
    assert done.returncode != 0
    assert f"ERROR: failed to reproduce '{PREPARE}': dependency '{served}/none.csv' does not exist" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("path", "pattern", "error"),
    [
        (
            "births/*.csv",
            "",
            "babyweight.prepare.source.path: 'births/*.csv': expected a file or folder without *; the ",
        ),
        ("births", '"../*.csv"', "babyweight.prepare.source.pattern: '../*.csv': expected a pattern of files below"),
    ],
)
def test_what_dvc_cannot_depend_on_is_refused(project: Path, path: str, pattern: str, error: str) -> None:
    name_births(project, path, pattern)
    done = dvc(project, "repro", PREPARE, check=False)
    assert done.returncode != 0
    assert f"error: params.yaml: {error}" in done.stderr
    assert ran(done) == {"check"}


def test_own_digits(project: Path, tmp_path: Path) -> None:
    digits = random_digits()
    folder = idx_folder(digits, tmp_path / "digits", ".gz")
    name_births(project, "data/raw/babyweight")
    change(project, "mnist.fetch.source", "path")
    change(project, "mnist.fetch.path", f'"{folder}"')
    for key, md5 in checksums(digits).items():
        change(project, f"mnist.fetch.md5.{key}", md5)
    labels = folder / f"{FILES['test_labels']}.gz"
    again = gzip.compress(gzip.decompress(labels.read_bytes()), 9, mtime=1)
    check_that_more_is_read(project, FETCH, lambda: labels.write_bytes(again))
