"""Run stages one after another in one process, because importing TensorFlow takes most of an emulated one's time.

python -m tests.run_stages [--graphs FOLDER] 'python -m stages.export mnist weights/mnist models/mnist' …
"""

import argparse
import os
import runpy
import shlex
import sys
from pathlib import Path

import stages  # noqa: F401 - its settings come before any import of NumPy


def run(command: str) -> None:
    """Run a command in this process, as `python -m` would in one of its own."""
    if "tensorflow" in sys.modules:  # undo what a training stage switched off
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})
    python, option, module, *arguments = shlex.split(command)
    assert (python, option) == ("python", "-m"), command
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def run_traced(command: str, folder: Path) -> None:
    """Run a command, and write the graphs that TensorFlow ran as an event file."""
    import tensorflow as tf

    from stages import runtime
    from stages.core.params import Runtime

    runtime.configure(Runtime(threads=1))  # a trace starts TensorFlow, after which this cannot be set
    tf.summary.trace_on(graph=True, profiler=False)
    run(command)
    with tf.summary.create_file_writer(str(folder)).as_default():
        tf.summary.trace_export("graphs", step=0)


def main() -> None:
    """Run each command in the current folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=Path, help="folder to write the graphs of the n-th command to")
    parser.add_argument("commands", nargs="+")
    args = parser.parse_args()
    if args.graphs:
        os.environ["XLA_FLAGS"] += f" --xla_dump_to={args.graphs / 'xla'} --xla_dump_hlo_as_text"
    for number, command in enumerate(args.commands):
        if args.graphs:
            run_traced(command, args.graphs / str(number))
        else:
            run(command)


if __name__ == "__main__":
    main()
