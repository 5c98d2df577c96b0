import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.cartpole.comparison import compare
from stages.cartpole.evaluate import Agent
from stages.cartpole.render import write_gif
from stages.core.files import digest
from stages.savedmodel.predictor import Predictor
from tests.conftest import ROOT, assert_refused, run_stage


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported agent of the project's own parameters."""
    folder = tmp_path_factory.mktemp("agent")
    weights, model = folder / "weights", folder / "model"
    for stage in (
        ("stages.cartpole.train", weights, folder / "train.json", folder / "curve.csv", folder / "trials.csv"),
        ("stages.export", "cartpole", weights, model),
    ):
        done = run_stage(*stage, "--params", ROOT / "params.yaml", cwd=folder)
        assert done.returncode == 0, done.stderr
    return model


def evaluate(model: Path, folder: Path, params: Path = ROOT / "params.yaml", **environment: str) -> Any:
    outputs = (folder / "evaluate.json", folder / "evaluation", folder / "examples.csv")
    return run_stage("stages.cartpole.evaluate", model, *outputs, "--params", params, cwd=model.parent, **environment)


def test_the_exported_agent_solves_the_official_environment(exported: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        done = evaluate(exported, tmp_path / name, TZ="Asia/Kolkata" if name == "two" else "UTC")
        assert done.returncode == 0, done.stderr
        assert "gym" not in done.stderr
    assert digest(tmp_path / "one") == digest(tmp_path / "two")

    metrics = json.loads((tmp_path / "one/evaluate.json").read_text())
    with (tmp_path / "one/evaluation/returns.csv").open() as file:
        returns = np.array([float(row["return"]) for row in csv.DictReader(file)])
    assert metrics["solved"] is True
    assert metrics["threshold"] == 195
    assert metrics["episodes"] == len(returns) == 100
    assert metrics["mean_return"] == pytest.approx(returns.mean(), rel=1e-5)
    assert metrics["min_return"] == returns.min()
    assert metrics["share_solved"] == (returns >= 195).mean()
    assert 0.5 < metrics["share_solved_low"] < metrics["share_solved"] <= metrics["share_solved_high"]
    assert metrics["mean_return_low"] <= metrics["mean_return"] <= metrics["mean_return_high"]
    assert metrics["interquartile_mean_return"] == pytest.approx(np.sort(returns)[25:75].mean(), rel=1e-5)
    assert returns.mean() >= 195
    assert returns.max() == 200
    with Image.open(tmp_path / "one/evaluation/agent.gif") as animation:
        assert animation.size == (240, 160)
        assert 2 < animation.n_frames <= 100  # type: ignore[attr-defined]
    assert (tmp_path / "one/evaluation/agent.gif").stat().st_size < 100_000
    with (tmp_path / "one/examples.csv").open() as file:
        assert len(list(csv.DictReader(file))) > 100


def test_plain_states_have_their_plain_action(exported: Path) -> None:
    instances = json.loads((ROOT / "data/requests/cartpole.json").read_text())["instances"]
    expected = json.loads((ROOT / "data/requests/expected/cartpole.json").read_text())
    answers = Agent(exported).predict(instances)
    assert answers["actions"].tolist() == expected["actions"]["values"]
    assert (np.argmax(answers["q_values"], axis=1) == answers["actions"]).all()


def test_a_plane_beyond_the_observation_is_refused(exported: Path, tmp_path: Path, params_file: Any) -> None:
    done = evaluate(exported, tmp_path, params_file({"cartpole.evaluate.plane.y": 4}))
    assert_refused(done, "cartpole.evaluate.plane.y: 4: expected at most 3")
    assert not (tmp_path / "evaluation").exists()


def test_the_plot_and_the_animation_can_be_turned_off(exported: Path, tmp_path: Path, params_file: Any) -> None:
    changes = {"cartpole.evaluate.plane": None, "cartpole.evaluate.gif": None, "cartpole.evaluate.episodes": 2}
    done = evaluate(exported, tmp_path, params_file(changes))
    assert done.returncode == 0, done.stderr
    assert "agent.gif" not in done.stderr
    assert [path.name for path in (tmp_path / "evaluation").iterdir()] == ["returns.csv"]
    assert (tmp_path / "examples.csv").read_text().strip() == ""


NO_DISPLAY = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

class NoDisplay(CartPoleEnv):
    def render(self):
        raise RuntimeError("no display")

gymnasium.register("NoDisplay-v0", NoDisplay, max_episode_steps=200, reward_threshold=195)
"""


def test_a_failure_to_draw_costs_the_animation_alone(exported: Path, tmp_path: Path, params_file: Any) -> None:
    model = tmp_path / "model"
    shutil.copytree(exported, model)
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments/no_display.py").write_text(NO_DISPLAY)
    path = model / "assets.extra/provenance.json"
    provenance = json.loads(path.read_text())
    provenance["parameters"]["cartpole"]["train"]["env"] = "no_display:NoDisplay-v0"
    path.write_text(json.dumps(provenance))
    params = params_file({"cartpole.evaluate.episodes": 2})
    done = evaluate(model, tmp_path, params, PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "no agent.gif: cartpole.train.env: no_display:NoDisplay-v0: RuntimeError: no display" in done.stderr
    assert [path.name for path in (tmp_path / "evaluation").iterdir()] == ["returns.csv"]
    assert json.loads((tmp_path / "evaluate.json").read_text())["episodes"] == 2


def test_an_agent_learns_from_images_and_is_exported_measured_and_drawn(
    tmp_path: Path, params_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "environments").mkdir()
    shutil.copy(ROOT / "tests/cartpole/catch.py", tmp_path / "environments")
    params = params_file(
        {
            "cartpole.train.target_clip": None,
            "cartpole.train.reward": {"scale": 1.0, "shift": 0.0, "terminal": 0.0},
            "cartpole.train.stop.time_limits": 1,
            "cartpole.train.exploration.mean_repeat": 1.0,
            "cartpole.train.env": "catch:Catch-v0",
            "cartpole.train.env_kwargs": {"channels": "last"},
            "cartpole.train.n_envs": 16,
            "cartpole.train.network.observation_scale": [255.0],
            "cartpole.train.exploration.decay_steps": 4000,
        }
    )
    weights, model, again = tmp_path / "weights", tmp_path / "model", tmp_path / "again"
    stages = (
        ("stages.cartpole.train", weights, tmp_path / "train.json", tmp_path / "curve.csv", tmp_path / "trials.csv"),
        ("stages.export", "cartpole", weights, model),
        ("stages.export", "cartpole", weights, again),
    )
    for stage in stages:
        done = run_stage(*stage, "--params", params, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "train.json").read_text())["stopped_by"] == "solved"
    assert digest(model) == digest(again)
    done = evaluate(model, tmp_path, params)
    assert done.returncode == 0, done.stderr
    assert "no plot of action values: observations of catch:Catch-v0 are images" in done.stderr
    assert (tmp_path / "examples.csv").read_text().strip() == ""
    assert json.loads((tmp_path / "evaluate.json").read_text())["solved"] is True
    assert {path.name for path in (tmp_path / "evaluation").iterdir()} == {"returns.csv", "agent.gif"}

    predictor = Predictor(model)
    (given,) = predictor.signature.inputs.values()
    assert (given.shape, given.dtype.name) == ((None, 6, 6, 2), "uint8")
    image = np.zeros((6, 6, 2), np.uint8)
    image[2, 1, 0] = image[5, 3, 1] = 255  # the ball falls to the left of the paddle
    assert predictor(**{given.key: image[None]})["actions"].tolist() == [0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    found = compare((predictor, predictor), model)
    assert found.summary.startswith("5 states of one episode that B plays in catch:Catch-v0")
    assert found.rows[0][1].endswith("... (72 values)")


def test_a_model_of_unknown_origin_is_refused(exported: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(exported, model)
    path = model / "assets.extra/provenance.json"
    provenance = json.loads(path.read_text())
    del provenance["parameters"]["cartpole"]["train"]["env"]
    path.write_text(json.dumps(provenance))
    assert_refused(evaluate(model, tmp_path), "provenance.json", "env: missing")
    del provenance["parameters"]["cartpole"]
    path.write_text(json.dumps(provenance))
    assert_refused(evaluate(model, tmp_path), "provenance.json", "expected parameters.cartpole")


def test_an_animation_has_one_set_of_colours(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (40, 20), "white") for _ in range(3)]
    for index, picture in enumerate(pictures):
        picture.paste((200, 0, 0), (index * 10, 0, index * 10 + 5, 20))
    write_gif(tmp_path / "a.gif", pictures, 40)
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames == 3  # type: ignore[attr-defined]
        animation.seek(2)
        assert animation.info["duration"] == 40
        assert animation.convert("RGB").getpixel((22, 5)) == (200, 0, 0)
