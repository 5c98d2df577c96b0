import functools
import gzip
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from stages.babyweight.params import Prepare
from stages.babyweight.prepare import _with_bar, write_splits
from stages.babyweight.source import csv_file
from stages.babyweight.source.births import COLUMNS, FACTS, FEATURES, SPLITS
from stages.babyweight.source.encode import SAMPLE_ROWS, Block, Encoded, encode
from stages.babyweight.source.facts import read_facts
from stages.babyweight.source.files import File
from stages.babyweight.source.synthetic import Generator
from stages.core.errors import InputError
from stages.core.files import digest
from stages.core.params import PrepareParams
from tests.conftest import ROOT, assert_refused, run_stage
from tests.pipeline.scratch import dvc
from tools.scratch import change, clone

Write = Callable[..., Path]
ROWS = 3000
NO_BIRTHS = pa.RecordBatch.from_arrays([pa.array([], pa.string())] * len(COLUMNS), list(COLUMNS))


@pytest.fixture(scope="module")
def births() -> pd.DataFrame:
    return next(Generator(read_facts(FACTS), 2017).blocks(ROWS))


def prepare(tmp_path: Path, params: Path) -> subprocess.CompletedProcess[str]:
    raw = PrepareParams[Prepare].read(params).prepare.source.path
    outputs = ("--sample", tmp_path / "sample.csv", tmp_path / "out", tmp_path / "prepare.json")
    return run_stage("stages.babyweight.prepare", "--raw", raw, *outputs, "--params", params)


PUBLIC = {"babyweight.prepare.source.public": True}


def csv_params(params_file: Write, path: Path, **more: Any) -> Path:
    return params_file({"babyweight.prepare.source.kind": "files", "babyweight.prepare.source.path": str(path), **more})


def test_synthetic_births(tmp_path: Path, params_file: Write, births: pd.DataFrame) -> None:
    done = prepare(tmp_path, params_file({"babyweight.prepare.source.rows": ROWS}))
    assert (done.returncode, done.stderr) == (0, "")
    counts = json.loads((tmp_path / "prepare.json").read_text())
    assert counts["source"] == "synthetic"
    assert counts["rows"] == {"read": ROWS, "kept": ROWS, "dropped": 0, "bad": 0}
    weights = []
    for split in SPLITS:
        features = np.load(tmp_path / f"out/{split}/features.npy", mmap_mode="r")
        pounds = np.load(tmp_path / f"out/{split}/weight_pounds.npy", mmap_mode="r")
        assert features.dtype == np.uint8 and pounds.dtype == np.float32
        assert features.shape == (counts["kept"][split], len(FEATURES)) and pounds.shape == features.shape[:1]
        weights.append(np.asarray(pounds))
    assert sum(counts["kept"].values()) == ROWS
    assert np.sort(np.concatenate(weights)).tolist() == np.sort(births.weight_pounds.astype(np.float32)).tolist()
    schema = json.loads((tmp_path / "out/schema.json").read_text())
    assert schema["source"] == "synthetic" and schema["features"] == list(FEATURES)
    sample = pd.read_csv(tmp_path / "sample.csv", keep_default_na=False, dtype=str)
    assert sample.columns.tolist() == list(COLUMNS) and len(sample) == SAMPLE_ROWS
    expected = births.head(SAMPLE_ROWS).drop(columns="weight_pounds").astype(str)
    pd.testing.assert_frame_equal(sample.drop(columns="weight_pounds"), expected, check_dtype=False)


def test_csv_files_give_the_same_arrays(tmp_path: Path, params_file: Write, births: pd.DataFrame) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    assert prepare(tmp_path, params_file({"babyweight.prepare.source.rows": ROWS})).returncode == 0
    wanted = {split: digest(tmp_path / "out" / split) for split in SPLITS}
    births.head(1000).to_csv(raw / "shard-0.csv", index=False)
    packed = gzip.compress(births.iloc[1000:].to_csv(index=False, header=False).encode())
    (raw / "shard-1.csv.gz").write_bytes(packed)
    done = prepare(tmp_path, csv_params(params_file, raw))
    assert done.returncode == 0, done.stderr
    assert {split: digest(tmp_path / "out" / split) for split in SPLITS} == wanted
    assert json.loads((tmp_path / "out/schema.json").read_text())["source"] == "files"


def test_the_same_bytes_whatever_the_block_size(
    tmp_path: Path, params_file: Write, births: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    births.to_csv(tmp_path / "births.csv", index=False)
    params = PrepareParams[Prepare].read(csv_params(params_file, tmp_path / "births.csv"))
    results = []
    for size in (1000, 50_000, 1 << 24):
        tasks = functools.partial(csv_file.block_tasks, block_bytes=size)
        monkeypatch.setattr(csv_file, "block_tasks", tasks)
        (tmp_path / str(size)).mkdir()
        counts, sample = write_splits(tmp_path / str(size), params.prepare.source.path, params, FACTS)
        monkeypatch.undo()
        results.append((digest(tmp_path / str(size)), counts, sample))
    assert results[0] == results[1] == results[2]


def test_rows_are_dropped_and_counted_by_reason(tmp_path: Path, params_file: Write, births: pd.DataFrame) -> None:
    changed = births.astype(object)
    changed.loc[:1, "weight_pounds"] = ""
    changed.loc[2:4, "plurality"] = 0
    changed.loc[5, "gestation_weeks"] = "long"
    changed.to_csv(tmp_path / "births.csv", index=False)
    done = prepare(tmp_path, csv_params(params_file, tmp_path / "births.csv", **PUBLIC))
    assert done.returncode == 0, done.stderr
    counts = json.loads((tmp_path / "prepare.json").read_text())
    assert counts["rows"] == {"read": ROWS, "kept": ROWS - 6, "dropped": 5, "bad": 1}
    assert {k: n for k, n in counts["dropped"].items() if n} == {
        "plurality_not_positive": 3,
        "weight_pounds_missing": 2,
    }
    assert counts["bad"] == {"gestation_weeks_no_number": 1}
    assert counts["first_bad"] == ["births.csv:7: gestation_weeks_no_number: 'long'"]


def test_births_of_people_stay_where_they_are(tmp_path: Path, params_file: Write, births: pd.DataFrame) -> None:
    """No row, key or quoted text leaves the arrays, unless the parameter says that they are public."""
    changed = births.astype(object)
    changed["key"] = [f"mother-{i}" for i in range(ROWS)]
    changed.loc[5, "gestation_weeks"] = "secret-text"
    changed.loc[6, "mother_race"] = "secret-word"
    changed.loc[7:30, "mother_race"] = "frequent-word"
    changed.to_csv(tmp_path / "births.csv", index=False)
    for public in (False, True):
        source = {**PUBLIC, "babyweight.prepare.source.public": public}
        done = prepare(tmp_path, csv_params(params_file, tmp_path / "births.csv", **source))
        assert done.returncode == 0, done.stderr
        assert "births.csv:7: gestation_weeks_no_number: 'secret-text'" in done.stderr
        assert public or "unknown words of mother_race: 'frequent-word' (24), 'secret-word' (1)" in done.stderr
        counts = json.loads((tmp_path / "prepare.json").read_text())
        sample, schema = pd.read_csv(tmp_path / "sample.csv"), json.loads((tmp_path / "out/schema.json").read_text())
        assert counts["unknown_words"]["mother_race"] == 25
        assert list(sample) == list(COLUMNS)
        assert len(sample) == (SAMPLE_ROWS if public else 0)
        assert schema.get("public", False) is public
        kept = b"".join(path.read_bytes() for path in [*tmp_path.glob("out/**/*.*"), *tmp_path.glob("*.json")])
        kept += (tmp_path / "sample.csv").read_bytes()
        secrets = (b"secret-text", b"secret-word", b"frequent-word", b"mother-1")
        assert [word in kept for word in secrets] == [public] * 4


def test_keys_of_a_sample_are_no_formulas(tmp_path: Path, params_file: Write, births: pd.DataFrame) -> None:
    changed = births.astype(object)
    changed.loc[:2, "key"] = ["=1+1", "@SUM(1+1)", "-0.5"]
    changed.to_csv(tmp_path / "births.csv", index=False)
    done = prepare(tmp_path, csv_params(params_file, tmp_path / "births.csv", **PUBLIC))
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(tmp_path / "sample.csv")["key"][:3].tolist() == ["'=1+1", "'@SUM(1+1)", "-0.5"]


def spoil_column(text: bytes) -> bytes:
    return text.replace(b"gestation_weeks", b"weeks", 1)


def spoil_numbers(text: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    return b"".join([lines[0], *(b"heavy," + line.split(b",", 1)[1] for line in lines[1:])])


def spoil_with_digits(text: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    return b"".join([lines[0], *(b"9" * 400 + b"," + line.split(b",", 1)[1] for line in lines[1:])])


POISONS: list[tuple[str, Callable[[bytes], bytes], tuple[str, ...]]] = [
    ("missing column", spoil_column, ("births.csv:1: no column 'gestation_weeks'",)),
    (
        "text for a number",
        spoil_numbers,
        (
            f"{ROWS} of {ROWS} rows cannot be read, more than babyweight.prepare.max_bad_share (0.01) allows",
            "births.csv:2: weight_pounds_no_number: 'heavy'; births.csv:3",
        ),
    ),
    ("400 digits", spoil_with_digits, ("weight_pounds_no_number: '" + "9" * 60 + "…'",)),
    ("empty", lambda text: b"", ("births.csv: empty; expected births as CSV or Parquet",)),
    ("truncated gzip", lambda text: gzip.compress(text)[:-100], ("births.csv: damaged gzip after line",)),
    ("NUL bytes", lambda text: text.replace(b"White", b"\0"), ("births.csv:2: nul_bytes: ",)),
    ("10 MB line", lambda text: text + b"x" * 10_000_000, (f"births.csv:{ROWS + 2}: a line of more than",)),
    ("UTF-16", lambda text: text.decode().encode("utf-16"), ("births.csv: UTF-16; expected UTF-8",)),
    ("Latin-1", lambda text: text.replace(b"White", b"\xe9"), ("no_utf8: ",)),
    ("open quotes", lambda text: text.replace(b"White", b'"White'), ("stray_quote: ",)),
    (
        "column twice",
        lambda text: text.replace(b"is_male", b"plurality", 1),
        ("births.csv:1: column 'plurality' 2 times",),
    ),
    ("header only", lambda text: text.splitlines(keepends=True)[0], ("births.csv: no birth for train among 0 rows",)),
]


@pytest.mark.parametrize(("poison", "words"), [p[1:] for p in POISONS], ids=[p[0] for p in POISONS])
def test_poisoned_files_are_refused_in_one_line_and_leave_nothing(
    tmp_path: Path,
    params_file: Write,
    births: pd.DataFrame,
    poison: Callable[[bytes], bytes],
    words: tuple[str, ...],
) -> None:
    text = io.StringIO()
    births.to_csv(text, index=False)
    path = tmp_path / "births.csv"
    path.write_bytes(poison(text.getvalue().encode()))
    assert_refused(prepare(tmp_path, csv_params(params_file, path)), *words)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["births.csv", "params.yaml"]


def test_one_bad_line_in_a_hundred_is_survived(tmp_path: Path, params_file: Write, births: pd.DataFrame) -> None:
    lines = births.to_csv(index=False).splitlines()
    lines[1::100] = ['7.5,True,"26,White,1,39'] * len(lines[1::100])
    (tmp_path / "births.csv").write_text("\n".join(lines))
    done = prepare(tmp_path, csv_params(params_file, tmp_path / "births.csv", **PUBLIC))
    assert done.returncode == 0, done.stderr
    counts = json.loads((tmp_path / "prepare.json").read_text())
    assert counts["bad"] == {"stray_quote": 30} and counts["rows"]["kept"] == ROWS - 30
    assert counts["first_bad"][1] == "births.csv:102: stray_quote: '7.5,True,\"26,White,1,39'"


def test_births_that_dvc_tracks_are_read_from_the_default_folder(tmp_path: Path, births: pd.DataFrame) -> None:
    folder = clone(tmp_path / "clone")
    births.to_csv(folder / "data/raw/babyweight/births.csv", index=False)
    dvc(folder, "add", "data/raw/babyweight/births.csv")
    assert (folder / "data/raw/babyweight/births.csv.dvc").exists()
    change(folder, "babyweight.prepare.source.kind", "files")
    dvc(folder, "repro", "prepare@babyweight")
    assert json.loads((folder / "results/babyweight/prepare.json").read_text())["rows"]["kept"] == ROWS


def test_no_file(tmp_path: Path, params_file: Write) -> None:
    done = prepare(tmp_path, csv_params(params_file, tmp_path / "none.csv"))
    assert_refused(done, "babyweight.prepare.source.path", "none.csv: no such file")


def test_the_arrays_are_as_numpy_saves_them(tmp_path: Path, params_file: Write) -> None:
    assert prepare(tmp_path, params_file({"babyweight.prepare.source.rows": ROWS})).returncode == 0
    for path in (tmp_path / "out").glob("*/*.npy"):
        np.save(tmp_path / "saved.npy", np.load(path))
        assert path.read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_the_module_needs_no_tensorflow() -> None:
    code = "import sys, stages.babyweight.prepare; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_files_are_prepared_without_pandas(tmp_path: Path, params_file: Write, births: pd.DataFrame) -> None:
    # Arrow's usual conversions import it, which takes longer than to prepare a million births.
    raw = tmp_path / "raw"
    (raw / "mother_race=1").mkdir(parents=True)
    births.to_csv(raw / "whole.csv", index=False)
    holes = births.drop(columns="key").astype(object)
    holes.iloc[:5] = np.nan  # flawed, and without a number
    holes.to_csv(raw / "holes.csv", index=False)
    births.drop(columns="mother_race").assign(key="").to_csv(raw / "mother_race=1" / "folder.csv", index=False)
    births.to_parquet(raw / "packed.parquet")
    outputs = ("--sample", tmp_path / "sample.csv", tmp_path / "out", tmp_path / "prepare.json")
    arguments = ("--raw", raw, *outputs, "--params", csv_params(params_file, raw))
    code = "import sys; from stages.babyweight.prepare import main; main(); print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("fails", [False, True])
def test_a_terminal_shows_how_many_remote_files_are_read(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    births = [File(f"s3://bucket/{name}.csv") for name in "abc"]

    def blocks() -> Iterator[Encoded]:
        for name in ("a.csv", "a.csv", "c.csv"):  # the second has no birth
            time.sleep(0.12)  # a bar is drawn at most ten times a second
            yield encode(Block(name, NO_BIRTHS, np.arange(0), []), 0.1, 0.1)
        if fails:
            raise InputError("s3://bucket/c.csv: damaged")

    for terminal, files, shown in (
        (_Terminal(), births, True),
        (_Terminal(), [File("a.csv")], False),
        (io.StringIO(), births, False),
    ):
        monkeypatch.setattr(sys, "stderr", terminal)
        with pytest.raises(InputError) if fails else nullcontext():
            assert len(list(_with_bar(blocks(), files))) == 3
        text = terminal.getvalue()
        assert ("0/3" in text and "2/3" in text) is shown, text
        assert not text.rstrip("\r").rpartition("\r")[2].strip(), "the bar is gone when a line follows"
