"""File systems of addresses such as `s3://bucket/folder`."""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stages.core.errors import InputError, one_line


def is_remote(address: str) -> bool:
    """Whether an address is a URL."""
    return "://" in address


def is_on_web(address: str) -> bool:
    """Whether a web server has it, which need not say what is in a folder."""
    return address.startswith(("http://", "https://"))


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Name a path or URL in any error that a file system raises: each has its own."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = error.__cause__ or error
        text = one_line(reason)
        raise InputError(f"{where}: cannot be read: {type(reason).__name__}: {text}") from None


def file_system(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and what the file is called there: on a web server, by the whole URL.

    The two clouds are read by Arrow's own file systems, with their usual credentials.

    Raises:
        ImportError, ValueError: if nothing installed reads such addresses.
    """
    scheme, _, path = address.partition("://")
    if scheme in ("s3", "gs"):
        return _cloud(scheme, os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")), path
    import fsspec  # slow to import, and only addresses need it

    found: tuple[Any, str] = fsspec.core.url_to_fs(address)
    return found


@functools.cache
def _cloud(scheme: str, endpoint: str | None) -> Any:
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import fs

    return ArrowFSWrapper(fs.GcsFileSystem() if scheme == "gs" else fs.S3FileSystem(endpoint_override=endpoint))
