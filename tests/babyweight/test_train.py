import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.babyweight.params import Train
from stages.babyweight.source.births import FEATURES, VOCABULARIES, spellings
from stages.babyweight.train import BirthWeightTask, dropped
from stages.core.params import TrainParams
from tests.conftest import run_stage


def test_categories_are_dropped_at_the_rate_and_independently_of_the_batch() -> None:
    indices, steps = np.arange(40000).reshape(2, 20000), np.array([7, 8])
    whole = dropped(indices, steps, 7, 0.05)
    assert whole.shape == (2, 20000, 7)
    for step in whole:
        assert step.mean(axis=0) == pytest.approx([0.05] * 7, abs=0.002)
        assert np.corrcoef(step.T) - np.eye(7) == pytest.approx(0, abs=0.02)
    assert (dropped(indices[:, 300:500], steps, 7, 0.05) == whole[:, 300:500]).all()
    assert (dropped(indices, steps + 1, 7, 0.05) != whole).any()


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_the_loss_is_the_squared_error_and_only_categories_are_dropped(
    tmp_path: Path, params_file: Callable[..., Path], rate: float
) -> None:
    rng = np.random.default_rng(0)
    features = rng.integers([1, 14, 1, 1, 22, 1, 1, 1], [3, 45, 12, 3, 44, 3, 3, 3], [50, 8]).astype(np.uint8)
    pounds = rng.normal(7, 1, 50).astype(np.float32)
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        np.save(tmp_path / split / "features.npy", features)
        np.save(tmp_path / split / "weight_pounds.npy", pounds)
    codes = {column: spellings(column) for column in VOCABULARIES}
    schema = {"features": list(FEATURES), "spellings": codes, "vocabularies": VOCABULARIES}
    (tmp_path / "schema.json").write_text(json.dumps(schema))

    keys = {"babyweight.train.category_dropout": rate, "babyweight.train.validation_births": 20}
    params = TrainParams[Train].read(params_file(keys))
    task = BirthWeightTask(tmp_path, params)
    assert task.num_examples == 50
    indices, steps = np.array([[3, 8, 49], [0, 49, 8]]), np.array([5, 6])
    seen, weights = task.examples(indices, steps)
    categories = [FEATURES.index(name) for name in FEATURES if name in VOCABULARIES]
    expected = features[indices]
    expected[..., categories] = np.where(dropped(indices, steps, 5, rate), 0, expected[..., categories])
    assert (seen == expected).all() and (weights == pounds[indices]).all()
    assert (seen != features[indices]).any() == (rate > 0)
    errors = task.model(seen[0].astype(np.float32)).numpy() - weights[0]
    assert task.loss((seen[0], weights[0])).numpy() == pytest.approx(errors**2, rel=1e-4)
    everything = task.model(features.astype(np.float32)).numpy() - pounds
    assert task.evaluate() == {"validation_rmse": pytest.approx(np.sqrt((everything**2).mean()), rel=1e-5)}
    some = everything[np.arange(20) * 50 // 20]
    assert task.evaluate_point() == {"validation_rmse": pytest.approx(np.sqrt((some**2).mean()), rel=1e-5)}


def test_the_last_point_covers_all_validation_births(tmp_path: Path, params_file: Callable[..., Path]) -> None:
    keys = {"babyweight.prepare.source.rows": 3000, "babyweight.train.steps": 20, "babyweight.train.evaluate_every": 10}
    for few in (50, 1000):
        params = params_file(keys | {"babyweight.train.validation_births": few})
        folder = tmp_path / str(few)
        outputs = [folder / name for name in ("weights", "train.json", "curve.csv")]
        data = ("--raw", "none", "--sample", folder / "sample.csv", folder / "data", folder / "prepare.json")
        for stage, paths in (("prepare", data), ("train", (folder / "data", *outputs))):
            done = run_stage(f"stages.babyweight.{stage}", *paths, "--params", params)
            assert done.returncode == 0, done.stderr
    curves = [(tmp_path / few / "curve.csv").read_text().splitlines() for few in ("50", "1000")]
    assert curves[0][0] == curves[1][0] and curves[0][1] != curves[1][1] and curves[0][2] == curves[1][2]
    assert (tmp_path / "50/train.json").read_bytes() == (tmp_path / "1000/train.json").read_bytes()
