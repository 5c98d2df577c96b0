"""Fixtures of the server's tests."""

import json
import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from serving import app
from serving.publish import publish
from serving.registry import Registry
from serving.servable import Servable
from serving.settings import SETTINGS, Settings, read_settings
from serving.sources import PublishedFolder, Root, Source
from tests.conftest import ROOT, start_stage
from tests.ports import free_port
from tests.serving import models

ORIGINAL = (ROOT / "data/requests/babyweight.json").read_bytes()
"""The request that a cloud service once answered."""


@pytest.fixture(scope="session")
def settings() -> Settings:
    return read_settings()


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported models, and the records of their checks beside them."""
    folder = tmp_path_factory.mktemp("exported")
    for make in (models.babyweight, models.mnist, models.cartpole, models.contract):
        models.checked(make(folder / make.__name__), folder / f"{make.__name__}.json")
    return folder


@pytest.fixture(scope="session")
def published_models(tmp_path_factory: pytest.TempPathFactory, exported: Path) -> Path:
    folder = tmp_path_factory.mktemp("published")
    for name in ("babyweight", "mnist", "cartpole", "contract"):
        publish(exported / name, exported / f"{name}.json", folder / name, keep=5)
    models.half_plus_two(folder / "half_plus_two/00000123")
    return folder


Connect = Callable[..., AbstractContextManager[TestClient]]


@pytest.fixture(scope="session")
def connect(settings: Settings) -> Connect:
    """Serve a published folder, or another source, within this process: `with connect(folder) as client`."""

    @contextmanager
    def serve(
        source: Path | Source, limits: dict[str, Any] | None = None, operations: Collection[str] = (), **options: Any
    ) -> Iterator[TestClient]:
        load = partial(Servable, batching=settings.batching, operations=operations)
        if isinstance(source, Path):
            source = PublishedFolder(Root(str(source), source))
        registry = Registry(source, load, settings.loading.model_copy(update={"retry_seconds": 0.0}))
        registry.scan()
        changed = settings.limits.model_copy(update=limits or {})
        application = app.create(registry, changed, **options)
        application.state.registry = registry
        with TestClient(application, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
            yield client

    return serve


@pytest.fixture(scope="session")
def client(connect: Connect, published_models: Path) -> Iterator[TestClient]:
    with connect(published_models) as found:
        yield found


def write_settings(path: Path, **values: object) -> Path:
    """The project's settings with other values, by key."""
    text = SETTINGS.read_text()
    for key, value in values.items():
        text, found = re.subn(rf"(\b{key}:) [^#\n]+?(?=  #|$)", rf"\1 {value}", text, flags=re.MULTILINE)
        assert found, key
    path.write_text(text)
    return path


class Process:
    """A server in a process of its own."""

    def __init__(self, published: Path | str | None, *options: str, **environment: str) -> None:
        where = ["--published", str(published)] if published else []
        for _ in range(5):  # another process may take the port before the server does
            rpc_port = free_port()
            self.rpc = f"127.0.0.1:{rpc_port}"
            ports = ("--rest_api_port", "0", "--port", str(rpc_port))
            self.running = start_stage("serving", *ports, *where, *options, cwd=ROOT, **environment)
            while not (match := re.search(r"https?://\S+", self.running.output())) and self.running.poll() is None:
                time.sleep(0.02)
            if match:
                break
            said = self.running.communicate()
            assert f":{rpc_port}: cannot be listened on" in said[1], said
        assert match, said
        self.url = match[0]

    def stop(self) -> None:
        """Kill it."""
        self.running.kill()
        self.running.communicate()

    def wait_ready(self, verify: ssl.SSLContext | bool = True) -> None:
        wait_ready(self.url, verify)


def wait_ready(url: str, verify: ssl.SSLContext | bool = True) -> None:
    """Wait until a server can be asked."""
    for _ in range(600):
        if httpx.get(f"{url}/readyz", verify=verify, timeout=30).status_code == 200:
            return
        time.sleep(0.1)
    raise AssertionError("the server did not become ready within a minute")


@pytest.fixture(scope="session")
def server(published_models: Path) -> Iterator[Process]:
    """A server in a process of its own, which no test may stop."""
    process = Process(published_models)
    process.wait_ready()
    yield process
    process.stop()


def processor_seconds(process: Process) -> float:
    """That a server has used so far."""
    fields = Path(f"/proc/{process.running.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "chain.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(chain)]
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command here")
    subprocess.run(command, check=True, capture_output=True)
    return chain, key


def error(response: httpx.Response, status: int) -> str:
    """The message of a refusal with this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = json.loads(response.text)
    assert list(body) == ["error"]
    message: str = body["error"]
    return message
