"""Serve the published models with TensorFlow Serving's REST contract, and a page to try them."""

import argparse
import functools
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn

from serving import app, published
from serving.metrics import Metrics
from serving.publish import publish_all
from serving.registry import Registry
from serving.servable import Servable
from stages.shared import runtime
from stages.shared.errors import InputError, run
from stages.shared.params import Serving

TOKEN = "SERVING_TOKEN"
_STOP_SECONDS = 10  # requests under way at SIGTERM may take this long
_SWITCH_SECONDS = 0.0005  # a model's thread waits no longer than this for the interpreter


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; beyond loopback a token is needed")
    parser.add_argument("--port", type=int, default=8501, help="0 picks a free one")
    parser.add_argument("--published", type=Path, default=published.PUBLISHED)
    parser.add_argument("--token-file", type=Path, help=f"file with the token; or set {TOKEN}")
    parser.add_argument(
        "--name-single-output",
        action="store_true",
        help='answer {"outputs": 7.3} rather than 7.3 where a model has one output',
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    return parser.parse_args()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: Path | None) -> str | None:
    """The token of a file, else of the environment, else none.

    Raises:
        InputError: if it is empty or more than one word of visible ASCII.
    """
    token = path.read_text(encoding="utf-8").strip() if path else os.environ.get(TOKEN)
    if token is not None and (not token.isascii() or not token.isprintable() or len(token.split()) != 1):
        raise InputError(f"{path or TOKEN}: expected a token of visible ASCII characters without spaces")
    return token


def listen(host: str, port: int) -> socket.socket:
    """A bound socket.

    Raises:
        InputError: if the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        raise InputError(f"{host}:{port}: cannot be listened on: {error}") from None
    return bound


def main() -> None:
    """Publish if nothing is published, then serve until told to stop."""
    args = arguments()
    params = Serving.read(args.params)
    settings = params.serving
    token = read_token(args.token_file)
    if token is None and not is_loopback(args.host):
        raise InputError(f"--host {args.host}: a server beyond loopback needs a token (--token-file, or {TOKEN})")
    if not any(published.versions(args.published / name) for name in published.models(args.published)):
        publish_all([], Path("models"), Path("results"), args.published, settings.keep)

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.setswitchinterval(_SWITCH_SECONDS)
    runtime.configure(params.runtime)
    metrics = Metrics()
    pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="model")
    load = functools.partial(Servable, batching=settings.batching, pool=pool, metrics=metrics)
    registry = Registry(args.published, load, metrics)
    application = app.create(
        registry,
        metrics,
        settings.limits,
        keep_name=args.name_single_output,
        token=token,
        loopback_only=token is None,
    )
    stop = threading.Event()
    threading.Thread(target=registry.watch, args=(stop, settings.poll_seconds), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # what uvicorn raises again after a graceful stop
    bound = listen(args.host, args.port)
    print(f"serving on http://{args.host}:{bound.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        application,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
        ws="none",
    )
    uvicorn.Server(config).run(sockets=[bound])
    stop.set()


if __name__ == "__main__":
    run(main)
