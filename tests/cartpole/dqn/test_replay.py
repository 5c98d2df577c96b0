from collections import deque

import numpy as np
import pytest

from stages.cartpole.dqn.replay import Frames, NStep, ReplayBuffer, transition_type
from stages.cartpole.params import PrioritizedReplay
from stages.core.errors import InputError

NAMES = ("observation", "action", "return", "discount")


def flags(*values: int) -> np.ndarray:
    return np.array(values, np.bool_)


def play(
    steps: NStep, rewards: list[float], terminated: int | None = None, ended: int | None = None
) -> list[tuple[float, ...]]:
    """One environment whose observation is the step's number; the transitions, as it gives them out."""
    given = []
    for number, reward in enumerate(rewards):
        over = flags(number in {terminated, ended})
        observation = np.full((1, 1), number, np.float32)
        action, gain = np.array([number]), np.array([reward], np.float32)
        found = steps.add(observation, action, gain, observation + 1, flags(number == terminated), over, flags(0))
        given += [(number, *(float(row[name].item()) for name in NAMES)) for row in found]
        assert (found["next"] == number + 1).all()
    return given


def test_a_transition_spans_n_steps() -> None:
    given = play(NStep(3, 0.5, 1, transition_type(1)), [1, 2, 4, 8])
    # given out at step, from observation, by action, return, discount
    assert given == [(2, 0, 0, 1 + 1 + 1, 0.125), (3, 1, 1, 2 + 2 + 2, 0.125)]


def test_a_termination_ends_all_open_transitions_without_bootstrap() -> None:
    given = play(NStep(3, 0.5, 1, transition_type(1)), [1, 2, 4, 8], terminated=3)
    assert sorted(given)[1:] == [(3, 1, 1, 6, 0), (3, 2, 2, 8, 0), (3, 3, 3, 8, 0)]


def test_a_time_limit_ends_them_with_bootstrap_over_the_steps_taken() -> None:
    given = play(NStep(3, 0.5, 1, transition_type(1)), [1, 2, 4, 8], ended=3)
    assert sorted(given)[1:] == [(3, 1, 1, 6, 0.125), (3, 2, 2, 8, 0.25), (3, 3, 3, 8, 0.5)]


def test_the_step_that_resets_is_not_learned_from() -> None:
    steps = NStep(1, 0.9, 2, transition_type(1))
    observation, action = np.array([[7], [8]], np.float32), np.zeros(2, np.int64)
    reward = np.ones(2, np.float32)
    given = steps.add(observation, action, reward, observation, flags(1, 0), flags(1, 0), flags(0, 0))
    assert given["observation"].ravel().tolist() == [7, 8]
    given = steps.add(observation, action, reward, observation, flags(0, 0), flags(0, 0), flags(1, 0))
    assert given["observation"].ravel().tolist() == [8]


def test_environments_do_not_mix() -> None:
    steps = NStep(2, 1.0, 2, transition_type(1))
    for number in range(3):
        observation = np.array([[number], [10 + number]], np.float32)
        gain = np.array([number, 10 * number], np.float32)
        action = np.zeros(2, np.int64)
        found = steps.add(observation, action, gain, observation + 100, flags(0, 0), flags(0, 0), flags(0, 0))
    assert found["observation"].ravel().tolist() == [1, 11]
    assert found["return"].tolist() == [3, 30]
    assert found["next"].ravel().tolist() == [102, 112]


def test_a_batch_is_a_matrix_as_it_lies_in_memory() -> None:
    given = np.zeros(2, transition_type(2))
    given["observation"], given["next"] = [[1, 2], [3, 4]], [[8, 9], [10, 11]]
    given["action"], given["return"], given["discount"] = [0, 1], [5, 6], [0.5, 0]
    assert given.view(np.float32).reshape(2, -1).tolist() == [[1, 2, 0, 5, 0.5, 8, 9], [3, 4, 1, 6, 0, 10, 11]]


UNIFORM = PrioritizedReplay(enabled=False, alpha=0.6, beta=0.4)


def prioritized(alpha: float) -> PrioritizedReplay:
    return PrioritizedReplay(enabled=True, alpha=alpha, beta=1.0)


def filled(replay: ReplayBuffer, count: int) -> ReplayBuffer:
    for number in range(count):
        given = np.zeros(1, transition_type(1))
        given["return"] = number
        replay.add(given)
    return replay


def test_the_newest_transitions_are_stored() -> None:
    replay = filled(ReplayBuffer(4, transition_type(1), UNIFORM), 6)
    assert len(replay) == 4
    assert sorted(replay.arrays["transitions"]["return"]) == [2, 3, 4, 5]
    places, weights = replay.sample((8, 16), np.random.default_rng(0))
    assert set(places.ravel()) == {0, 1, 2, 3}
    assert (weights == 1).all()


def test_transitions_are_written_around_the_end() -> None:
    replay = filled(ReplayBuffer(7, transition_type(1), prioritized(1.0)), 5)
    given = np.zeros(5, transition_type(1))
    given["return"] = np.arange(5, 10)
    replay.add(given)
    assert replay.arrays["transitions"]["return"].tolist() == [7, 8, 9, 3, 4, 5, 6]
    assert len(replay) == 7
    assert (replay.arrays["priorities"] == 1).all()


def test_of_more_transitions_than_it_holds_the_last_are_stored() -> None:
    replay = ReplayBuffer(4, transition_type(1), UNIFORM)
    given = np.zeros(9, transition_type(1))
    given["return"] = np.arange(9)
    replay.add(given)
    assert replay.arrays["transitions"]["return"].tolist() == [8, 5, 6, 7]


def test_a_buffer_may_take_exactly_the_machines_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def machine(pages: int) -> None:
        monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 20, "SC_PHYS_PAGES": pages}.__getitem__)

    machine(4)
    assert transition_type(1).itemsize == 20
    ReplayBuffer(4, transition_type(1), UNIFORM)
    with pytest.raises(InputError, match="buffer_size: 5: needs 0 GB; expected at most 4,"):
        ReplayBuffer(5, transition_type(1), UNIFORM)
    machine(125_000_000)
    with pytest.raises(InputError, match="needs 3 GB; expected at most 125000000, for this machine's 2 GB"):
        ReplayBuffer(125_000_001, transition_type(1), UNIFORM)


def test_transitions_are_drawn_in_proportion_to_their_priorities_and_corrected() -> None:
    replay = filled(ReplayBuffer(8, transition_type(1), prioritized(1.0)), 5)
    replay.update_priorities(np.array([[0, 1, 2, 3, 4]]), np.array([[0.0, 1, -2, 3, 4]], np.float32))
    places, weights = replay.sample((50, 100), np.random.default_rng(0))
    frequencies = np.bincount(places.ravel(), minlength=5) / places.size
    assert np.allclose(frequencies, [0, 0.1, 0.2, 0.3, 0.4], atol=0.005)
    four = weights[places == 4]
    assert np.allclose(weights[places == 1] / four[0], 4, rtol=1e-4)


def test_a_draw_that_rounds_up_to_the_whole_sum_is_the_last_transition() -> None:
    class Highest:
        def random(self, shape: tuple[int, ...]) -> np.ndarray:
            return np.full(shape, np.nextafter(1, 0))

    replay = filled(ReplayBuffer(8, transition_type(1), prioritized(1.0)), 3)
    places, _ = replay.sample((1, 4096), Highest())  # type: ignore[arg-type]
    assert places.max() == 2


def test_a_new_transition_has_the_highest_priority() -> None:
    replay = filled(ReplayBuffer(8, transition_type(1), prioritized(0.5)), 2)
    replay.update_priorities(np.array([[0]]), np.array([[9.0]], np.float32))
    filled(replay, 1)
    assert replay.arrays["priorities"][2] == pytest.approx(3, rel=1e-4)


@pytest.mark.parametrize("stack", [1, 3])
@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("prioritized_replay", [UNIFORM, prioritized(1.0)])
def test_frames_that_are_kept_once_give_the_observations_of_every_transition(
    stack: int, n_steps: int, prioritized_replay: PrioritizedReplay
) -> None:
    n_envs, size, random = 3, 40, np.random.default_rng(stack)
    frames = Frames(size, n_envs, 2, stack, np.dtype(np.uint16), n_steps)
    ours, plain = (NStep(n_steps, 0.9, n_envs, transition_type(2 * stack, kept)) for kept in (True, False))
    replay = ReplayBuffer(size, transition_type(2 * stack, frames=True), prioritized_replay)
    seen: list[deque[np.ndarray]] = [deque(maxlen=stack) for _ in range(n_envs)]
    expected: list[np.void] = []
    ended, before = np.ones(n_envs, np.bool_), None
    for step in range(200):
        newest = (step * n_envs + np.arange(n_envs)[:, None]) * 2 + np.arange(2)
        for env in range(n_envs):
            seen[env].extend([newest[env]] * (stack if ended[env] else 1))
        observation = np.array([np.concatenate(frames_of) for frames_of in seen])
        places = frames.add(observation.astype(np.uint16), ended)
        assert (frames.observations(places) == observation).all()
        was_ended, ended = ended, random.random(n_envs) < 0.2
        if before is not None:
            given = (np.full(n_envs, step), random.random(n_envs).astype(np.float32))
            done = (ended & (random.random(n_envs) < 0.5), ended, was_ended)
            replay.add(ours.add(before[0], *given, places, *done))
            expected += list(plain.add(before[1].astype(np.float32), *given, observation.astype(np.float32), *done))
            replay.drop_before(frames.oldest)
        before = places, observation
        kept = range(max(replay.dropped, replay.added - size), replay.added)
        assert len(replay) == len(kept)
        for number in kept:
            found = replay.arrays["transitions"][number % size]
            for name in ("action", "return", "discount"):
                assert found[name] == expected[number][name]
            for name in ("observation", "next"):
                assert (frames.observations(found[name]) == expected[number][name]).all()
        if kept:
            drawn, _ = replay.sample((2, 50), random)
            assert {*drawn.ravel()} <= {number % size for number in kept}
    assert replay.added > 4 * size
    assert size / 2 < len(replay) <= size


def test_a_transition_of_four_frames_takes_the_memory_of_one() -> None:
    size, pixels = 2000, 84 * 84
    replay = ReplayBuffer(size, transition_type(4 * pixels, frames=True), UNIFORM)
    frames = Frames(size, 16, pixels, 4, np.dtype(np.uint8), 3)
    arrays = [*replay.arrays.values(), *frames.arrays.values()]
    assert 7_000 < sum(array.nbytes for array in arrays) / size < 8_300
    assert transition_type(4 * pixels).itemsize > 225_000


def test_frames_beyond_the_memory_are_refused() -> None:
    with pytest.raises(InputError, match=r"^cartpole\.train\.buffer_size: 2000000000: needs \d+ GB; expected at most"):
        Frames(2 * 10**9, 16, 84 * 84, 4, np.dtype(np.uint8), 3)
