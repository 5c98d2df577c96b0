import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.errors import InputError
from stages.core.files import (
    digest,
    read_json,
    significant,
    whole_file,
    whole_folder,
    write_json,
    write_table,
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
    assert len({first, second, digest(tmp_path)}) == 3


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
