"""Kill training runs at random moments; compare their final bytes with those of a run that was never killed.

Each trial starts a real `dvc repro` of one training stage in a scratch clone and kills it, DVC alone or with the
processes it started. Then it runs the stage to the end and compares the digests of its outputs. `make soak` runs 20
trials per workload.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from stages.core.files import digest, remove
from stages.core.params import workload_names
from tools.compare.snapshot import WORK_TREE, Snapshot
from tools.scratch import ROOT, change, clone, prepare_small

PROJECT = Snapshot(ROOT, WORK_TREE)
OFTEN = 20  # times as many checkpoints as params.yaml asks for
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def outputs(folder: Path, workload: str) -> list[Path]:
    """A training stage's outputs."""
    return [folder / "weights" / workload, *(folder / "results" / workload / n for n in ("train.json", "curve.csv"))]


def digests(folder: Path, workload: str) -> list[str]:
    """The outputs' digests; empty for a missing one."""
    return [digest(path) if path.exists() else "" for path in outputs(folder, workload)]


def start(folder: Path, workload: str) -> "subprocess.Popen[bytes]":
    """Start the stage under DVC, in a process group of its own."""
    command = ["dvc", "repro", "--single-item", "--force", "--no-run-cache", PROJECT.stage("train", workload)]
    log = (folder / "soak.log").open("ab")
    return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True)


def moments(folder: Path, workload: str, usual: float) -> dict[str, Callable[[float], bool]]:
    """Kinds of moments to kill at: whether one has come, given the seconds since the start."""
    deadline = random.uniform(0.3, usual)
    saving = folder / "weights" / workload
    return {
        "at random": lambda elapsed: elapsed > deadline,
        "writing a checkpoint": lambda _: any((folder / ".checkpoints").glob(f"{workload}-*/.*.tmp")),
        "writing weights": lambda _: (saving.parent / f".{workload}.tmp").exists(),
        "DVC saving outputs": lambda _: (folder / "results" / workload / "train.json").exists(),
    }


def kill(folder: Path, workload: str, kind: str, usual: float, group: bool) -> str:
    """Start the stage and kill it when its moment comes; return what happened."""
    for path in outputs(folder, workload):
        remove(path)
    process = start(folder, workload)
    come = moments(folder, workload, usual)[kind]
    began = time.monotonic()
    while process.poll() is None and not come(time.monotonic() - began):
        time.sleep(0.0005)
    if process.poll() is not None:
        return "ended before"
    if group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    return f"killed {kind}{'' if group else ', DVC alone'}"


def main() -> None:
    """Print a line per trial, then the counts; exit with code 1 if a byte differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20, help="trials per workload")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--workloads", nargs="+", default=workload_names(), choices=workload_names())
    args = parser.parse_args()
    random.seed(args.seed)
    wrong, happened = 0, Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = prepare_small(clone(Path(name)))
        for workload in args.workloads:
            key = f"{workload}.operation.checkpoint_every"
            change(folder, key, max(1, PROJECT.params[key] // OFTEN))
        for workload in args.workloads:
            subprocess.run(["dvc", "repro", PROJECT.stage("train", workload)], cwd=folder, env=ENVIRONMENT, check=True)
            expected = digests(folder, workload)
            began = time.monotonic()
            start(folder, workload).wait()
            usual = time.monotonic() - began
            assert digests(folder, workload) == expected, f"two runs of {workload} differ"
            kinds = list(moments(folder, workload, usual))
            for trial in range(args.trials):
                kind = kinds[trial % len(kinds)] if trial % 2 else "at random"
                times = 2 if trial % 5 == 0 else 1
                story = [kill(folder, workload, kind, usual, group=trial % 4 != 2) for _ in range(times)]
                start(folder, workload).wait()
                same = digests(folder, workload) == expected
                if not same:
                    print((folder / "soak.log").read_text()[-2000:])
                wrong += not same
                happened.update(story)
                print(
                    f"{workload} {trial + 1}: {', '.join(story)}: {'same bytes' if same else 'DIFFERENT'}", flush=True
                )
    print("; ".join(f"{count} {what}" for what, count in happened.most_common()))
    print(f"{args.trials * len(args.workloads) - wrong} of {args.trials * len(args.workloads)} ended in the same bytes")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
