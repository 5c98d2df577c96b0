import json
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from stages.babyweight.model import build, serving_function
from stages.babyweight.params import SignatureNames
from stages.babyweight.source.births import FEATURES, VOCABULARIES, spellings
from tests.conftest import ROOT

CONFIG = {
    "features": list(FEATURES),
    "spellings": {column: spellings(column) for column in VOCABULARIES},
    "numbers": {
        name: {"low": low, "high": high, "mean": mean, "deviation": 2.0}
        for name, low, high, mean in (
            ("mother_age", 10, 60, 27.0),
            ("plurality", 1, 5, 1.0),
            ("gestation_weeks", 15, 48, 38.0),
        )
    },
    "buckets": {"mother_age": [20, 30], "gestation_weeks": [34, 37, 39]},
    "hidden_units": [8],
    "embedding_dim": 2,
    "mean_weight": 7.25,
}
NAMES = SignatureNames(output_name="pounds")
BIRTH: dict[str, Any] = {
    "is_male": "True",
    "mother_age": 26.0,
    "mother_race": "Asian Indian",
    "plurality": 1.0,
    "gestation_weeks": 39.0,
    "mother_married": "True",
    "cigarette_use": "False",
    "alcohol_use": "None",
}


def served(model: Any, *births: dict[str, Any]) -> list[float]:
    inputs = {name: tf.constant([birth[name] for birth in births]) for name in FEATURES}
    outputs = serving_function(model, CONFIG, NAMES)(**inputs)
    assert list(outputs) == ["pounds"] and outputs["pounds"].dtype == tf.float32
    return [float(value) for value in outputs["pounds"]]


@pytest.fixture(scope="module")
def model() -> Any:
    keras.utils.set_random_seed(0)
    model = build(CONFIG)
    for variable in model.weights:
        variable.assign(np.random.default_rng(len(variable.path)).normal(size=variable.shape))
    return model


def wide_alone() -> Any:
    model = build(CONFIG)
    deep = model.get_layer("deep").kernel
    deep.assign(tf.zeros_like(deep))
    return model


def test_the_wide_part_alone_is_a_table() -> None:
    model = wide_alone()
    wide, crossed = model.get_layer("wide").kernel, model.get_layer("crossed").kernel
    assert wide.shape == (4 * 3 + 12 + 3 + 4, 1) and crossed.shape == (3, 4)
    wide.assign(np.arange(31, dtype=np.float32)[:, None])
    crossed.assign(100 * np.arange(12, dtype=np.float32).reshape(3, 4))
    # Categories by name: alcohol, cigarettes, sex, marriage, race; then age, weeks, and the two crossed.
    row = [2, 26, 8, 1, 39, 2, 1, 0]
    places = [0, 3 + 1, 6 + 2, 9 + 2, 12 + 8, 24 + 1, 27 + 3, 100 * (1 * 4 + 3)]
    assert float(model(np.array([row], np.float32))[0]) == pytest.approx(7.25 + sum(places))


def test_the_deep_part_is_a_dense_network_over_numbers_and_embeddings(model: Any) -> None:
    row = {"alcohol_use": 0, "cigarette_use": 1, "is_male": 2, "mother_married": 2, "mother_race": 8}
    buckets = {"mother_age": 1, "gestation_weeks": 3}
    codes = np.concatenate([np.eye(3)[[0, 1, 2, 2]].ravel(), np.eye(12)[8], np.eye(3)[1], np.eye(4)[3]])
    embedded = next(layer for layer in model.layers if hasattr(layer, "embeddings"))
    offsets = np.cumsum([0, 3, 3, 3, 3, 12, 3])
    places = offsets + np.array([*row.values(), *buckets.values()])
    assert (codes[places] == 1).all()
    embeddings = embedded.embeddings.numpy()[places].ravel()
    # Numbers by name: weeks, age, plurality.
    numbers = np.array([(39 - 38) / 2, (26 - 27) / 2, 0])
    dense = next(layer for layer in model.layers if layer.name.startswith("dense"))
    hidden = embeddings @ embedded.kernel.numpy() + numbers @ dense.kernel.numpy() + dense.bias.numpy()
    wide, crossed = model.get_layer("wide"), model.get_layer("crossed").kernel.numpy()[1, 3]
    expected = np.where(hidden > 0, hidden, np.expm1(hidden)) @ model.get_layer("deep").kernel.numpy()[:, 0]
    expected += codes @ wide.kernel.numpy()[:, 0] + wide.bias.numpy()[0] + crossed
    features = np.array([[2, 26, 8, 1, 39, 2, 1, 0]], np.float32)
    assert float(model(features)[0]) == pytest.approx(float(expected), rel=1e-5)


def test_an_untrained_wide_part_starts_at_the_mean() -> None:
    assert float(wide_alone()(np.zeros([1, 8], np.float32))[0]) == pytest.approx(7.25)


@pytest.mark.parametrize("value", ["18.9", "19", "20", "29", "30", "31"])
def test_a_bucket_begins_at_its_boundary(value: str) -> None:
    model = wide_alone()
    wide = model.get_layer("wide").kernel
    wide.assign(np.eye(1, 31, 25, dtype=np.float32).T)  # the bucket of 20 to 29 years weighs a pound
    (pounds,) = served(model, {**BIRTH, "mother_age": float(value)})
    assert pounds - 7.25 == pytest.approx(float(20 <= float(value) < 30))


def test_serving_is_the_network_on_the_codes(model: Any) -> None:
    codes = np.array([[2, 26, 8, 1, 39, 2, 1, 0]], np.float32)
    assert served(model, BIRTH) == [pytest.approx(float(model(codes)[0]), rel=1e-6)]


@pytest.mark.parametrize(
    ("column", "word", "same_as"),
    [
        ("mother_race", "Samaon", "Samoan"),
        ("mother_race", "18", "Asian Indian"),
        ("mother_race", "Martian", "Unknown"),
        ("is_male", "", "Unknown"),
        ("is_male", "true", "True"),
        ("cigarette_use", "Unknown", "None"),
    ],
)
def test_spellings_are_served_as_they_are_read(model: Any, column: str, word: str, same_as: str) -> None:
    first, second, *others = served(model, *({**BIRTH, column: w} for w in (word, same_as, "False", "White")))
    assert first == second and {first} != set(others)


def test_numbers_out_of_sight_are_clipped(model: Any) -> None:
    births = ({**BIRTH, "gestation_weeks": weeks} for weeks in (99.0, 1e6, 3e38, np.inf))
    unknown, *far = served(model, *births)
    assert far == [pytest.approx(unknown, rel=1e-5)] * 3 and np.isfinite(unknown)


def test_a_number_that_is_none_spoils_its_own_birth_alone(model: Any) -> None:
    spoilt, whole = served(model, {**BIRTH, "mother_age": np.nan}, BIRTH)
    assert np.isnan(spoilt) and served(model, BIRTH) == [pytest.approx(whole, rel=1e-5)]


def test_the_request_has_the_signatures_inputs() -> None:
    request = json.loads((ROOT / "data/requests/babyweight.json").read_text())
    assert all(set(instance) == set(FEATURES) for instance in request["instances"])
