"""The server's process: threads, signals, start and stop."""

import functools
import logging
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf
import uvicorn

from serving import app
from serving.metrics import Metrics
from serving.registry import Registry
from serving.servable import Servable
from serving.settings import Settings
from serving.sources import Source

_STOP_SECONDS = 10  # requests in progress at SIGTERM may take this long
_IDLE_SECONDS = 75  # longer than clients and proxies keep a connection, so that it is not closed as they send
_SWITCH_SECONDS = 0.0005  # a model's thread waits no longer than this for the interpreter
_CALLS = 4  # calls of models at once


def serve(
    settings: Settings,
    source: Source,
    bound: socket.socket,
    *,
    keep_name: bool,
    token: str | None,
    certificate: tuple[Path, Path] | None,
) -> None:
    """Answer requests until SIGTERM or Ctrl-C, finish those in progress, and end the process with code 0.

    Args:
        settings: the server's settings.
        source: the models.
        bound: the socket to listen on.
        keep_name: name a prediction's output even if it is the only one.
        token: what clients must send; without one, only loopback names are answered.
        certificate: files of the certificate chain and its key, for TLS.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.setswitchinterval(_SWITCH_SECONDS)
    # Not the stages' settings: their determinism would refuse models with random operations.
    tf.get_logger().setLevel("ERROR")
    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    metrics = Metrics()
    pool = ThreadPoolExecutor(_CALLS, thread_name_prefix="model")
    load = functools.partial(Servable, batching=settings.batching, pool=pool, metrics=metrics)
    registry = Registry(source, load, settings.loading, metrics)
    application = app.create(
        registry, metrics, settings.limits, keep_name=keep_name, token=token, loopback_only=token is None
    )
    stop = threading.Event()
    threading.Thread(target=registry.watch, args=(stop,), daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again after a graceful stop
        signal.signal(number, lambda *_: sys.exit(0))
    host, port = bound.getsockname()[:2]
    scheme = "https" if certificate else "http"
    print(f"serving on {scheme}://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    config = uvicorn.Config(
        application,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
        timeout_keep_alive=_IDLE_SECONDS,
        ws="none",
        ssl_certfile=certificate and certificate[0],
        ssl_keyfile=certificate and certificate[1],
    )
    try:
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        stop.set()
