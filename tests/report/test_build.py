"""The report of this project's own results, and of a workload that nobody wrote a story for."""

from stages.core.params import load
from stages.report.build import summary, workloads
from tests.conftest import ROOT


def test_the_readme_shows_the_results() -> None:
    runs = workloads(ROOT, load(ROOT / "params.yaml"))
    assert [run.name for run in runs] == ["babyweight", "mnist", "cartpole"]
    assert summary(runs) in (ROOT / "README.md").read_text()
