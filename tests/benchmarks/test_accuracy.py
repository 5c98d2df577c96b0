from pathlib import Path

from benchmarks.accuracy import CONTESTANTS, plot, table


def run(contestant: str, steps: int, seed: int, accuracy: float) -> dict[str, object]:
    took = {"seconds": 20.0 + seed, "cpu_seconds": 40.0}
    return {"contestant": contestant, "steps": steps, "seed": seed, "accuracy": accuracy, **took}


def test_each_number_of_steps_has_its_mean_and_spread(tmp_path: Path) -> None:
    ours, *others = CONTESTANTS
    rows = [run(ours, 3000, 0, 0.995), run(ours, 3000, 1, 0.996), run(ours, 800, 0, 0.99)]
    rows += [run(other, 6800, 0, 0.9951) for other in others]
    lines = table(rows).splitlines()
    assert f"| {ours} | 800 | 1 | 99.000 % | 20.0 | 40.0 |" in lines
    assert f"| {ours} | 3,000 | 2 | 99.550 ± 0.071 % | 20.5 | 40.0 |" in lines
    assert [line for line in lines if line.startswith(f"| {others[-1]} |")] == [
        f"| {others[-1]} | 6,800 | 1 | 99.510 % | 20.0 | 40.0 |"
    ]
    plot(tmp_path / "accuracy.png", rows)
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")
