"""The wines: what is read, how it is split, what is measured."""

from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import InputError
from stages.core.params import PrepareParams
from stages.wines.evaluate import examples
from stages.wines.model import build
from stages.wines.params import Prepare
from stages.wines.prepare import split
from stages.wines.source.table import FEATURES, read
from tests.conftest import ROOT

HEADER = "alcohol,acidity,colour,variety\n"


def test_the_table_is_read() -> None:
    features, varieties = read(ROOT / "data/raw/wines/wines.csv")
    assert features.shape == (len(varieties), 3)
    assert set(varieties) == {0, 1, 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alcohol,variety\n13,1\n", "missing the columns acidity, colour"),
        (HEADER + "13,3,5,1\n13,x,5,1\n", "wines.csv:3: acidity: expected a number, found 'x'"),
        (HEADER + "13,nan,5,1\n", "wines.csv:2: acidity: expected a number, found 'nan'"),
        (HEADER + "13,3,5,red\n", "wines.csv:2: variety: expected a number from 0, found 'red'"),
        (HEADER, "expected at least one row"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "wines.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "wines.csv")


def test_a_split_has_every_row_once() -> None:
    params = PrepareParams[Prepare].read(ROOT / "params.yaml")
    table = np.arange(60, dtype=np.float32).reshape(20, 3), np.arange(20)
    splits = split(table, params.prepare, params.seed)
    assert sorted(np.concatenate([varieties for _, varieties in splits.values()])) == list(range(20))
    assert all((features[:, 0] == 3 * varieties).all() for features, varieties in splits.values())
    with pytest.raises(InputError, match="expected enough for at least one"):
        split((table[0][:2], table[1][:2]), params.prepare, params.seed)


def test_the_network_gives_a_logit_for_each_variety() -> None:
    config = {"features": list(FEATURES), "mean": [13.0, 3.0, 5.0], "variance": [1.0] * 3, "classes": 4}
    assert build(config | {"hidden_units": [5]})(np.ones([2, 3], np.float32)).shape == (2, 4)


def test_answers_are_listed_with_the_probability_of_what_is_right() -> None:
    found = examples(np.array([1, 0]), np.array([[0.25, 0.75], [0.125, 0.875]]))
    assert [list(row.values()) for row in found] == [[0, 1, 1, 0.75], [1, 0, 1, 0.125]]
    with pytest.raises(InputError, match="expected a variety below 2, found 2"):
        examples(np.array([2]), np.array([[0.5, 0.5]]))
