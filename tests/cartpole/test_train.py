import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from stages.cartpole.environments import EVALUATION_SEEDS
from stages.cartpole.params import Operation, Train
from stages.cartpole.train import DQN, train
from stages.core.errors import InputError
from stages.core.files import digest
from stages.core.params import OperationParams, TrainParams
from stages.training.checkpoint import Checkpoints
from tests.cartpole import catch  # noqa: F401  registers Catch-v0
from tests.conftest import assert_refused, run_stage, start_stage
from tests.fork_server import ForkedModule

WriteParams = Callable[..., Path]
# A run that nothing stops before its last step.
ENDLESS = {"cartpole.train.stop.reward_threshold": 1e9, "cartpole.train.total_timesteps": 3000}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "prioritized": {"cartpole.train.prioritized_replay.enabled": True, "cartpole.train.buffer_size": 1000},
    "dueling, soft target, long steps": {
        "cartpole.train.network.dueling": True,
        "cartpole.train.target_update_interval": 1,
        "cartpole.train.tau": 0.01,
        "cartpole.train.n_steps": 7,
        "cartpole.train.n_envs": 5,
    },
    "environments without vectorised code": {
        "cartpole.train.env": "MountainCar-v0",
        "cartpole.train.network.observation_scale": [1.2, 0.07],
    },
    "one-hot observations": {
        "cartpole.train.env": "CliffWalking-v1",
        "cartpole.train.network.observation_scale": [1.0],
    },
    "images": {
        "cartpole.train.env": "Catch-v0",
        "cartpole.train.env_kwargs": {"dtype": "bool", "channels": "last"},
        "cartpole.train.network.observation_scale": [1.0],
        "cartpole.train.buffer_size": 500,
    },
    "frames of images, prioritized": {
        "cartpole.train.env": "Catch-v0",
        "cartpole.train.wrappers": [{"FrameStackObservation": {"stack_size": 3}}],
        "cartpole.train.network.observation_scale": [255.0],
        "cartpole.train.prioritized_replay.enabled": True,
        "cartpole.train.buffer_size": 500,
        "cartpole.train.n_envs": 5,
    },
}


def agent(path: Path) -> DQN:
    return DQN(TrainParams[Train].read(path))


def end(path: Path, checkpoints: Path) -> tuple[Any, ...]:
    """Train to the end; all that came of it, as plain values."""
    run = agent(path)
    with Checkpoints("cartpole", "run", 100, checkpoints) as saved:
        solved = train(run, saved, OperationParams[Operation].read(path).operation.checkpoint_every)
    arrays, notes = run.state()
    return solved, {name: array.tobytes() for name, array in arrays.items()}, notes


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_continues_from_any_checkpoint_to_the_same_bytes(
    variant: str, params_file: WriteParams, tmp_path: Path
) -> None:
    path = params_file({**ENDLESS, "cartpole.operation.checkpoint_every": 1000, **VARIANTS[variant]})
    whole = end(path, tmp_path / "whole")
    steps = sorted(int(file.stem.split("-")[1]) for file in (tmp_path / "whole").rglob("step-*.npz"))
    assert len(steps) >= 3
    for step in steps[:-1]:
        folder = tmp_path / f"from-{step}" / "cartpole-run"
        folder.mkdir(parents=True)
        name = f"step-{step}.npz"
        (folder / name).hardlink_to(tmp_path / "whole" / "cartpole-run" / name)
        assert end(path, folder.parent) == whole


def test_more_steps_continue_a_finished_run_as_if_it_had_been_longer(params_file: WriteParams, tmp_path: Path) -> None:
    short = end(params_file(ENDLESS), tmp_path / "short")
    longer = params_file({**ENDLESS, "cartpole.train.total_timesteps": 4000})
    again = agent(longer)
    with Checkpoints("cartpole", "run", 1, tmp_path / "short") as saved:
        found = saved.latest(4000)
        assert found is not None
        assert found[0] >= 3000
        train(again, saved, 20000)
    assert again.steps >= 4000 > short[2]["steps"]
    whole = agent(longer)
    with Checkpoints("cartpole", "run", 1, tmp_path / "long") as saved:
        train(whole, saved, 20000)
    assert again.learner.online.tobytes() == whole.learner.online.tobytes()
    assert again.history == whole.history


def test_seeds_differ(params_file: WriteParams) -> None:
    runs = [agent(params_file({"seed": seed})) for seed in (0, 1)]
    assert (runs[0].observation != runs[1].observation).all()
    assert (runs[0].learner.online != runs[1].learner.online).any()


def test_what_is_learned_from_is_the_transformed_reward(params_file: WriteParams) -> None:
    run = agent(params_file({"cartpole.train.n_steps": 1, "cartpole.train.learning_starts": 10**6}))
    for _ in range(8):  # until some episodes have ended
        run.round()
    replay = run.replay.arrays["transitions"][: len(run.replay)]
    ends = replay["discount"] == 0
    assert 0 < ends.sum() < len(replay)
    assert set(replay["return"][ends]) == {-1.0}
    assert set(replay["return"][~ends]) == {0.0}
    # Both neighbours in time are in the buffer, and no step that only reset: the pole has fallen there.
    assert np.abs(replay["observation"][:, 2]).max() <= 12 / 180 * np.pi / 0.21


class Whole(gym.Wrapper):  # type: ignore[misc]
    """Changes nothing, but hides what is below it."""


def test_frames_kept_once_make_the_same_agent_as_whole_observations(
    params_file: WriteParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gym.wrappers, "Whole", Whole, raising=False)
    agents, nothing = [], dict[str, Any]()
    for more in ([], [{"Whole": nothing}]):
        changes: dict[str, Any] = {
            **VARIANTS["frames of images, prioritized"],
            "cartpole.train.prioritized_replay.enabled": False,
            "cartpole.train.wrappers": [{"FrameStackObservation": {"stack_size": 3}}, *more],
            "cartpole.train.buffer_size": 4000,
            "cartpole.train.learning_starts": 100,
        }
        run = agent(params_file(changes))
        while run.steps < 1000:
            run.round()
        agents.append(run)
    ours, plain = agents
    assert ours.frames is not None
    assert plain.frames is not None
    assert (ours.frames.stack, plain.frames.stack) == (3, 1)
    assert ours.learner.updates > 100
    assert ours.learner.arrays["state"].tobytes() == plain.learner.arrays["state"].tobytes()
    assert ours.history == plain.history


def test_an_environment_without_a_threshold_needs_one(params_file: WriteParams) -> None:
    gym.register("Unmeasured-v0", "gymnasium.envs.classic_control.cartpole:CartPoleEnv", max_episode_steps=50)
    with pytest.raises(InputError, match=r"cartpole\.train\.stop\.reward_threshold: null: Unmeasured-v0 has none"):
        agent(params_file({"cartpole.train.env": "Unmeasured-v0"}))


def test_scales_must_fit_the_observation(params_file: WriteParams) -> None:
    with pytest.raises(InputError, match=r"observation_scale: expected 1 number or 6 for Acrobot-v1"):
        agent(params_file({"cartpole.train.env": "Acrobot-v1"}))


NEUTRAL = {
    "cartpole.train.network.observation_scale": [1.0],
    "cartpole.train.target_clip": None,
    "cartpole.train.reward": {"scale": 1.0, "shift": 0.0, "terminal": 0.0},
    "cartpole.train.stop.time_limits": 1,
}


def test_seeds_are_below_evaluations_and_trials_have_others_than_training(params_file: WriteParams) -> None:
    run = agent(params_file())
    seeds = [run._environment_seed(200, 4, step, others=run.seeds) for step in range(3000)]
    assert all(seed + 200 <= EVALUATION_SEEDS.start for seed in seeds)
    others = range(2**30, 2**31)
    seeds = [run._environment_seed(200, 4, step, others=others) for step in range(100)]
    assert all(seed + 200 <= others.start for seed in seeds)


class Exploding(gym.Env):  # type: ignore[misc]
    """Rewards whose squares are beyond float32."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: object = None) -> Any:
        super().reset(seed=seed)
        return self.np_random.random(2, np.float32), {}

    def step(self, action: int) -> Any:
        return self.np_random.random(2, np.float32), 1e30 * (2 * action - 1), False, False, {}


def register(entry: type) -> str:
    name = f"{entry.__name__}Train-v0"
    if name not in gym.registry:
        gym.register(name, entry, max_episode_steps=20, reward_threshold=1e9)
    return name


def test_a_loss_that_is_no_number_ends_the_run(params_file: WriteParams, tmp_path: Path) -> None:
    params = params_file({**NEUTRAL, "cartpole.train.env": register(Exploding)})
    message = r"^cartpole\.train: the loss at step 10\d\d is (inf|nan), expected a number: try a smaller learning_rate"
    with Checkpoints("cartpole", "run", 1, tmp_path) as saved, pytest.raises(InputError, match=message):
        train(agent(params), saved, 1000)


class OwnRandomness(Exploding):
    """Its randomness is not from its seed."""

    random = np.random.default_rng(0)

    def step(self, action: int) -> Any:
        return self.random.random(2, np.float32), 1.0, False, False, {}


def test_an_environment_that_does_not_repeat_itself_is_said_to_and_begins_anew(
    params_file: WriteParams, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {**NEUTRAL, **ENDLESS, "cartpole.train.env": register(OwnRandomness)}
    path = params_file({**changes, "cartpole.operation.checkpoint_every": 1})
    with Checkpoints("cartpole", "run", 100, tmp_path) as saved:
        train(agent(path), saved, 1)
        assert "does not repeat itself" not in capsys.readouterr().err
        again = agent(params_file({**changes, "cartpole.train.total_timesteps": 4000}))
        train(again, saved, 1)
    assert "warning: OwnRandomnessTrain-v0 does not repeat itself" in capsys.readouterr().err
    assert again.steps >= 4000
    assert len(again.actions_taken) < 1000 / again.train.n_envs + again.train.train_freq


def test_a_replay_buffer_beyond_the_memory_is_refused(params_file: WriteParams) -> None:
    with pytest.raises(
        InputError, match=r"^cartpole\.train\.buffer_size: 2000000000000: needs 88000 GB; expected at most"
    ):
        agent(params_file({"cartpole.train.buffer_size": 2 * 10**12}))


@pytest.mark.parametrize("entry", [("y", 4), ("x", 7)])
def test_what_the_evaluation_would_refuse_is_refused_before_training(
    entry: tuple[str, int], tmp_path: Path, params_file: WriteParams
) -> None:
    name, value = entry
    params = params_file({f"cartpole.evaluate.plane.{name}": value})
    done = run_stage(*command(tmp_path, params), cwd=tmp_path)
    assert_refused(done, f"cartpole.evaluate.plane.{name}: {value}: expected at most 3, or null")
    assert not (tmp_path / "weights").exists()


def command(folder: Path, params: Path) -> list[str | Path]:
    outputs = (folder / "weights", folder / "train.json", folder / "curve.csv", folder / "trials.csv")
    return ["stages.cartpole.train", *outputs, "--params", params]


def start(folder: Path, params: Path) -> ForkedModule:
    folder.mkdir(exist_ok=True)
    return start_stage(*command(folder, params), cwd=folder)


def newest(folder: Path) -> int:
    """Step of the newest checkpoint, 0 if there is none."""
    return max((int(path.stem.split("-")[1]) for path in (folder / ".checkpoints").rglob("step-*.npz")), default=0)


def stop(process: ForkedModule, folder: Path, after: int, number: signal.Signals) -> str:
    """Send a signal once a checkpoint after that step exists; what the process said."""
    while newest(folder) <= after:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.001)
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


def digests(folder: Path) -> list[str]:
    return [digest(folder / name) for name in ("weights", "train.json", "curve.csv", "trials.csv")]


def test_a_stopped_run_ends_in_the_same_bytes(tmp_path: Path, params_file: WriteParams) -> None:
    # The runs to be stopped would never end by themselves: the number of steps may differ between a run and its rest.
    every = {**ENDLESS, "cartpole.operation.checkpoint_every": 1}
    params = params_file({**every, "cartpole.train.total_timesteps": 10**9})
    folder = tmp_path / "stopped"
    process = start(folder, params)
    stop(process, folder, 500, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    process = start(folder, params)
    said = stop(process, folder, newest(folder), signal.SIGINT)
    assert process.returncode == 130
    assert "resumed at step" in said
    assert "saved; `dvc repro` resumes from there" in said
    assert "Traceback" not in said
    assert not (folder / "weights").exists()

    params = params_file({**every, "cartpole.train.total_timesteps": newest(folder) + 2000})
    last, whole = start(folder, params), start(tmp_path / "whole", params)
    errors = last.communicate(timeout=300)[1]
    assert last.returncode == 0, errors
    assert "resumed at step" in errors
    errors = whole.communicate(timeout=300)[1]
    assert whole.returncode == 0, errors
    assert digests(folder) == digests(tmp_path / "whole")
    assert json.loads((folder / "train.json").read_text())["stopped_by"] == "total_timesteps"


def test_a_solved_run_says_so_and_cleans_up(tmp_path: Path, params_file: WriteParams) -> None:
    params = params_file({"cartpole.operation.checkpoint_every": 1})
    done = run_stage(*command(tmp_path, params), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "train.json").read_text())
    assert metrics["stopped_by"] == "solved"
    assert metrics["trial_1_return"] >= 195
    assert metrics["trial_2_return"] >= 195
    assert not list((tmp_path / ".checkpoints").rglob("*.npz"))
    rows = (tmp_path / "curve.csv").read_text().splitlines()
    assert rows[0] == "steps,episode,return,exploration"
    assert len(rows) > 2
    header, *_, last = (tmp_path / "trials.csv").read_text().splitlines()
    assert header == "steps,return,complete,threshold"
    steps, value, complete, threshold = last.split(",")
    assert (int(steps), complete, float(threshold)) == (metrics["steps"], "1", 1950.0)
    assert float(value) == pytest.approx((metrics["trial_1_return"] + metrics["trial_2_return"]) / 2, rel=1e-4)


def test_a_wrong_environment_ends_in_one_line(tmp_path: Path, params_file: WriteParams) -> None:
    params = params_file({"cartpole.train.env": "Pendulum-v1"})
    done = run_stage(*command(tmp_path, params), cwd=tmp_path)
    assert_refused(done, "cartpole.train.env: Pendulum-v1: expected Discrete actions")
    assert not (tmp_path / "weights").exists()


OWN = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

class Own(CartPoleEnv):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, 1.0 * reward, *rest

gymnasium.register("Own-v0", Own, max_episode_steps=200)
"""


def test_a_killed_run_does_not_resume_in_an_environment_that_was_edited(
    tmp_path: Path, params_file: WriteParams
) -> None:
    file = tmp_path / "environments" / "own.py"
    file.parent.mkdir()
    file.write_text(OWN)
    changes = {"cartpole.train.env": "own:Own-v0", "cartpole.operation.checkpoint_every": 1}
    params = params_file({**ENDLESS, **changes, "cartpole.train.total_timesteps": 10**9})
    process = start(tmp_path, params)
    stop(process, tmp_path, 500, signal.SIGKILL)
    params = params_file({**ENDLESS, **changes, "cartpole.train.total_timesteps": newest(tmp_path) + 500})
    for code, resumes in ((OWN.replace("1.0 *", "2.0 *"), False), (OWN, True)):
        file.write_text(code)
        done = run_stage(*command(tmp_path, params), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert ("resumed at step" in done.stderr) == resumes
        provenance = json.loads((tmp_path / "weights" / "provenance.json").read_text())
        assert provenance["code"]["environments/own.py"] == digest(file)


def test_pong_is_played_from_four_frames_of_84_by_84_pixels(params_file: WriteParams, tmp_path: Path) -> None:
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    changes: dict[str, Any] = {
        **NEUTRAL,
        "cartpole.train.env": "ale_py:ALE/Pong-v5",
        "cartpole.train.env_kwargs": {"frameskip": 1},
        "cartpole.train.wrappers": [{"AtariPreprocessing": {}}, {"FrameStackObservation": {"stack_size": 4}}],
        "cartpole.train.network.observation_scale": [255.0],
        "cartpole.train.stop.reward_threshold": 18.0,
        "cartpole.train.total_timesteps": 400,
        "cartpole.train.n_envs": 4,
        "cartpole.train.learning_starts": 300,
        "cartpole.train.gradient_steps": 2,
        "cartpole.train.buffer_size": 1000,
    }
    run = agent(params_file(changes))
    with Checkpoints("cartpole", "run", 1, tmp_path) as saved:
        assert train(run, saved, 10**9) is None
    assert run.learner.updates > 10
    assert run.config["image"]["shape"] == [4, 84, 84]
    assert run.frames is not None
    bytes_each = run.frames.arrays["frames"].nbytes / run.train.buffer_size
    assert 84 * 84 <= bytes_each < 1.15 * 84 * 84
