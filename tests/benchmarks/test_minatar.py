"""MinAtar's sets beside the paper: how agents explore, and what the table says."""

import numpy as np

from benchmarks.minatar import COLUMNS, exploring, summary


def test_one_action_in_ten_is_random_of_six_and_what_the_environment_lacks_does_nothing() -> None:
    explore = exploring(lambda observation: np.ones(len(observation), np.int64), actions=3, seed=0)
    shares = np.bincount(explore(np.zeros(60_000))) / 60_000
    np.testing.assert_allclose(shares, [0.1 * 4 / 6, 0.9 + 0.1 / 6, 0.1 / 6], atol=0.005)


def test_the_table_has_means_over_seeds_and_their_spread() -> None:
    row = dict.fromkeys(COLUMNS, "1") | {"set": "Breakout", "cpu_seconds": "120", "processor": "x"}
    first, second = (row | {"greedy_mean": greedy, "exploring_mean": "9"} for greedy in ("12", "16"))
    cells = summary([first, second | {"passed": "0"}]).splitlines()[-1].strip("| ").split(" | ")
    assert cells == ["Breakout", "2", "1", "1", "1", "2.0", "2.0", "14.0", "2.8", "12.0", "9.0", "9.0", "10.1", "x"]
