from pathlib import Path

import pytest

from tests.babyweight.births import HEADER, ROWS, read, write


def test_quoted_commas_and_line_ends_are_part_of_a_field(tmp_path: Path) -> None:
    lines = [
        f"{HEADER},note",
        f'{ROWS[0]},"one, two"',
        f'{ROWS[1]},"line one\nline ""two""\n\nline four"',
        f"{ROWS[3]},",
        ROWS[4].replace("k4", '"a,b"') + ",",
    ]
    rows = read(write(tmp_path, *lines))
    assert rows.keys == ["k0", "k1", "k3", "a,b"] and rows.lines == [2, 3, 7, 8] and not rows.bad


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_empty_line_is_no_birth_wherever_it_is(tmp_path: Path, end: str) -> None:
    assert read(write(tmp_path, HEADER, "", ROWS[0], "", "", ROWS[1], "", end=end)).lines == [3, 6]


@pytest.mark.parametrize("weight", ["7.50", "75e-1", "007.5", " 7.5 "])
def test_numbers_are_read_however_they_are_written(tmp_path: Path, weight: str) -> None:
    assert read(write(tmp_path, HEADER, ROWS[0].replace("7.5", weight))).weights == [7.5]


@pytest.mark.parametrize(
    ("values", "codes", "bad"),
    [
        (("26", "31"), [26, 31], []),
        (("26.0", "26.9", "75", "76", "255", "300", "1e9"), [26, 26, 75], ["mother_age_too_large"] * 4),
        (("26", "75", "76", "255"), [26, 75], ["mother_age_too_large"] * 2),
        (("26", " 31 ", "+5"), [26, 31, 5], []),
        (("26", "", "NaN", "None", "0", "-1"), [26], []),
        (("26", "0x27", "31"), [26, 31], ["mother_age_no_number"]),
        (("26", "0X1A", "31.0", "NA"), [26, 31], ["mother_age_no_number"]),
        (("26", "inf", "-Infinity"), [26], ["mother_age_no_number"] * 2),
        (("26", "9" * 400), [26], ["mother_age_no_number"]),
    ],
)
def test_numbers_mean_the_same_beside_any_others(
    tmp_path: Path, values: tuple[str, ...], codes: list[int], bad: list[str]
) -> None:
    rows = read(write(tmp_path, HEADER, *(ROWS[0].replace("26", value) for value in values)))
    assert rows.codes("mother_age") == codes and [reason for _, reason in rows.bad] == bad


def test_a_missing_key_is_made_of_file_and_line(tmp_path: Path) -> None:
    lines = [row.rsplit(",", 1)[0] for row in ROWS]
    path = write(tmp_path, HEADER.removesuffix(",key"), lines[0], "", "x", *lines[1:])
    assert read(path).keys == [f"births.csv:{line}" for line in (2, 5, 6, 7, 8)]


def test_a_field_more_and_a_field_less_do_not_even_out(tmp_path: Path) -> None:
    rows = read(write(tmp_path, HEADER, ROWS[0], ROWS[1] + ",x", ROWS[2].removesuffix(",k2"), ROWS[3]))
    assert rows.bad == [(3, "number_of_fields"), (4, "number_of_fields")] and rows.keys == ["k0", "k3"]


@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
def test_a_byte_order_mark_within_a_file_belongs_to_its_field(tmp_path: Path, block_bytes: int) -> None:
    rows = read(write(tmp_path, HEADER, ROWS[0], "\ufeff" + ROWS[1], ROWS[2]), block_bytes)
    assert rows.keys == ["k0", "k2"] and rows.bad == [(3, "weight_pounds_no_number")]
