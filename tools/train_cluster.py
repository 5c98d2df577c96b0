"""Train a workload under DVC as the chief of a cluster on this machine: `make cluster WORKERS=2`.

The other workers are processes of their own on loopback ports, as they would be on other machines.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from stages import workloads
from stages.core.errors import InputError, run
from stages.core.params import load, workload_names


@contextlib.contextmanager
def reserved_addresses(count: int) -> Iterator[list[str]]:
    """Reserve loopback addresses `host:port` for processes with this module's `environment`.

    The ports stay bound here, so that the system gives them to nobody else; sharing them needs SO_REUSEPORT on both
    sides.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for reserved in sockets:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserved.bind(("", 0))
        yield [f"127.0.0.1:{reserved.getsockname()[1]}" for reserved in sockets]


def environment(addresses: Sequence[str], index: int) -> dict[str, str]:
    """The variables that make a process one of a cluster's workers."""
    config = {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": index}}
    return {"TF_CONFIG": json.dumps(config), "TF_GRPC_REUSE_PORT": "true"}


def train(workload: str, workers: int, params: Path) -> int:
    """Start the workers, run the stage as an experiment, end the workers; return DVC's exit code."""
    with reserved_addresses(workers) as addresses, tempfile.TemporaryDirectory() as folder:
        # The experiment sets the same key in params.yaml, but only after the workers have started.
        values = load(params)
        values[workload]["train"]["replicas"] = workers
        worker_params = Path(folder) / "params.yaml"
        worker_params.write_text(yaml.safe_dump(values))
        outputs = [f"{folder}/{name}" for name in ("weights", "train.json", "curve.csv")]  # a worker writes none
        command = [sys.executable, "-m", f"stages.{workload}.train", f"data/{workload}", *outputs]
        command += ["--params", str(worker_params)]
        others = [subprocess.Popen(command, env=os.environ | environment(addresses, i)) for i in range(1, workers)]
        try:
            change = f"{workload}.train.replicas={workers}"
            chief = ["dvc", "exp", "run", "--force", "--single-item", "--set-param", change, f"train@{workload}"]
            print(f"{workers} processes at {', '.join(addresses)}: {' '.join(chief)}", flush=True)
            return subprocess.run(chief, env=os.environ | environment(addresses, 0), check=False).returncode
        finally:
            for other in others:
                other.kill()
                other.wait()


def main() -> None:
    """Prepare the data, then train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=[name for name in workload_names() if workloads.find(name).has_data])
    parser.add_argument("workers", type=int, help="number of processes, including the chief")
    args = parser.parse_args()
    if args.workers < 2:
        raise InputError(f"WORKERS: {args.workers}: expected at least 2")

    subprocess.run(["dvc", "repro", f"prepare@{args.workload}"], check=True)
    sys.exit(train(args.workload, args.workers, Path("params.yaml")))


if __name__ == "__main__":
    run(main)
