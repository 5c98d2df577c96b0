"""The drawing of the pipeline's graph."""

import re
from pathlib import Path

import pytest

from stages.core.errors import InputError
from stages.core.params import workload_names
from stages.report.graph import draw, read
from tests.conftest import ROOT


def test_the_stages_of_all_workloads_collapse_into_one_each() -> None:
    graph = read(ROOT / "docs" / "pipeline.md")
    assert {"prepare", "train", "export", "evaluate", "inspect", "predict", "report"} <= set(graph)
    assert sorted(graph.nodes["train"]["workloads"]) == workload_names()
    assert sorted(graph["export"]) == ["evaluate", "inspect", "predict"]
    assert not graph.has_edge("prepare", "evaluate")  # implied by train and export


@pytest.mark.parametrize("across", [True, False], ids=["across", "down"])
def test_no_two_stages_overlap_and_every_edge_is_drawn(across: bool) -> None:
    graph = read(ROOT / "docs" / "pipeline.md")
    svg = draw(graph, across)
    places = [tuple(map(float, place)) for place in re.findall(r"translate\(([\d.]+),([\d.]+)\)", svg)]
    assert len(places) == len(graph)
    for index, (x, y) in enumerate(places):
        assert all(abs(x - other_x) >= 118 or abs(y - other_y) >= 52 for other_x, other_y in places[:index])
    assert svg.count("marker-end") == len(graph.edges)
    size = re.search(r'viewBox="0 0 (\d+) (\d+)"', svg)
    assert size
    assert max(x for x, _ in places) + 118 <= int(size[1]) and max(y for _, y in places) + 52 <= int(size[2])


def test_another_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make graph"):
        read(tmp_path / "none.md")
    (tmp_path / "other.md").write_text("# Pipeline\n")
    with pytest.raises(InputError, match="expected the flowchart"):
        read(tmp_path / "other.md")
    (tmp_path / "circle.md").write_text('node1["a"]\nnode2["b"]\nnode1-->node2\nnode2-->node1\n')
    with pytest.raises(InputError, match="expected the flowchart"):
        read(tmp_path / "circle.md")
