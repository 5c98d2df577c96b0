"""An S3 server on this machine: moto's, in an environment of its own, since its packages do not fit DVC's."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyarrow import fs

from tests.ports import free_port

_COMMAND = "moto_server"
_ROOT = Path(__file__).parents[1]


class Storage:
    """An S3 server's buckets.

    Args:
        endpoint: the server's URL.
    """

    def __init__(self, endpoint: str) -> None:
        self.environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        """What a process needs to read and write them."""
        self.files = fs.S3FileSystem(
            endpoint_override=endpoint,
            access_key="someone",
            secret_key="secret",
            region="us-east-1",
            allow_bucket_creation=True,
        )

    def put_folder(self, folder: Path, path: str) -> None:
        """Write the files of a folder below `bucket/key`; the bucket is made if there is none."""
        self.files.create_dir(path.partition("/")[0])
        fs.copy_files(str(folder), path, destination_filesystem=self.files)


@contextmanager
def running() -> Iterator[Storage]:
    """Start a server with no buckets; skip the test where moto is not installed."""
    moto = shutil.which(_COMMAND, path=f"{_ROOT}/.benchmarks/moto/bin:{os.environ['PATH']}")
    if moto is None:
        assert not os.environ.get("CI"), "CI must have moto's server: make test installs it"
        pytest.skip("no moto_server here: make test installs it")
    port = free_port()
    command = [moto, "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(300):
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert server.poll() is None, f"{moto} ended"
                time.sleep(0.2)
            yield Storage(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
