"""No graph that trains or serves holds an operation that each processor approximates in its own way."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tensorflow as tf

from tests.processors.approximations import APPROXIMATE
from tests.processors.test_emulated import lines, prepare

# What XLA makes of `Rsqrt`, and the instructions themselves.
APPROXIMATE_HLO = re.compile(r"= f32\S* rsqrt\(.*|@llvm\.x86\S*\.(?:rsqrt|rcp)\S*")


def graphs(events: Path) -> Iterator[tf.compat.v1.GraphDef]:
    """Every function's graph in a trace: as written, and as it ran, after Grappler."""
    for record in tf.compat.v1.io.tf_record_iterator(str(events)):
        for value in tf.compat.v1.Event.FromString(record).summary.value:
            for content in value.tensor.string_val:
                for function in tf.compat.v1.RunMetadata.FromString(content).function_graphs:
                    yield from (function.pre_optimization_graph, function.post_optimization_graph)
                    yield from function.partition_graphs


def approximations(folder: Path, names: list[str]) -> set[str]:
    """Each approximate operation in the traces of stages, with its stage and its node's name."""
    return {
        f"{names[int(events.parent.name)]}: {node.op}: {node.name}"
        for events in folder.glob("*/events.*")
        for graph in graphs(events)
        for node in [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        if node.op in APPROXIMATE
    }


def trace(folder: Path, *stages: str, **little: object) -> set[str]:
    """Run stages in a clone; what their graphs hold that is approximate."""
    names = [command for command in lines() if not stages or any(stage in command for stage in stages)]
    traces = folder.with_name("traces")
    done = subprocess.run(
        [sys.executable, "-m", "tests.run_stages", "--graphs", traces, *names],
        cwd=prepare(folder, **little),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ran = [command.split()[2] for command in names]
    assert list(traces.glob("*/events.*"))
    found = approximations(traces, ran)
    for module in (traces / "xla").glob("*"):
        if module.suffix in {".txt", ".ll"} and "before_optimizations" not in module.name:
            found |= {f"{module.name}: {line}" for line in APPROXIMATE_HLO.findall(module.read_text())}
    return found


@pytest.mark.timeout(300)
def test_no_stage_runs_an_approximate_operation(tmp_path: Path) -> None:
    found = trace(tmp_path / "clone", **{"mnist.train.micro_batches": 2})
    known = {f"tests.processors.approximations: {name}: {name}" for name in APPROXIMATE}  # run last, to be found
    assert found == known


@pytest.mark.timeout(300)
def test_the_agent_that_xla_compiles_has_none_either(tmp_path: Path) -> None:
    found = trace(tmp_path / "clone", "stages.cartpole.train", **{"cartpole.train.jit_compile": True})
    assert found == set()
    assert list((tmp_path / "traces/xla").glob("*cpu_after_optimizations.txt"))


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (lambda x: tf.math.rsqrt(x), "Rsqrt"),
        (lambda x: 1 / x, "Reciprocal"),  # by Grappler
        (lambda x: x / tf.sqrt(x + 1), "Rsqrt"),  # by Grappler, unless its arithmetic is switched off
    ],
)
def test_a_trace_shows_them(tmp_path: Path, function: Callable[[tf.Tensor], tf.Tensor], operation: str) -> None:
    tf.summary.trace_on(graph=True, profiler=False)
    tf.function(function)(tf.ones([8]))
    with tf.summary.create_file_writer(str(tmp_path / "0")).as_default():
        tf.summary.trace_export("graphs", step=0)
    assert any(line.startswith(f"stage: {operation}: ") for line in approximations(tmp_path, ["stage"]))
