import bz2
import gzip
import lzma
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stages.babyweight.source import csv_file
from stages.babyweight.source.csv_damage import LINE_BYTES
from stages.core.errors import InputError
from tests.babyweight.births import HEADER, ROW, ROWS, file, parse, read, write


def quoted(line: str) -> str:
    return ",".join(f'"{field}"' for field in line.split(","))


def test_any_packing_line_end_and_quotes_with_or_without_a_header(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, *ROWS)
    expected = read(path)
    assert expected.keys == [f"k{i}" for i in range(5)] and not expected.bad
    assert expected.features == [[2, 26, 1, 1, 39, 2, 1, 0]] * 5 and expected.weights == [7.5] * 5
    plain = path.read_bytes()
    variants = {
        "no header": write(tmp_path, *ROWS).read_bytes(),
        "carriage returns and newlines": write(tmp_path, HEADER, *ROWS, end="\r\n").read_bytes(),
        "carriage returns alone": write(tmp_path, HEADER, *ROWS, end="\r").read_bytes(),
        "quotes": write(tmp_path, *map(quoted, (HEADER, *ROWS))).read_bytes(),
        "quotes, carriage returns and newlines": write(
            tmp_path, *map(quoted, (HEADER, *ROWS)), end="\r\n"
        ).read_bytes(),
        "no last line end": plain.rstrip(b"\n"),
        "byte order mark": b"\xef\xbb\xbf" + plain,
        "byte order mark, no header": b"\xef\xbb\xbf" + write(tmp_path, *ROWS).read_bytes(),
        "empty lines": write(tmp_path, HEADER, "", *ROWS, "", "  ", "").read_bytes(),
    }
    for name, text in variants.items():
        packings = [
            text,
            gzip.compress(text),
            gzip.compress(text[:80]) + gzip.compress(text[80:]),
            gzip.compress(text) + bytes(512),
            pa.compress(text, codec="zstd", asbytes=True),
            pa.compress(text[:80], codec="zstd", asbytes=True) + pa.compress(text[80:], codec="zstd", asbytes=True),
        ]
        for number, packed in enumerate(packings):
            path.write_bytes(packed)
            rows = read(path)
            assert (rows.features, rows.weights, rows.keys, rows.bad) == (
                expected.features,
                expected.weights,
                expected.keys,
                [],
            ), (name, number)


@pytest.mark.parametrize("block_bytes", [1, 10, 97, 150, 1000])
def test_rows_and_line_numbers_are_the_same_in_any_block(tmp_path: Path, block_bytes: int) -> None:
    several_lines = ROWS[2].replace("k2", '"k,\n""2""\n"')
    path = write(tmp_path, HEADER, *ROWS[:2], "", "a,b", several_lines, '7.5,True,"26,White', *ROWS[3:])
    rows = read(path, block_bytes)
    assert rows.keys == ["k0", "k1", 'k,\n"2"\n', "k3", "k4"]
    assert rows.lines == [2, 3, 6, 10, 11]
    assert rows.bad == [(5, "number_of_fields"), (9, "stray_quote")]


def test_columns_in_any_order_some_missing_some_more(tmp_path: Path) -> None:
    path = write(tmp_path, "gestation_weeks,state,plurality,,mother_age,weight_pounds,", "39,NY,1,,26,7.5,")
    rows = read(path)
    assert rows.features == [[0, 26, 0, 1, 39, 0, 0, 0]] and rows.weights == [7.5] and rows.keys == ["births.csv:2"]


def test_any_order_of_columns_is_the_same(tmp_path: Path) -> None:
    expected = read(write(tmp_path, HEADER, *ROWS))
    rng = np.random.default_rng(0)
    for _ in range(30):
        order = rng.permutation(11)
        lines = [",".join(np.array([*line.split(","), "other"])[order]) for line in (HEADER, *ROWS)]
        assert read(write(tmp_path, *lines)) == expected


def test_a_file_of_bad_lines_and_one_of_a_header_alone_have_no_rows(tmp_path: Path) -> None:
    assert read(write(tmp_path, HEADER, "x", "y")).bad == [(2, "number_of_fields"), (3, "number_of_fields")]
    assert parse(write(tmp_path, HEADER)) == []
    path = write(tmp_path, HEADER)
    path.write_text(HEADER)
    assert parse(path) == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "births.csv: empty; expected births as CSV or Parquet"),
        ([HEADER.replace("plurality,", "")], "births.csv:1: no column 'plurality'; expected weight_pounds"),
        ([HEADER + ",mother_age"], "births.csv:1: column 'mother_age' 2 times; expected it once"),
        (["1,2,3"], "births.csv:1: no header, and 3 columns; expected fields separated by commas: a header that names"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        parse(write(tmp_path, *lines))


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"births\.csv: UTF-16; expected UTF-8 text, plain, gzip or zstd, or Parquet"):
        parse(write(tmp_path, HEADER, *ROWS, encoding="utf-16"))
    with pytest.raises(InputError, match=r"births\.csv:1: NUL bytes; expected UTF-8 text"):
        parse(write(tmp_path, HEADER, *ROWS, encoding="utf-16-le"))


@pytest.mark.parametrize(
    ("pack", "name"), [(bz2.compress, "bzip2"), (lzma.compress, "xz"), (lambda _: b"PK\3\4...", "a zip archive")]
)
def test_other_packings_are_named(tmp_path: Path, pack: Callable[[bytes], bytes], name: str) -> None:
    path = write(tmp_path, HEADER, *ROWS)
    path.write_bytes(pack(path.read_bytes()))
    with pytest.raises(InputError, match=rf"births\.csv: {name}; expected UTF-8 text"):
        parse(path)


@pytest.mark.parametrize("block_bytes", [1 << 16, 1 << 26])
@pytest.mark.parametrize("lines_after", [0, 3])
def test_a_line_without_end_is_refused(tmp_path: Path, block_bytes: int, lines_after: int) -> None:
    long = ROWS[0].replace("White", "W" * 10 * LINE_BYTES)
    path = write(tmp_path, HEADER, *ROWS, long, *ROWS[:lines_after])
    with pytest.raises(InputError, match=r"births\.csv:7: a line of more than 1048576 bytes"):
        parse(path, block_bytes)


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
@pytest.mark.parametrize("cut", [0.5, 0.999])
def test_a_packed_file_that_is_cut_off_is_refused(tmp_path: Path, codec: str, cut: float) -> None:
    path = write(tmp_path, HEADER, *(ROW.format(i) for i in range(5000)))
    packed = pa.compress(path.read_bytes(), codec=codec, asbytes=True)
    path.write_bytes(packed[: int(len(packed) * cut)])
    with pytest.raises(InputError, match=rf"births\.csv: damaged {codec} after line \d+: \w+"):
        parse(path)


def test_a_gzip_that_is_damaged_inside_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, *(ROW.format(i) for i in range(5000)))
    packed = gzip.compress(path.read_bytes())
    for position in range(20, len(packed), len(packed) // 30):
        path.write_bytes(packed[:position] + bytes([packed[position] ^ 255]) + packed[position + 1 :])
        with pytest.raises(InputError, match=r"births\.csv: damaged gzip after line"):
            parse(path)


def header(path: Path) -> list[str] | None:
    with file(path).open() as stream:
        return csv_file.header(file(path), stream)


def test_the_header_alone(tmp_path: Path) -> None:
    assert header(write(tmp_path, "Gestation Weeks,x,PLURALITY,b.mother_age,weight_pounds")) == [
        "gestation_weeks",
        "",
        "plurality",
        "mother_age",
        "weight_pounds",
    ]
    assert header(write(tmp_path, ROWS[0])) is None


def test_zstd_that_begins_with_a_frame_to_skip(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, *ROWS)
    expected = read(path)
    packed = pa.compress(path.read_bytes(), codec="zstd", asbytes=True)
    path.write_bytes(b"\x5f\x2a\x4d\x18" + (8).to_bytes(4, "little") + bytes(8) + packed)
    assert read(path) == expected


@pytest.mark.parametrize(("encoding", "name"), [("utf-32", "UTF-32"), ("utf-32-be", "UTF-32"), ("utf-16", "UTF-16")])
def test_other_unicode_is_named(tmp_path: Path, encoding: str, name: str) -> None:
    mark = "\ufeff" if encoding.endswith("be") else ""
    path = write(tmp_path, mark + HEADER, *ROWS, encoding=encoding)
    with pytest.raises(InputError, match=rf"births\.csv: {name}; expected UTF-8"):
        read(path)


def test_a_header_takes_time_in_proportion_to_its_columns(tmp_path: Path) -> None:
    def seconds(columns: int) -> float:
        notes = [f"note_{i}" for i in range(columns)]
        path = write(tmp_path, ",".join([HEADER, *notes]), ROWS[0] + "," * columns)
        began = time.process_time()
        assert len(header(path) or []) == 10 + columns
        return time.process_time() - began

    seconds(10)
    assert seconds(40_000) < 30 * seconds(4_000) + 0.1, "quadratic: 100 times"
