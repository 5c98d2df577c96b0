"""Run the pipeline: the stages of several workloads side by side, then what depends on all of them.

`make repro` runs this. Where fewer than two workloads changed it is `dvc repro`, and so it is with arguments, which are
those of `dvc repro`. It makes the same outputs and the same `dvc.lock`. A workload that fails does not stop the others.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from dvc.exceptions import DvcException
from dvc.repo import Repo

from stages.core.errors import InputError, run
from stages.core.params import workload_names

DVC = (sys.executable, "-m", "dvc")


def stages_of(names: Iterable[str], workloads: Iterable[str]) -> dict[str, list[str]]:
    """The stages of each workload, in their order: `train@mnist`, or `train-cartpole`."""
    owners = {name: re.split("[@-]", name)[-1] for name in names}
    return {workload: [name for name, owner in owners.items() if owner == workload] for workload in workloads}


def changed() -> dict[str, list[str]]:
    """The stages of each workload in which DVC sees a change; none if DVC cannot tell."""
    try:
        with Repo() as repo:
            names = [getattr(stage, "name", "") for stage in repo.index.stages]  # a .dvc file's stage has none
            stages, stale = stages_of(names, workload_names()), {*repo.status()}
    except DvcException:  # `dvc repro` says what is wrong
        return {}
    return {workload: names for workload, names in stages.items() if stale & {*names}}


def repro_one_by_one(workload: str, stages: list[str]) -> int:
    """Run a workload's own stages, and print each line behind the workload's name; the exit code."""
    # Another process of DVC holds the repository's lock between two stages, not while one runs.
    command = [*DVC, "--wait-for-lock", "repro", "--single-item", *stages]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            if line.strip():
                print(f"{workload}: {line}", end="", flush=True)
    return process.returncode


def main() -> None:
    """Run what changed."""
    arguments = sys.argv[1:]
    chosen = {} if arguments else changed()
    # Ctrl-C reaches every process; this one goes on until the others have ended.
    signal.signal(signal.SIGINT, lambda *_: None)
    if len(chosen) > 1:
        if subprocess.run([*DVC, "repro", "check"], check=False).returncode:
            raise SystemExit(1)
        with ThreadPoolExecutor(len(chosen)) as pool:
            codes = dict(zip(chosen, pool.map(repro_one_by_one, chosen, chosen.values()), strict=True))
        if failed := [workload for workload, code in codes.items() if code]:
            raise InputError(f"dvc repro: {', '.join(failed)}: failed; the lines above say why")
    raise SystemExit(subprocess.run([*DVC, "repro", *arguments], check=False).returncode)


if __name__ == "__main__":
    run(main)
