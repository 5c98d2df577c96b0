"""This project's server beside KServe's and LitServe's, and the fastest call of the model as the limit.

All serve the same SavedModel with the same settings, one after the other in each of several rounds; figures are the
median round's. Needs the exported models; makes the others' environments below `.benchmarks/` at first. Writes
`serving.md`.

    python -m benchmarks.serving
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.environments import processor, python_with
from serving.publish import publish_all
from serving.settings import read_settings
from stages.core.files import write_text
from stages.rest.requests import read_instances

ROOT = Path(__file__).parents[1]
PORT, RPC_PORT = 8599, 8598
PATH = "/v1/models/{}:predict"
MODEL = Path("models/babyweight")
IMAGES_MODEL = Path("models/mnist")
ENVIRONMENTS = {
    "kserve": ["kserve==0.21.0", "tensorflow-cpu==2.21.0"],
    "litserve": ["litserve==0.2.19", "tensorflow-cpu==2.21.0"],
}
CLIENTS = (1, 8, 64)
ROWS = 10_000
IMAGES = 500


def contenders(threads: int, published: Path) -> dict[str, list[str]]:
    """The command that starts each server."""
    port, own = str(PORT), ["--threads", str(threads)]
    pythons = {name: str(python_with(name, *packages)) for name, packages in ENVIRONMENTS.items()}
    kserve = [pythons["kserve"], "-m", "benchmarks.servers.on_kserve", str(MODEL), port, *own]
    litserve = [pythons["litserve"], "-m", "benchmarks.servers.on_litserve", str(MODEL), port, *own]
    ours = [
        sys.executable,
        "-m",
        "serving",
        "--rest_api_port",
        port,
        "--port",
        str(RPC_PORT),
        "--published",
        str(published),
    ]
    return {
        "ours": ours,
        "KServe": kserve,
        "LitServe": litserve,
        "LitServe, batching": [*litserve, "--batch", "64"],
    }


@contextmanager
def running(command: list[str], body: bytes) -> Iterator[None]:
    """A server that answers."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
    request = Request(f"http://127.0.0.1:{PORT}{PATH.format(MODEL.name)}", body, {"Content-Type": "application/json"})
    try:
        for _ in range(3000):  # minutes, where the machine is busy with other things
            if process.poll() is not None:
                raise RuntimeError(f"ended with code {process.returncode}: {' '.join(command)}")
            try:
                with urlopen(request, timeout=10):
                    break
            except OSError:
                time.sleep(0.1)
        else:
            raise TimeoutError(f"no answer from {' '.join(command)}")
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # some leave their workers behind if asked to stop
        process.wait()


def measured(module: str, *arguments: str | Path | float) -> Any:
    """What a measuring process prints."""
    command = [sys.executable, "-m", f"benchmarks.servers.{module}", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def summary(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile, in milliseconds."""
    return {"p50": statistics.median(seconds) * 1e3, "p99": statistics.quantiles(seconds, n=100)[98] * 1e3}


def write_request(model: str, rows: int, path: Path) -> Path:
    """Write the request's file of a model with its instances repeated to a number of rows."""
    instances = read_instances(Path(f"data/requests/{model}.json"))
    path.write_text(json.dumps({"instances": (instances * rows)[:rows]}))
    return path


def bare(threads: int, one: Path) -> dict[str, float]:
    """The limit's figures."""
    found = measured("bare", MODEL, one, "--threads", threads, "--calls", 2000, "--rows", ROWS)
    rate = {"rate 1": 1 / statistics.mean(found["one"]), "rows": ROWS / statistics.median(found["many"])}
    return summary(found["one"]) | rate


def served(command: list[str], bodies: dict[int, Path], images: Path | None, seconds: float) -> dict[str, float]:
    """One server's figures; with a request of images those of gRPC too."""
    found: dict[str, float] = {}
    path = PATH.format(MODEL.name)
    with running(command, bodies[1].read_bytes()):
        for clients in CLIENTS:
            taken = measured("client", PORT, path, bodies[1], clients, seconds)
            found[f"rate {clients}"] = clients / statistics.mean(taken)
            if clients == 1:
                found |= summary(taken)
        found["rows"] = ROWS / statistics.median(measured("client", PORT, path, bodies[ROWS], 1, seconds))
        if images:
            for clients in CLIENTS:
                taken = measured("rpc_client", RPC_PORT, MODEL, bodies[1], clients, seconds)
                found[f"rpc {clients}"] = clients / statistics.mean(taken)
            taken = measured("client", PORT, PATH.format(IMAGES_MODEL.name), images, 1, seconds)
            found["images"] = 1 / statistics.mean(taken)
            found["rpc images"] = 1 / statistics.mean(
                measured("rpc_client", RPC_PORT, IMAGES_MODEL, images, 1, seconds)
            )
    return found


def table(figures: dict[str, dict[str, float]], rounds: int) -> str:
    """The figures in Markdown."""
    versions = ", ".join(requirement.replace("==", " ") for requirement, _ in ENVIRONMENTS.values())
    own = ", ".join(f"{name} {metadata.version(name)}" for name in ("tensorflow-cpu", "starlette", "uvicorn"))
    lines = [
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {processor()}, shared with the clients, Python "
        f"{platform.python_version()},",
        f"{own}; {versions}. Medians of {rounds} rounds. KServe's and LitServe's adapters call TensorFlow 2's",
        "function of the signature; KServe's runs one worker and does not batch.",
        "",
    ]
    head = ["", "p50 ms", "p99 ms", *(f"requests/s, {n} clients" for n in CLIENTS), f"rows/s, {ROWS:,} a request"]
    head += [f"gRPC requests/s, {n} clients" for n in CLIENTS]
    head += [f"requests/s of {IMAGES} images", f"gRPC requests/s of {IMAGES} images"]
    keys = [
        "p50",
        "p99",
        *(f"rate {n}" for n in CLIENTS),
        "rows",
        *(f"rpc {n}" for n in CLIENTS),
        "images",
        "rpc images",
    ]
    lines += ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * len(keys)]
    for name, found in figures.items():
        cells = [
            f"{found[key]:,.2f}" if key in ("p50", "p99") else f"{found[key]:,.0f}" if key in found else ""
            for key in keys
        ]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure round by round, write the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    args = parser.parse_args()
    threads = read_settings().threads
    rounds: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bodies = {rows: write_request(MODEL.name, rows, folder / f"{rows}.json") for rows in (1, ROWS)}
        images = write_request(IMAGES_MODEL.name, IMAGES, folder / "images.json")
        publish_all([MODEL.name, IMAGES_MODEL.name], MODEL.parent, Path("results"), folder / "published", keep=1)
        commands = contenders(threads, folder / "published")
        for _ in range(args.rounds):
            rounds.setdefault("the fastest call alone", []).append(bare(threads, bodies[1]))
            for server, command in commands.items():
                found = served(command, bodies, images if server == "ours" else None, args.seconds)
                rounds.setdefault(server, []).append(found)
    medians = {n: {k: statistics.median(r[k] for r in found) for k in found[0]} for n, found in rounds.items()}
    write_text(args.results / "serving.md", table(medians, args.rounds))


if __name__ == "__main__":
    main()
