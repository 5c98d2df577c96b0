"""Serve SavedModels by TensorFlow Serving's REST and gRPC APIs, with a page to try the project's own."""

import argparse
import functools
import importlib
import ipaddress
import logging
import os
import signal
import socket
import ssl
import stat
import sys
import tempfile
import threading
from pathlib import Path

from serving import published
from serving.messages import one_line_records
from serving.publish import publish_all
from serving.settings import Settings, add_settings, read_settings
from serving.sources import ModelConfigFile, ModelConfigs, PublishedFolder, Root, SingleModel, Source
from stages.core.errors import InputError, one_line, run
from stages.core.params import validate

TOKEN = "SERVING_TOKEN"
_SWITCH_SECONDS = 0.0005  # a model's thread waits no longer than this for the interpreter
_INTER_OP = 16  # threads that models share which only TensorFlow 2's loader loads; the others have their own


def arguments() -> argparse.Namespace:
    """The command line. Options with underscores are TensorFlow Serving's, and mean the same."""
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; beyond loopback a token is needed")
    parser.add_argument("--rest_api_port", type=int, default=8501, help="of REST and the page; 0 picks a free one")
    parser.add_argument("--port", type=int, default=8500, help="of gRPC; 0 leaves it out")
    models = parser.add_mutually_exclusive_group()
    models.add_argument(
        "--published",
        default=str(published.PUBLISHED),
        help="folder or address (s3://...) with a folder for each model; a missing local one is filled from models/",
    )
    models.add_argument("--model_config_file", type=Path, help="TensorFlow Serving's ModelServerConfig as text")
    models.add_argument("--model_base_path", help="folder or address of one model's versions; the latest is served")
    parser.add_argument("--model_name", default="default", help="that model's name")
    parser.add_argument("--rest_api_timeout_in_ms", type=float, help="overrides limits.seconds")
    parser.add_argument("--file_system_poll_wait_seconds", type=float, help="overrides both intervals of loading")
    parser.add_argument("--max_num_load_retries", type=int, help="overrides loading.max_retries")
    parser.add_argument("--load_retry_interval_micros", type=float, help="overrides loading.retry_seconds")
    parser.add_argument("--token-file", type=Path, help=f"file with the token; or set {TOKEN}")
    parser.add_argument(
        "--insecure-token",
        action="store_true",
        help="beyond loopback, take the token without TLS, such as from a proxy",
    )
    parser.add_argument("--ssl-certfile", type=Path, help="certificate chain (PEM): serve by TLS")
    parser.add_argument("--ssl-keyfile", type=Path, help="the certificate's key (PEM)")
    parser.add_argument(
        "--name-single-output",
        action="store_true",
        help='answer {"outputs": 7.3} rather than 7.3 where a model has one output',
    )
    parser.add_argument("--access-log", action="store_true", help="log every request")
    add_settings(parser)
    return parser.parse_args()


def overridden(settings: Settings, args: argparse.Namespace) -> Settings:
    """The settings with those that the command line overrides.

    Raises:
        InputError: if a value is out of range.
    """
    changes = {
        ("limits", "seconds"): args.rest_api_timeout_in_ms and args.rest_api_timeout_in_ms / 1e3,
        ("loading", "poll_seconds"): args.file_system_poll_wait_seconds,
        ("loading", "address_poll_seconds"): args.file_system_poll_wait_seconds,
        ("loading", "max_retries"): args.max_num_load_retries,
        ("loading", "retry_seconds"): args.load_retry_interval_micros and args.load_retry_interval_micros / 1e6,
    }
    values = settings.model_dump()
    for (section, key), value in changes.items():
        if value is not None:
            values[section][key] = value
    return validate(Settings, values, Path("command line"))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: Path | None) -> str | None:
    """The token of a file, else of the environment, else none.

    Raises:
        InputError: if it is empty or more than one word of visible ASCII, or everyone can read the file.
    """
    if path and os.name == "posix" and path.stat().st_mode & stat.S_IROTH:
        raise InputError(f"{path}: everyone can read the token; expected a file of mode 600 or 640")
    token = path.read_text(encoding="utf-8").strip() if path else os.environ.get(TOKEN)
    if token is not None and (not token.isascii() or not token.isprintable() or len(token.split()) != 1):
        raise InputError(f"{path or TOKEN}: expected a token of visible ASCII characters without spaces")
    return token


def read_certificate(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Read the files for TLS, if there are any.

    Raises:
        InputError: if one is missing, or they are not a certificate and its key.
    """
    if (certificate is None) != (key is None):
        raise InputError("expected both --ssl-certfile and --ssl-keyfile")
    if certificate is None:
        return None
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        tls.load_cert_chain(certificate, key)
    except OSError as error:
        raise InputError(f"{certificate}, {key}: expected a certificate and its key: {error}") from None
    return tls


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; they wait until the server is up.

    Raises:
        InputError: if the address cannot be had.
    """
    ipv6 = ":" in host
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    both = ipv6 and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, backlog=1024, dualstack_ipv6=both)
    except (OSError, OverflowError) as error:
        raise InputError(f"{host}:{port}: cannot be listened on: {error}") from None


def import_modules(names: list[str]) -> None:
    """Import modules that register operations with TensorFlow.

    Raises:
        InputError: if one cannot be imported.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # the library may be of another version of TensorFlow
            reason = one_line(error)
            raise InputError(f"loading.modules: {name}: cannot be imported: {reason[:300]}") from None


def authority(host: str, port: int) -> str:
    """Host and port as a URL has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_source(args: argparse.Namespace, settings: Settings, cache: Path) -> Source:
    """What the command line names, after publishing the exported models if nothing is published.

    Raises:
        InputError: if it cannot be read.
    """
    every = settings.loading.address_poll_seconds
    if args.model_config_file:
        return ModelConfigFile(args.model_config_file, cache, every)
    if args.model_base_path:
        return SingleModel(args.model_name, Root(args.model_base_path, cache, every))
    folder = Path(args.published)
    if "://" not in args.published and not any(published.versions(folder / name) for name in published.models(folder)):
        publish_all([], Path("models"), Path("results"), folder, settings.keep)
    return PublishedFolder(Root(args.published, cache, every))


def serve(
    args: argparse.Namespace,
    settings: Settings,
    source: Source,
    token: str | None,
    tls: ssl.SSLContext | None,
    cache: Path,
) -> None:
    """Answer requests until SIGTERM or Ctrl-C, then finish those in progress, as far as the settings give them time.

    Clients must send the token; without one, only loopback names are answered.

    Raises:
        InputError: if the address cannot be had.
    """
    bound = listen(args.host, args.rest_api_port)
    if args.port:
        listen(args.host, args.port).close()  # gRPC takes it later, when TensorFlow is there
    # These import TensorFlow, which takes seconds; what is wrong with the command line is said before.
    import tensorflow as tf
    import uvicorn

    from serving import access, app, rpc
    from serving.connections import protocol, raise_file_limit
    from serving.registry import Registry
    from serving.servable import Servable
    from serving.stopping import Requests, Server

    import_modules(settings.loading.modules)
    logging.basicConfig(level=logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(access.formatter())
        handler.addFilter(one_line_records)
    if args.access_log:
        access.log_access()
    sys.setswitchinterval(_SWITCH_SECONDS)
    # Not the stages' settings: their determinism would refuse models with random operations.
    tf.get_logger().setLevel("ERROR")
    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    tf.config.threading.set_inter_op_parallelism_threads(_INTER_OP)
    load = functools.partial(Servable, batching=settings.batching, operations=settings.loading.operations)
    registry = Registry(source, load, settings.loading)
    connections = raise_file_limit(settings.limits.connections)
    limits = settings.limits.model_copy(update={"connections": connections})
    requests = Requests()
    bodies = app.Bodies(settings.limits)
    origins = settings.access.origins
    config = uvicorn.Config(
        app.create(registry, settings.limits, args.name_single_output, token, token is None, origins, requests, bodies),
        http=protocol(limits, tls),  # type: ignore[arg-type] # called as the class would be
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.limits.idle_seconds,  # type: ignore[arg-type] # goes to the loop, which takes any
        ws="none",
    )
    configs = ModelConfigs(cache, settings.loading.address_poll_seconds)
    start_rpc = functools.partial(
        rpc.start,
        rpc.Api(registry, settings.limits, requests, bodies, configs),
        registry,
        requests,
        settings.limits,
        authority(args.host, args.port),
        token,
        (args.ssl_certfile, args.ssl_keyfile) if tls else None,
    )
    server = Server(config, requests, settings.stop, start_rpc if args.port else None)
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn takes them later, and raises them again at its end
        signal.signal(number, server.handle_exit)
    scheme = "https" if tls else "http"
    grpc = f" and gRPC on {authority(args.host, args.port)}" if args.port else ""
    print(f"serving on {scheme}://{authority(*bound.getsockname()[:2])}{grpc}", flush=True)
    stopped = threading.Event()
    threading.Thread(target=registry.watch, args=(stopped,), daemon=True).start()
    try:
        server.run(sockets=[bound])
    finally:
        stopped.set()


def main() -> None:
    """Check the command line, then serve until told to stop."""
    args = arguments()
    settings = overridden(read_settings(args.settings), args)
    token = read_token(args.token_file)
    if token is None and not is_loopback(args.host):
        raise InputError(f"--host {args.host}: a server beyond loopback needs a token (--token-file, or {TOKEN})")
    tls = read_certificate(args.ssl_certfile, args.ssl_keyfile)
    if not (is_loopback(args.host) or tls or args.insecure_token):
        raise InputError(
            f"--host {args.host}: without TLS everyone on the way can read the token; expected --ssl-certfile and "
            "--ssl-keyfile, or --insecure-token if something else encrypts"
        )
    with tempfile.TemporaryDirectory(prefix="serving-") as cache:
        serve(args, settings, open_source(args, settings, Path(cache)), token, tls, Path(cache))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # not waiting for the calls of requests that were given up


if __name__ == "__main__":
    run(main)
