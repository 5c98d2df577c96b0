import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.babyweight.source import parquet_file
from stages.babyweight.source.births import COLUMNS, FACTS
from stages.babyweight.source.encode import Block, Encoded, encode
from stages.babyweight.source.facts import read_facts
from stages.babyweight.source.synthetic import Generator
from stages.core.errors import InputError
from tests.babyweight.births import file, parse
from tests.conftest import ROOT

ROWS = 3000


@pytest.fixture(scope="module")
def births() -> pd.DataFrame:
    """Births with every kind of gap, each row drawn or not."""
    frame = next(Generator(read_facts(FACTS), 2017).blocks(ROWS)).astype(object)
    rng = np.random.default_rng(0)
    for column in COLUMNS[:-1]:
        frame.loc[rng.random(ROWS) < 0.03, column] = None
    return frame


def as_bigquery_exports(frame: pd.DataFrame, path: Path, **options: object) -> None:
    truth = {"True": True, "False": False}
    races = {"White": 1, "Black": 2, "American Indian": 3, "Chinese": 4, "Japanese": 5, "Hawaiian": 6}
    races |= {"Filipino": 7, "Asian Indian": 18, "Korean": 28, "Samoan": 39, "Vietnamese": 48}
    columns = {}
    for name in map(str, frame):
        values = frame[name].where(frame[name].notna(), None).tolist()
        if name == "mother_race":
            columns[name] = pa.array([races.get(value) for value in values], pa.int64())
        elif name == "weight_pounds":
            columns[name] = pa.array(values, pa.float64())
        elif name in ("mother_age", "plurality", "gestation_weeks"):
            columns[name] = pa.array(values, pa.int64())
        elif name == "key":
            columns[name] = pa.array(values, pa.string())
        else:
            columns[name] = pa.array([truth.get(value) for value in values], pa.bool_())
    columns["state"] = pa.nulls(len(frame), pa.string())
    pq.write_table(pa.table(columns), path, row_group_size=700, **options)


def read(path: Path) -> list[Block]:
    with file(path).open() as stream:
        return [task() for task in parquet_file.block_tasks(file(path), stream)]


def encoded(blocks: list[Block]) -> list[Encoded]:
    return [encode(block, 0.1, 0.1) for block in blocks]


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"use_dictionary": False, "compression": "zstd"}])
def test_the_same_bytes_as_from_csv(tmp_path: Path, births: pd.DataFrame, options: dict[str, object]) -> None:
    births.to_csv(tmp_path / "births.csv", index=False)
    as_bigquery_exports(births, tmp_path / "births.parquet", **options)
    (expected,) = encoded(parse(tmp_path / "births.csv"))
    (actual,) = encoded(read(tmp_path / "births.parquet"))
    assert sum(expected.dropped.values()) > 300, "gaps are there"
    for ours, theirs in zip(actual.splits, expected.splits, strict=True):
        assert ours[0].tobytes() == theirs[0].tobytes() and ours[1].tobytes() == theirs[1].tobytes()
    assert actual.sample[2] == expected.sample[2] and actual.dropped == expected.dropped


def test_other_types_of_the_same_values(tmp_path: Path, births: pd.DataFrame) -> None:
    births = births.dropna()
    births.to_csv(tmp_path / "births.csv", index=False)
    table = pa.Table.from_pandas(births.astype(str), preserve_index=False)
    for name, kind in {"weight_pounds": pa.float64(), "mother_age": pa.float32(), "plurality": pa.int8()}.items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    position = table.column_names.index("mother_race")
    table = table.set_column(position, "mother_race", table["mother_race"].dictionary_encode())
    pq.write_table(table, tmp_path / "births.parquet")
    (expected,) = encoded(parse(tmp_path / "births.csv"))
    (actual,) = encoded(read(tmp_path / "births.parquet"))
    for ours, theirs in zip(actual.splits, expected.splits, strict=True):
        assert ours[0].tobytes() == theirs[0].tobytes() and ours[1].tobytes() == theirs[1].tobytes()


def test_numeric_keys_split_as_their_text(tmp_path: Path, births: pd.DataFrame) -> None:
    births = births.dropna().assign(key=range(-5, len(births.dropna()) - 5))
    births.to_csv(tmp_path / "births.csv", index=False)
    table = pa.Table.from_pandas(births.astype({"key": "int64"} | {c: str for c in COLUMNS[:-1]}), preserve_index=False)
    pq.write_table(table, tmp_path / "births.parquet")
    (expected,) = encoded(parse(tmp_path / "births.csv"))
    (actual,) = encoded(read(tmp_path / "births.parquet"))
    assert actual.sample[2] == expected.sample[2]
    assert [len(weights) for _, weights in actual.splits] == [len(weights) for _, weights in expected.splits]


def test_a_column_of_nulls_alone_is_unknown(tmp_path: Path, births: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(births.dropna().astype(str), preserve_index=False)
    for name in ("mother_race", "mother_age"):
        nulls = table.set_column(table.column_names.index(name), name, pa.nulls(len(table)))
        pq.write_table(nulls, tmp_path / f"{name}.parquet")
    (races,) = encoded(read(tmp_path / "mother_race.parquet"))
    assert races.rows == len(table) and not any(features[:, 2].any() for features, _ in races.splits)
    (ages,) = encoded(read(tmp_path / "mother_age.parquet"))
    assert ages.dropped["mother_age_missing"] == len(table) and not ages.bad_rows


def refused(table: pa.Table, path: Path, message: str) -> None:
    pq.write_table(table, path)
    with pytest.raises(InputError, match=message):
        encoded(read(path))


def test_columns_that_cannot_be_read(tmp_path: Path, births: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(births.dropna().astype(str), preserve_index=False)
    path = tmp_path / "births.parquet"
    refused(table.drop_columns("plurality"), path, r"births\.parquet: no column 'plurality'")
    lists = pa.array([[1]] * len(table))
    refused(
        table.drop_columns("mother_age").append_column("mother_age", lists),
        path,
        r"births\.parquet: column 'mother_age' is list<.*>; expected numbers or text",
    )
    for name, values in (
        ("gestation_weeks", pa.array([39 * 7 * 86400] * len(table), pa.duration("s"))),
        ("weight_pounds", pa.array([True] * len(table))),
    ):
        position = table.column_names.index(name)
        message = rf"births\.parquet: column '{name}' is {re.escape(str(values.type))}; expected numbers or text"
        refused(table.set_column(position, name, values), path, message)


def test_a_struct_may_be_called_like_the_table(tmp_path: Path, births: pd.DataFrame) -> None:
    as_bigquery_exports(births, tmp_path / "names.parquet")
    table = pq.read_table(tmp_path / "names.parquet")
    table = table.rename_columns([f"births.{name}" for name in table.column_names])
    members = pa.StructArray.from_arrays([pa.nulls(ROWS, pa.string())], ["weight_pounds"])
    pq.write_table(table.append_column("births", members), tmp_path / "births.parquet")
    blocks = read(tmp_path / "births.parquet")
    assert sum(block.rows.num_rows for block in blocks) == ROWS
    assert blocks[0].rows.schema.names == list(COLUMNS)


def test_text_that_is_not_utf8(tmp_path: Path, births: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(births.dropna().astype(str), preserve_index=False)
    latin = pa.array(["caf\xe9".encode("latin-1")] * len(table)).view(pa.string())
    position = table.column_names.index("mother_race")
    message = r"births\.parquet: damaged Parquet: .*UTF8"
    refused(table.set_column(position, "mother_race", latin), tmp_path / "births.parquet", message)


def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, births: pd.DataFrame) -> None:
    path = tmp_path / "births.parquet"
    as_bigquery_exports(births, path)
    data = path.read_bytes()
    for damaged in (data[:100], data[:-20], data[:-400] + bytes(392) + data[-8:]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"births\.parquet: damaged Parquet: \w+") as error:
            read(path)
        assert "\n" not in str(error.value)


def test_a_flipped_bit_in_a_page_is_found(tmp_path: Path, births: pd.DataFrame) -> None:
    path = tmp_path / "births.parquet"
    as_bigquery_exports(births, path, write_page_checksum=True, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[len(data) // 40] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"births\.parquet: damaged Parquet: .*CRC checksum"):
        read(path)


def test_views_of_text_are_text(tmp_path: Path, births: pd.DataFrame) -> None:
    births = births.dropna()
    births.to_csv(tmp_path / "births.csv", index=False)
    table = pa.Table.from_pandas(births.astype(str), preserve_index=False)
    for name in ("is_male", "mother_age", "key"):
        view = table[name].cast(pa.string_view())
        table = table.set_column(table.column_names.index(name), name, view)
    pq.write_table(table, tmp_path / "births.parquet", store_schema=True)
    assert pa.types.is_string_view(pq.read_schema(tmp_path / "births.parquet").field("is_male").type)
    (expected,) = encoded(parse(tmp_path / "births.csv"))
    (actual,) = encoded(read(tmp_path / "births.parquet"))
    for ours, theirs in zip(actual.splits, expected.splits, strict=True):
        assert ours[0].tobytes() == theirs[0].tobytes() and ours[1].tobytes() == theirs[1].tobytes()


@pytest.mark.parametrize("options", [{"use_dictionary": False}, {"dictionary_pagesize_limit": 1 << 30}])
def test_blocks_are_bounded_by_bytes(
    tmp_path: Path, births: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(parquet_file, "_MOST_BYTES", 1 << 24)  # of a page; the column has more
    births = pd.concat([births.dropna()] * 4, ignore_index=True)
    births["key"] = [f"{i % 50}{'x' * 10_000}" for i in range(len(births))]
    table = pa.Table.from_pandas(births.astype(str), preserve_index=False)
    pq.write_table(table, tmp_path / "births.parquet", compression="zstd", **options)
    blocks = read(tmp_path / "births.parquet")
    assert sum(block.rows.num_rows for block in blocks) == len(births) and len(blocks) > 3
    piece = parquet_file._PIECE_ROWS * 10_100
    assert max(block.rows.nbytes for block in blocks) < parquet_file.BLOCK_BYTES + piece
    assert [line for block in blocks for line in block.lines.tolist()] == list(range(1, len(births) + 1))


def small(path: Path, births: pd.DataFrame, text: str, rows: int) -> Path:
    """Rows that repeat a birth, with one text for their race: few bytes on disk."""
    birth = births.dropna().iloc[[0]].astype(str)
    table = pa.table({name: pa.array([birth[name].iloc[0]] * rows) for name in map(str, birth)})
    race = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text])).cast(pa.large_string())
    table = table.set_column(table.column_names.index("mother_race"), "mother_race", race)
    pq.write_table(table, path, compression="zstd", write_statistics=False)
    return path


def test_a_long_text_in_a_dictionary_is_not_repeated_at_once(tmp_path: Path, births: pd.DataFrame) -> None:
    """A megabyte that each of 500 rows refers to: 500 MB as Arrow's array, if all were decoded together."""
    path = small(tmp_path / "small.parquet", births, "x" * (1 << 20), 500)
    assert path.stat().st_size < 20_000
    before, most = pa.total_allocated_bytes(), 0
    with file(path).open() as stream:
        rows = 0
        for task in parquet_file.block_tasks(file(path), stream):
            most = max(most, pa.total_allocated_bytes() - before)
            rows += task().rows.num_rows
            del task
    assert rows == 500
    assert most < 250 << 20


def test_what_a_column_declares_is_checked_before_there_is_room(
    tmp_path: Path, births: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_file, "_MOST_BYTES", 1 << 18)
    path = small(tmp_path / "small.parquet", births, "x" * (1 << 20), 10)
    with pytest.raises(InputError, match=r"small.parquet: column 'mother_race' says 1,048,\d+ bytes, expected at most"):
        read(path)


def test_many_short_texts_of_a_dictionary_are_read_many_at_a_time(tmp_path: Path) -> None:
    """A dictionary of a megabyte holds tens of thousands of keys, or one long one."""
    births = next(Generator(read_facts(ROOT / FACTS), 2017).blocks(30_000))
    path = tmp_path / "births.parquet"
    pq.write_table(pa.Table.from_pandas(births.astype(str), preserve_index=False), path)
    with path.open("rb") as stream:
        source = pa.PythonFile(stream, "r")
        metadata = pq.ParquetFile(source).metadata
        longest = parquet_file._longest_text(file(path), source, metadata, {"key"})
    assert metadata.row_group(0).column(9).total_uncompressed_size > parquet_file._DICTIONARY_BYTES / 2048
    assert longest == births.key.map(len).max()
