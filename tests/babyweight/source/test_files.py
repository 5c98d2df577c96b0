from pathlib import Path

import pytest

from stages.babyweight.source.files import File, find
from stages.core.errors import InputError


def found(path: Path, pattern: str | None = None) -> list[str]:
    return [file.name for file in find(str(path), pattern)]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def test_a_file_a_folder_and_a_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "b-1.csv.gz", "b-0.csv", "b-2.parquet", "B-3.CSV", "README.md", "facts.yaml")
    (tmp_path / "folder").mkdir()
    every = ["B-3.CSV", "b-0.csv", "b-1.csv.gz", "b-2.parquet"]
    assert found(tmp_path) == every
    assert found(tmp_path, "b-*") == every[1:]
    assert found(tmp_path / "b-0.csv") == ["b-0.csv"]
    assert found(tmp_path / "README.md") == ["README.md"], "a file that is named is read"


SIDE_FILES = (
    *("births.csv.dvc", ".births.csv.crc", "births.csv.crc", "._births.csv", ".births.csv.swp", "births.csv.swo"),
    *(".~lock.births.csv#", "#births.csv#", "births.csv~", "births.csv.bak", "births.csv.orig", "births.csv.lock"),
    *("births.csv.tmp", "births.csv.part", "births.csv.crdownload", "births.csv.md5", "births.csv.sha256", "_SUCCESS"),
    *("births.csv.gz.dvc", ".#births.csv", "births.csv.md", "births.csv.json", "births.csv:Zone.Identifier"),
    *(
        "births.csv.md5sum",
        "births.csv.sha256sum",
        "births.csv.gpg",
        "births.csv.meta",
        "births.csv.xml",
        "births.csvt",
    ),
)


@pytest.mark.parametrize("pattern", [None, "*", "*.csv*", "births*"])
def test_what_tools_put_beside_data_is_no_data(tmp_path: Path, pattern: str | None) -> None:
    touch(tmp_path, "births.csv", *SIDE_FILES)
    assert found(tmp_path, pattern) == ["births.csv"]


@pytest.mark.parametrize("pattern", [None, "*", "b*.csv"])
def test_what_only_looks_like_a_file_is_not_left_out(tmp_path: Path, pattern: str | None) -> None:
    touch(tmp_path, "births.csv")
    (tmp_path / "b-0.csv").symlink_to(tmp_path / "not fetched")
    with pytest.raises(InputError, match=r"b-0\.csv: expected a file, found a broken link"):
        find(str(tmp_path), pattern)
    (tmp_path / "b-0.csv").unlink()
    (tmp_path / "b-0.csv").mkdir()
    with pytest.raises(InputError, match=r"b-0\.csv: expected a file, found a folder"):
        find(str(tmp_path), pattern)
    touch(tmp_path / "b-0.csv", "part-00000.csv")
    assert found(tmp_path, "**/*.csv") == ["part-00000.csv", "births.csv"], "its files are named"


@pytest.mark.parametrize("name", ["births (1).csv", "Copy of births.csv", "link.csv"])
def test_a_copy_is_refused_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    (tmp_path / "births.csv").write_text("1\n" * 5000)
    if name == "link.csv":
        (tmp_path / name).symlink_to("births.csv")
    else:
        (tmp_path / name).write_text("1\n" * 5000)
    with pytest.raises(InputError, match=r"births.*hold the same births; remove one of them"):
        find(str(tmp_path))
    (tmp_path / name).unlink()
    (tmp_path / name).write_text("2\n" * 5000)
    assert len(found(tmp_path)) == 2


def test_names_and_patterns_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pattern: \*\*\.csv"):
        find(str(tmp_path), "**.csv")
    (tmp_path / "naiss\udce9.csv").touch()
    with pytest.raises(InputError, match=r"naiss\\udce9\.csv': expected a file name in UTF-8"):
        find(str(tmp_path))


def test_sharded_names(tmp_path: Path) -> None:
    names = [f"train.csv-0000{i}-of-00003" for i in range(3)]
    touch(tmp_path, *names)
    assert found(tmp_path) == found(tmp_path, "*.csv*") == names


@pytest.mark.parametrize(
    "other",
    ["births.csv.gz", "births.parquet", "births.csv.1", "births.csv-00000-of-00002", "births.CSV", "births.csv copy"],
)
def test_files_that_seem_to_hold_the_same_births_are_refused(tmp_path: Path, other: str) -> None:
    touch(tmp_path, "births.csv", other)
    with pytest.raises(InputError, match=r"births.* seem to hold the same births; remove one of them") as error:
        find(str(tmp_path), "b*")
    assert "births.csv" in str(error.value) and other in str(error.value)
    assert found(tmp_path / other) == [other]


def test_similar_names_are_not_the_same_births(tmp_path: Path) -> None:
    names = ["births-1.csv", "births-10.csv", "births.csv", "births2.csv.gz", "more_births.csv"]
    touch(tmp_path, *names)
    assert found(tmp_path) == names


def test_brackets_in_a_folders_name(tmp_path: Path) -> None:
    folder = tmp_path / "births [2008]" / "new*"
    folder.mkdir(parents=True)
    touch(folder, "b-0.csv", "b-1.csv", "b-x.csv")
    assert found(folder) == found(folder, "*.csv") == ["b-0.csv", "b-1.csv", "b-x.csv"]
    assert found(folder, "b-[01].csv") == ["b-0.csv", "b-1.csv"]
    assert found(folder / "b-1.csv") == ["b-1.csv"]


def test_files_of_several_folders(tmp_path: Path) -> None:
    for year in ("2007", "2008"):
        (tmp_path / year).mkdir()
        touch(tmp_path / year, "births.csv", ".births.csv.crc")
    assert found(tmp_path, "*/*.csv*") == found(tmp_path, "**/*.csv") == ["births.csv"] * 2


def test_no_file_is_named_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"babyweight\.prepare\.source\.path: .*births\.csv: no such file"):
        find(str(tmp_path / "births.csv"))
    with pytest.raises(InputError, match=r"no file matches babyweight\.prepare\.source\.pattern: b\*\.csv"):
        find(str(tmp_path), "b*.csv")


def test_a_pattern_needs_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "births.csv")
    with pytest.raises(InputError, match=r"births\.csv: expected a folder, whose files .*pattern chooses"):
        find(str(tmp_path / "births.csv"), "*.csv")


def test_identity(tmp_path: Path) -> None:
    touch(tmp_path, "births.csv")
    here = File(str(tmp_path / "births.csv"))
    before = here.identity()
    assert before is not None and before == here.identity()
    (tmp_path / "births.csv").write_text("more")
    assert here.identity() != before
    assert "FileNotFoundError" in str(File(str(tmp_path / "x")).identity())
    assert "Protocol not known" in str(File("births://x").identity())


@pytest.mark.parametrize(
    ("log", "kind"),
    [
        ("_delta_log/00000000000000000000.json", "Delta"),
        (".hoodie/hoodie.properties", "Hudi"),
        ("metadata/v1.metadata.json", "Iceberg"),
    ],
)
@pytest.mark.parametrize("below", ["", "data/", "mother_race=1/plurality=1/"])
def test_a_table_with_a_log_is_refused(tmp_path: Path, log: str, kind: str, below: str) -> None:
    table = tmp_path / "table"
    for name in (log, f"{below}part-0.parquet"):
        (table / name).parent.mkdir(parents=True, exist_ok=True)
        (table / name).touch()
    for name, pattern in (("", None), ("", "*.parquet"), ("part-0.parquet", None)):
        with pytest.raises(
            InputError, match=rf"table: a table of {kind}, whose log says .*: export it, by Spark"
        ) as error:
            find(str(table / below / name), pattern)
        assert "\n" not in str(error.value)


def test_folders_whose_names_give_a_column_are_searched(tmp_path: Path) -> None:
    for race in ("1", "2", "__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / f"mother_race={race}" / "year=2001").mkdir(parents=True)
        touch(tmp_path / f"mother_race={race}" / "year=2001", "births.parquet", "_SUCCESS")
    files = find(str(tmp_path))
    assert [file.in_folder for file in files] == [{"mother_race": value} for value in ("1", "2", "")]
    assert files[0].label == "mother_race=1/year=2001/births.parquet" and files[0].name == "births.parquet"


def test_rows_are_named_by_the_path_below_the_source(tmp_path: Path) -> None:
    for year in ("2001", "2002"):
        (tmp_path / "births" / year).mkdir(parents=True)
        (tmp_path / "births" / year / "births.csv").write_text(year)
    assert [file.label for file in find(str(tmp_path / "births"), "*/*")] == ["2001/births.csv", "2002/births.csv"]
    assert [file.label for file in find(str(tmp_path / "births/2001"))] == ["births.csv"]


def test_a_folder_without_births_says_what_it_holds(tmp_path: Path) -> None:
    touch(tmp_path, "births.tsv", "births.xlsx", "c", "d")
    with pytest.raises(
        InputError, match=r"no name in this folder has \.csv or \.parquet in it; found births\.tsv, births"
    ):
        find(str(tmp_path))
