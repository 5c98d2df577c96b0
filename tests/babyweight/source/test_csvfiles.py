import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from stages.babyweight.source import lines as module
from stages.babyweight.source.births import COLUMNS
from stages.babyweight.source.csvfiles import LINE_BYTES, File, find, read
from stages.babyweight.source.lines import Block
from stages.core.errors import InputError
from tests.babyweight.frames import frame_of, keys_of

HEADER = ",".join(COLUMNS)
ROW = "7.5,True,26,White,1,39,True,False,None,k{}"
ROWS = [ROW.format(i) for i in range(5)]


def write(tmp_path: Path, *lines: str, end: str = "\n", encoding: str = "utf-8") -> Path:
    path = tmp_path / "births.csv"
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
    return path


def parsed(path: Path, block_bytes: int = 1 << 20) -> list[Block]:
    return [text.parse() for text in read(File(str(path), None, str(path)), block_bytes)]


def frame(path: Path, block_bytes: int = 1 << 20) -> pd.DataFrame:
    blocks = parsed(path, block_bytes)
    assert not [bad for block in blocks for bad in block.bad]
    return pd.concat([frame_of(block) for block in blocks], ignore_index=True)


def found(pattern: str) -> list[Path]:
    return [Path(file.path) for file in find(pattern)]


def bad(path: Path) -> list[tuple[int, str]]:
    return [(b.row, b.reason) for block in parsed(path) for b in block.bad]


def test_header_or_not_gzip_or_not_any_line_end_any_quotes(tmp_path: Path) -> None:
    expected = frame(write(tmp_path, HEADER, *ROWS))
    assert expected.columns.tolist() == list(COLUMNS) and len(expected) == 5
    quoted = [",".join(f'"{field}"' for field in line.split(",")) for line in (HEADER, *ROWS)]
    variants = {
        "no header": write(tmp_path, *ROWS).read_bytes(),
        "carriage returns": write(tmp_path, HEADER, *ROWS, end="\r\n").read_bytes(),
        "quotes": write(tmp_path, *quoted).read_bytes(),
        "quotes and carriage returns": write(tmp_path, *quoted, end="\r\n").read_bytes(),
        "no last line end": write(tmp_path, HEADER, *ROWS).read_bytes().rstrip(b"\n"),
        "byte order mark": write(tmp_path, HEADER, *ROWS, encoding="utf-8-sig").read_bytes()[:3]
        + write(tmp_path, HEADER, *ROWS).read_bytes(),
        "empty lines": write(tmp_path, HEADER, "", *ROWS, "", "").read_bytes(),
    }
    for name, text in variants.items():
        for packed in (text, gzip.compress(text), gzip.compress(text[:80]) + gzip.compress(text[80:])):
            (tmp_path / "births.csv").write_bytes(packed)
            pd.testing.assert_frame_equal(frame(tmp_path / "births.csv"), expected, obj=name)


@pytest.mark.parametrize("block_bytes", [1, 10, 97, 1000])
def test_rows_and_line_numbers_are_the_same_in_any_block(tmp_path: Path, block_bytes: int) -> None:
    path = write(tmp_path, HEADER, *ROWS[:2], "", "a,b", *ROWS[2:])
    blocks = parsed(path, block_bytes)
    assert [key for block in blocks for key in keys_of(block)] == [f"k{i}" for i in range(5)]
    assert [line for block in blocks for line in block.lines] == [2, 3, 6, 7, 8]
    assert [(b.row, b.reason) for block in blocks for b in block.bad] == [(5, "number_of_fields")]


def test_columns_in_any_order_some_missing_some_more(tmp_path: Path) -> None:
    path = write(tmp_path, "gestation_weeks,state,plurality,mother_age,weight_pounds", "39,NY,1,26,7.5")
    assert frame(path).iloc[0].to_dict() == {
        "gestation_weeks": "39",
        "plurality": "1",
        "mother_age": "26",
        "weight_pounds": "7.5",
        "key": "births.csv:2",
    }


def test_any_order_of_columns_is_the_same(tmp_path: Path) -> None:
    expected = frame(write(tmp_path, HEADER, *ROWS))
    rng = np.random.default_rng(0)
    for _ in range(30):
        order = rng.permutation(len(COLUMNS) + 1)
        lines = [",".join(np.array([*line.split(","), "other"])[order]) for line in (HEADER, *ROWS)]
        pd.testing.assert_frame_equal(frame(write(tmp_path, *lines)), expected)


def test_lines_are_looked_at_apart_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quoted = ",".join(f'"{field}"' for field in ROWS[1].split(","))
    path = write(tmp_path, HEADER, ROWS[0], quoted, "a,b", "", *ROWS[2:])
    (whole,) = parsed(path)
    for size in (1, 40, 41, 100):
        monkeypatch.setattr(module, "_PIECE_BYTES", size)
        (block,) = parsed(path)
        pd.testing.assert_frame_equal(frame_of(block), frame_of(whole))
        assert block.lines.tolist() == whole.lines.tolist() == [2, 3, 6, 7, 8]
        assert block.bad == whole.bad


def test_numbers_stay_text(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, *(ROWS[0].replace("7.5", w) for w in ("7.50", "1e0", "007", "9" * 400)))
    assert frame(path).weight_pounds.tolist() == ["7.50", "1e0", "007", "9" * 400]


def test_a_missing_key_is_made_of_file_and_line(tmp_path: Path) -> None:
    lines = [row.rsplit(",", 1)[0] for row in ROWS]
    path = write(tmp_path, HEADER.removesuffix(",key"), lines[0], "", *lines[1:])
    assert frame(path).key.tolist() == [f"births.csv:{line}" for line in (2, 4, 5, 6, 7)]


def test_lines_that_are_no_row_are_told_with_their_line(tmp_path: Path) -> None:
    lines = [
        HEADER,
        ROWS[0],
        ROWS[1].replace("White", "Wh\0ite"),
        ROWS[1].replace("White", '"White'),
        ROWS[1].replace("White", 'Wh"ite"'),
        ROWS[1] + ",more",
        "7.5,True",
        ROWS[1].replace("White", "Wh\rite"),
        ROWS[1].replace("White", "X\xe9"),
        ROWS[2],
    ]
    path = write(tmp_path, *lines, encoding="latin-1")
    assert bad(path) == [
        (3, "nul_bytes"),
        (4, "stray_quote"),
        (5, "stray_quote"),
        (6, "number_of_fields"),
        (7, "number_of_fields"),
        (8, "stray_carriage_return"),
        (9, "no_utf8"),
    ]
    (block,) = parsed(path)
    assert keys_of(block) == ["k0", "k2"] and block.lines.tolist() == [2, 10]


def test_a_field_more_and_a_field_less_do_not_even_out(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, ROWS[0], ROWS[1] + ",x", ROWS[2].removesuffix(",k2"), ROWS[3])
    assert bad(path) == [(3, "number_of_fields"), (4, "number_of_fields")]


def test_a_file_of_bad_lines_and_one_of_a_header_alone_have_no_rows(tmp_path: Path) -> None:
    (block,) = parsed(write(tmp_path, HEADER, "x", "y"))
    assert len(block.lines) == 0 and [b.row for b in block.bad] == [2, 3]
    assert sum(len(block.lines) for block in parsed(write(tmp_path, HEADER))) == 0


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "births.csv: empty; expected births as CSV"),
        ([HEADER.replace("plurality,", "")], "births.csv:1: no column 'plurality'; found weight_pounds, is_male"),
        ([HEADER + ",mother_age"], "births.csv:1: column 'mother_age' 2 times; expected it once"),
        (["1,2,3"], "births.csv:1: 3 columns and no header; expected a header that names weight_pounds, mother_age"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        parsed(write(tmp_path, *lines))


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"births\.csv:1: NUL bytes; expected UTF-8 text"):
        parsed(write(tmp_path, HEADER, *ROWS, encoding="utf-16"))


@pytest.mark.parametrize("block_bytes", [1 << 16, 1 << 26])
@pytest.mark.parametrize("lines_after", [0, 3])
def test_a_line_without_end_is_refused(tmp_path: Path, block_bytes: int, lines_after: int) -> None:
    long = ROWS[0].replace("White", "W" * 10 * LINE_BYTES)
    path = write(tmp_path, HEADER, *ROWS, long, *ROWS[:lines_after])
    with pytest.raises(InputError, match=r"births\.csv:7: a line of more than 1048576 bytes"):
        parsed(path, block_bytes)


def test_zstd_in_one_frame_or_two(tmp_path: Path) -> None:
    text = write(tmp_path, HEADER, *ROWS).read_bytes()
    expected = frame(tmp_path / "births.csv")
    for parts in ([text], [text[:80], text[80:]]):
        (tmp_path / "births.csv").write_bytes(b"".join(pa.compress(p, codec="zstd", asbytes=True) for p in parts))
        pd.testing.assert_frame_equal(frame(tmp_path / "births.csv"), expected)


def test_a_truncated_zstd_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, *(ROW.format(i) for i in range(5000)))
    path.write_bytes(pa.compress(path.read_bytes(), codec="zstd", asbytes=True)[:-10])
    with pytest.raises(InputError, match=r"births\.csv: damaged zstd after line \d+: Truncated compressed stream"):
        parsed(path)


@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
def test_a_byte_order_mark_within_a_file_belongs_to_its_field(tmp_path: Path, block_bytes: int) -> None:
    path = write(tmp_path, HEADER, ROWS[0], "\ufeff" + ROWS[1], ROWS[2])
    assert frame(path, block_bytes).weight_pounds.tolist() == ["7.5", "\ufeff7.5", "7.5"]


@pytest.mark.parametrize("cut", [0.5, 0.999])
def test_a_truncated_gzip_is_refused(tmp_path: Path, cut: float) -> None:
    path = write(tmp_path, HEADER, *(ROW.format(i) for i in range(5000)))
    packed = gzip.compress(path.read_bytes())
    path.write_bytes(packed[: int(len(packed) * cut)])
    with pytest.raises(InputError, match=r"births\.csv: damaged gzip after line \d+: Truncated compressed stream"):
        parsed(path)


def test_a_damaged_gzip_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, *(ROW.format(i) for i in range(5000)))
    packed = bytearray(gzip.compress(path.read_bytes()))
    packed[len(packed) // 2] ^= 255
    path.write_bytes(packed)
    with pytest.raises(InputError, match=r"births\.csv: damaged gzip after line"):
        parsed(path)


def test_files_are_found_by_path_folder_and_glob(tmp_path: Path) -> None:
    for name in ("b-1.csv.gz", "b-0.csv", "README.md"):
        (tmp_path / name).touch()
    (tmp_path / "folder.csv").mkdir()
    both = [tmp_path / "b-0.csv", tmp_path / "b-1.csv.gz"]
    assert found(str(tmp_path)) == both
    assert found(f"{tmp_path}/b-*") == both
    assert found(str(tmp_path / "b-0.csv")) == both[:1]


def test_no_file_is_named_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"babyweight\.source\.path: .*births\*\.csv: no such file"):
        find(str(tmp_path / "births*.csv"))
