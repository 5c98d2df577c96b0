"""Births read from servers on this machine: HTTPS, and S3 as moto serves it."""

import gzip
import http.server
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from stages.babyweight.source.births import FACTS
from stages.babyweight.source.facts import read_facts
from stages.babyweight.source.synthetic import Generator
from stages.core.files import digest
from tests.conftest import assert_refused, run_stage
from tests.s3 import running

Write = Callable[..., Path]
ROWS = 3000
TLS = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards, one of each packing, and a file that is none."""
    folder = tmp_path_factory.mktemp("shards")
    frame = next(Generator(read_facts(FACTS), 2017).blocks(ROWS))
    texts = [frame.iloc[i : i + 1000].to_csv(index=False).encode() for i in range(0, ROWS, 1000)]
    (folder / "births-0.csv").write_bytes(texts[0])
    (folder / "births-1.csv.gz").write_bytes(gzip.compress(texts[1]))
    (folder / "births-2.csv.zst").write_bytes(pa.compress(texts[2], codec="zstd", asbytes=True))
    (folder / "README").write_text("not births")
    return folder


@pytest.fixture
def prepare(tmp_path: Path, params_file: Write) -> Callable[..., subprocess.CompletedProcess[str]]:
    def prepare(source: str, pattern: str | None = None, **environment: Any) -> subprocess.CompletedProcess[str]:
        params = params_file({"babyweight.prepare.source.kind": "files", "babyweight.prepare.source.pattern": pattern})
        outputs = ("--sample", tmp_path / "sample.csv", tmp_path / "out", tmp_path / "prepare.json")
        return run_stage("stages.babyweight.prepare", "--raw", source, *outputs, "--params", params, **environment)

    return prepare


@pytest.fixture
def expected(tmp_path: Path, prepare: Callable[..., Any], shards: Path) -> str:
    done = prepare(str(shards))
    assert done.returncode == 0, done.stderr
    wanted = digest(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    return wanted


@pytest.fixture(scope="module")
def https(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a server of the shards, and the file of the certificate to trust."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    names = ("-addext", "subjectAltName=DNS:localhost")
    subprocess.run([*TLS, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(shards))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_port}", str(certificate)
        server.shutdown()


def test_https(tmp_path: Path, prepare: Callable[..., Any], https: tuple[str, str], shards: Path) -> None:
    address, certificate = https
    found = []
    for source in (str(shards / "births-1.csv.gz"), f"{address}/births-1.csv.gz"):
        done = prepare(source, SSL_CERT_FILE=certificate)
        assert done.returncode == 0, done.stderr
        found.append(digest(tmp_path / "out"))
    assert found[0] == found[1]


@pytest.mark.parametrize(("source", "pattern"), [("/", None), ("/", "births-*"), ("/births-1.csv.gz", "*.gz")])
def test_a_web_server_has_no_folders(
    prepare: Callable[..., Any], https: tuple[str, str], source: str, pattern: str | None
) -> None:
    done = prepare(https[0] + source, pattern, SSL_CERT_FILE=https[1])
    assert_refused(done, f"{https[0]}{source}: expected a file: a web server does not say when a folder changes")


def test_https_that_fails_is_named_in_one_line(prepare: Callable[..., Any], https: tuple[str, str]) -> None:
    address, certificate = https
    assert_refused(
        prepare(f"{address}/none.csv", SSL_CERT_FILE=certificate),
        f"{address}/none.csv: cannot be read: ClientResponseError: 404",
    )
    assert_refused(prepare(f"{address}/births-0.csv"), f"{address}/births-0.csv: cannot be read:", "CERTIFICATE")
    assert_refused(prepare("https://localhost:9/births.csv"), "https://localhost:9/births.csv: cannot be read:")


def test_an_unknown_scheme(prepare: Callable[..., Any]) -> None:
    assert_refused(prepare("births://here/x.csv"), "births://here/x.csv: cannot be read:", "births")


@pytest.fixture(scope="module")
def s3(shards: Path) -> Iterator[dict[str, str]]:
    """The environment in which a bucket `births` holds the shards below `natality/`."""
    with running() as storage:
        storage.put_folder(shards, "births/natality")
        yield storage.environment


@pytest.mark.parametrize(
    ("source", "pattern"),
    [
        ("s3://births/natality", None),
        ("s3://births/natality/", "births-*.csv*"),
        ("s3://births", "**/births-*"),
    ],
)
def test_s3_folder_and_pattern(
    tmp_path: Path, prepare: Callable[..., Any], s3: dict[str, str], expected: str, source: str, pattern: str | None
) -> None:
    done = prepare(source, pattern, **s3)
    assert (done.returncode, done.stderr) == (0, "")
    assert digest(tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("source", "pattern", "words"),
    [
        ("none.csv", None, "cannot be read: FileNotFoundError"),
        ("none", "*", "cannot be read: FileNotFoundError"),
        ("natality", "x*", "no file matches babyweight.prepare.source.pattern: x*"),
    ],
)
def test_s3_that_fails_is_named_in_one_line(
    prepare: Callable[..., Any], s3: dict[str, str], source: str, pattern: str | None, words: str
) -> None:
    assert_refused(prepare(f"s3://births/{source}", pattern, **s3), f"s3://births/{source}: {words}")
