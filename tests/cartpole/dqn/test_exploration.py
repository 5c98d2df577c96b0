import numpy as np
import pytest

from stages.cartpole import params
from stages.cartpole.dqn.exploration import Exploration


def schedule(initial: float, final: float, steps: int, repeat: float) -> params.Exploration:
    return params.Exploration(initial_eps=initial, final_eps=final, decay_steps=steps, mean_repeat=repeat)


def explored(exploration: Exploration, n_envs: int, steps: int, per_step: int) -> np.ndarray:
    """The random actions, and -1 for greedy ones [steps, n_envs]."""
    random = np.random.default_rng(0)
    return np.stack([exploration.replace(np.full(n_envs, -1), i * per_step, random) for i in range(steps)])


@pytest.mark.parametrize("repeat", [1.0, 6.0, 20.0])
def test_the_share_of_random_actions_is_epsilon_at_every_step(repeat: float) -> None:
    exploration = Exploration(schedule(0.05, 0.05, 1, repeat), 20_000, 1000)
    assert (explored(exploration, 20_000, 40, 1) >= 0).mean(axis=1) == pytest.approx(0.05, abs=0.01)


def test_the_share_follows_a_falling_epsilon() -> None:
    exploration = Exploration(schedule(1.0, 0.2, 100, 4.0), 20_000, 3)
    shares = (explored(exploration, 20_000, 40, 5) >= 0).mean(axis=1)
    assert shares[:21] == pytest.approx(np.linspace(1.0, 0.2, 21), abs=0.015)
    assert shares[21:] == pytest.approx(0.2, abs=0.015)


def test_the_epsilon_reported_is_the_share_even_where_repeats_outlast_the_decay() -> None:
    exploration = Exploration(schedule(1.0, 0.0, 1, 10.0), 50_000, 3)
    random = np.random.default_rng(0)
    for step in (0, 1, 2, 3, 4):
        taken = exploration.replace(np.full(50_000, -1), step, random)
        assert (taken >= 0).mean() == pytest.approx(exploration.epsilon, abs=0.01)
    assert exploration.epsilon == pytest.approx(0.9**4)


@pytest.mark.parametrize("repeat", [1.0, 5.0])
def test_random_actions_are_repeated(repeat: float) -> None:
    taken = explored(Exploration(schedule(0.2, 0.2, 1, repeat), 2000, 1000), 2000, 40, 1)
    is_random = taken[1:] >= 0
    same = (taken[1:] == taken[:-1]) & is_random
    assert same.sum() / is_random.sum() == pytest.approx(1 - 1 / repeat, abs=0.02)
