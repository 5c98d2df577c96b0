import re
from typing import Any

import numpy as np
import pytest

from stages.babyweight.params import Prepare
from stages.babyweight.source.counts import Counts
from stages.babyweight.source.distributions import Distributions
from stages.babyweight.source.encode import BadRow, Encoded
from stages.core.errors import InputError
from stages.core.params import PrepareParams
from tests.conftest import ROOT

LIMITS = PrepareParams[Prepare].read(ROOT / "params.yaml").prepare


def block(
    kept: tuple[int, int, int],
    bad: int = 0,
    words: dict[str, dict[str, int]] | None = None,
    absent: list[str] | None = None,
) -> Encoded:
    splits = [(np.zeros((n, 8), np.uint8), np.zeros(n, np.float32)) for n in kept]
    bad_rows = [BadRow(line, "number_of_fields", "x" * 100) for line in range(2, 2 + bad)]
    rows = sum(kept) + bad
    return Encoded("b.csv", rows, splits, (*splits[0], []), {"a_missing": 0}, bad_rows, words or {}, absent or [])


def counts(*blocks: Encoded) -> Counts:
    added = Counts()
    for each in blocks:
        added.add(each)
    return added


def test_metrics() -> None:
    first = block((8, 1, 1), bad=9, absent=["alcohol_use"])
    metrics = counts(first, block((8, 1, 1), words={"mother_race": {"Martian": 2}})).metrics("files")
    assert metrics["rows"] == {"read": 29, "kept": 20, "dropped": 0, "bad": 9}
    assert metrics["kept"] == {"train": 16, "validation": 2, "test": 2}
    assert metrics["bad"] == {"number_of_fields": 9}
    assert metrics["first_bad"] == [f"b.csv:{i}: number_of_fields: '{'x' * 60}…'" for i in range(2, 7)]
    assert metrics["unknown_words"]["mother_race"] == 2 and metrics["unknown_words"]["is_male"] == 0
    assert metrics["commonest_unknown_words"] == {"mother_race": ["'Martian' (2)"]}
    assert metrics["absent_columns"]["alcohol_use"] == 10 and metrics["absent_columns"]["is_male"] == 0


def test_metrics_of_people_tell_of_ten_or_more() -> None:
    words = {"mother_race": {"Martian": 2}, "is_male": {"2": 12}}
    found = counts(block((80, 10, 10), bad=9, words=words, absent=["alcohol_use"]), block((8, 1, 1)))
    found.dropped.update({"plurality_missing": 3, "mother_age_missing": 14})
    metrics = found.metrics("files", is_personal=True)
    assert metrics["dropped"] == {"a_missing": 0, "mother_age_missing": 14, "other": 3} and metrics["bad"] == {
        "other": 9
    }
    assert metrics["unknown_words"]["mother_race"] is None and metrics["unknown_words"]["is_male"] == 12
    assert not metrics["first_bad"] and not metrics["commonest_unknown_words"]
    assert "Martian" not in str(metrics) and "xxx" not in str(metrics)
    assert found.quoted()[0] == f"bad row: b.csv:2: number_of_fields: '{'x' * 60}…'"
    assert "unknown words of mother_race: 'Martian' (2)" in found.quoted()


def test_weights_of_people_do_not_tell_of_few() -> None:
    def told(weights: list[float], sexes: list[int]) -> dict[str, Any]:
        features = np.ones((len(weights), 8), np.uint8)
        features[:, 0] = sexes
        found = counts(block((len(weights), 0, 0)))
        found.distributions = Distributions.of(features, np.array(weights, np.float32))
        metrics = found.metrics("files", is_personal=True)
        assert metrics["numbers"].keys() >= {"weight_pounds"}
        assert all(figures.keys() == {"mean"} for figures in metrics["numbers"].values())
        return dict(metrics["distributions"]["weights"])

    usual = [7.1] * 20 + [5.1] * 20
    assert told(usual, [1, 2] * 20)["below_2500_g"] == 20
    assert told(usual, [1, 2] * 20)["mean_of_boys"] == pytest.approx(6.1, rel=1e-4)
    assert told([*usual, 9.3], [1, 2] * 20 + [1])["bins"] == {"7": 20}, "else the one follows from all"
    assert told([*usual, *[5.505] * 9, *[5.6] * 30], [1, 2] * 39 + [1])["below_2500_g"] is None, "nine are below 5.5116"
    assert told([*usual, *[5.505] * 10, *[5.6] * 30], [1, 2] * 40)["below_2500_g"] == 30
    few = told([*usual, 7.1], [1, 2] * 20 + [0])
    assert few["mean_of_boys"] is None and few["mean_of_girls"] is None, "else the one of unknown sex follows"


def test_a_split_of_few_people_is_refused() -> None:
    limits = LIMITS.model_copy(update={"source": LIMITS.source.model_copy(update={"kind": "files"})})
    with pytest.raises(InputError, match="9 births for test among 99 rows; expected at least 10: see"):
        counts(block((80, 10, 9))).check(limits)
    counts(block((80, 10, 10))).check(limits)
    public = limits.model_copy(update={"source": limits.source.model_copy(update={"public": True})})
    counts(block((80, 10, 9))).check(public)


def test_bad_rows_up_to_the_limit_are_accepted() -> None:
    counts(block((800, 95, 95), bad=10)).check(LIMITS)
    with pytest.raises(InputError, match=re.escape("11 of 1001 rows cannot be read, more than")) as error:
        counts(block((800, 95, 95), bad=11)).check(LIMITS)
    assert "babyweight.prepare.max_bad_share (0.01) allows; the first: b.csv:2: number_of_fields" in str(error.value)


def test_unknown_words_up_to_the_limit_are_accepted() -> None:
    words = [{"is_male": {"2": 1}}, {"is_male": {"3": 20, "2": 4}}]
    counts(*(block((80, 10, 10), words=w) for w in words)).check(LIMITS)
    with pytest.raises(InputError, match=re.escape("is_male: 51 of 200 births have unknown words, more than")) as error:
        counts(*(block((80, 10, 10), words=w) for w in [{"is_male": {"2": 27}}, words[1]])).check(LIMITS)
    assert "max_unknown_share (0.25) allows; the commonest: '2' (31), '3' (20); expected Unknown" in str(error.value)


def test_a_split_without_a_birth_is_refused() -> None:
    with pytest.raises(InputError, match="synthetic births: no birth for test among 9 rows; expected at least one"):
        counts(block((8, 1, 0))).check(LIMITS)


def test_few_of_very_many_unknown_words_are_counted_one_by_one() -> None:
    many = counts(*(block((9, 1, 1), words={"is_male": {f"{i}-{j}": 1 for j in range(900)}}) for i in range(3)))
    assert many.unknown["is_male"] == 2700 and len(many.unknown_words["is_male"]) == 1000
