"""Serve the published models with TensorFlow Serving's REST contract, and a page to try them."""

import argparse
import ipaddress
import os
import socket
from pathlib import Path

from serving import published
from serving.publish import publish_all
from serving.settings import add_settings, read_settings
from stages.core.errors import InputError, run

TOKEN = "SERVING_TOKEN"


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
    add_settings(parser)
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
    """A socket that takes connections; they wait until the server is up.

    Raises:
        InputError: if the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(1024)
    except (OSError, OverflowError) as error:
        raise InputError(f"{host}:{port}: cannot be listened on: {error}") from None
    return bound


def main() -> None:
    """Publish if nothing is published, then serve until told to stop."""
    args = arguments()
    settings = read_settings(args.settings)
    token = read_token(args.token_file)
    if token is None and not is_loopback(args.host):
        raise InputError(f"--host {args.host}: a server beyond loopback needs a token (--token-file, or {TOKEN})")
    if not any(published.versions(args.published / name) for name in published.models(args.published)):
        publish_all([], Path("models"), Path("results"), args.published, settings.keep)

    bound = listen(args.host, args.port)
    from serving.host import serve  # TensorFlow takes seconds: what is wrong above is said at once

    serve(
        settings,
        bound,
        args.published,
        keep_name=args.name_single_output,
        token=token,
    )


if __name__ == "__main__":
    run(main)
