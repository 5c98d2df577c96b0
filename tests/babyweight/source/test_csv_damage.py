from pathlib import Path

import pytest

from stages.babyweight.source.csv_damage import LINE_BYTES
from tests.babyweight.births import HEADER, ROW, ROWS, read, write


def test_lines_that_are_no_csv_spoil_themselves_alone(tmp_path: Path) -> None:
    lines = [
        HEADER,
        ROWS[0],
        ROWS[1].replace("White", "Wh\0ite"),
        ROWS[1].replace("White", '"White'),
        ROWS[1].replace("White", 'Wh"ite"'),
        ROWS[1].replace("White", 'Wh"ite').replace("None", '"None'),
        ROWS[1].replace("White", '"White" '),
        ROWS[1] + ",more",
        "7.5,True",
        ROWS[1].replace("White", "Wh\rite"),
        ROWS[1].replace("White", "X\xe9"),
        '"' + ROWS[1],
        ROWS[1].replace("White", '""b'),
        ROWS[1].replace("White", '"Wh""ite"'),
        ROWS[2],
    ]
    rows = read(write(tmp_path, *lines, encoding="latin-1"))
    assert rows.bad == [
        (3, "nul_bytes"),
        (4, "stray_quote"),
        (5, "stray_quote"),
        (6, "stray_quote"),
        (7, "stray_quote"),
        (8, "number_of_fields"),
        (9, "number_of_fields"),
        (10, "stray_carriage_return"),
        (11, "no_utf8"),
        (12, "stray_quote"),
        (13, "stray_quote"),
    ]
    assert rows.keys == ["k0", "k1", "k2"] and rows.lines == [2, 14, 15]


def test_rows_with_other_line_ends_than_the_first_count_one_by_one(tmp_path: Path) -> None:
    rows = read(write(tmp_path, HEADER, ROWS[0], "\r".join(ROWS[1:4]) + "\r", ROWS[4]))
    assert rows.keys == ["k0", "k4"]
    assert rows.bad == [(3, "stray_carriage_return")] * 3


def test_lines_of_two_kinds_of_damage(tmp_path: Path) -> None:
    lines = [HEADER, ROWS[0], ROWS[1] + "\0", ROWS[2] + "\xe9", ROWS[3] + "\xe9\0", ROWS[4]]
    rows = read(write(tmp_path, *lines, encoding="latin-1"))
    assert rows.bad == [(3, "nul_bytes"), (4, "no_utf8"), (5, "nul_bytes")] and rows.keys == ["k0", "k4"]


@pytest.mark.parametrize("block_bytes", [1 << 16, 1 << 26])
def test_a_quote_that_is_never_closed_spoils_its_line_alone(tmp_path: Path, block_bytes: int) -> None:
    many = [ROW.format(i) for i in range(2 * LINE_BYTES // 40)]
    rows = read(write(tmp_path, HEADER, '"' + ROWS[0], *many), block_bytes)
    assert rows.bad == [(2, "stray_quote")] and rows.lines == [*range(3, len(many) + 3)]


def test_a_record_of_two_lines_is_whole_unless_it_is_damaged(tmp_path: Path) -> None:
    two = [ROWS[1].replace("k1", '"k\n1"'), ROWS[2].replace("k2", '"k\n2\0"')]
    rows = read(write(tmp_path, HEADER, ROWS[0], *two, ROWS[3] + "\0", ROWS[4]))
    assert rows.keys == ["k0", "k\n1", "k4"] and rows.lines == [2, 3, 8]
    assert rows.bad == [(5, "stray_quote"), (6, "nul_bytes"), (7, "nul_bytes")]
