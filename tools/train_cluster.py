"""Train a workload under DVC as the chief of a cluster on this machine: `make cluster WORKERS=2`.

The other workers are processes of their own on loopback ports, as they would be on other machines.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from stages.core.errors import InputError, run
from stages.core.params import load


def free_addresses(count: int) -> list[str]:
    """Loopback addresses `host:port` that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return [f"127.0.0.1:{port}" for port in ports]


def environment(addresses: Sequence[str], index: int) -> dict[str, str]:
    """This process's environment with the `TF_CONFIG` of a worker."""
    config = {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": index}}
    return {**os.environ, "TF_CONFIG": json.dumps(config)}


def train(workload: str, workers: int, replicas: int, params: Path) -> int:
    """Start the workers, run the stage as an experiment, end what is left; return DVC's exit code."""
    addresses = free_addresses(workers)
    with tempfile.TemporaryDirectory() as folder:
        # The experiment sets the same key in params.yaml, but only after the workers have started.
        values = yaml.safe_load(params.read_text())
        values[workload]["train"]["replicas"] = replicas
        theirs = Path(folder) / "params.yaml"
        theirs.write_text(yaml.safe_dump(values))
        outputs = [f"{folder}/{name}" for name in ("weights", "train.json", "curve.csv")]  # a worker writes none
        command = [
            sys.executable,
            "-m",
            f"stages.{workload}.train",
            f"data/{workload}",
            *outputs,
            "--params",
            str(theirs),
        ]
        others = [subprocess.Popen(command, env=environment(addresses, i)) for i in range(1, workers)]
        try:
            change = f"{workload}.train.replicas={replicas}"
            chief = ["dvc", "exp", "run", "--force", "--single-item", "--set-param", change, f"train@{workload}"]
            print(f"{workers} processes at {', '.join(addresses)}: {' '.join(chief)}", flush=True)
            return subprocess.run(chief, env=environment(addresses, 0), check=False).returncode
        finally:
            for other in others:
                other.kill()
                other.wait()


def main() -> None:
    """Prepare the data, then train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=["babyweight", "mnist"])
    parser.add_argument("workers", type=int, help="how many processes, the chief among them")
    args = parser.parse_args()
    if args.workers < 2:
        raise InputError(f"WORKERS: {args.workers}: expected at least 2")

    params = Path("params.yaml")
    replicas = getattr(load(params), args.workload).train.replicas
    replicas += -replicas % args.workers  # at least one each
    subprocess.run(["dvc", "repro", f"prepare@{args.workload}"], check=True)
    sys.exit(train(args.workload, args.workers, replicas, params))


if __name__ == "__main__":
    run(main)
