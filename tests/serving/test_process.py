"""The server as people start it: a process that publishes, listens, swaps models under load and stops gracefully."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose  # NumPy's lazy import of it fails in several threads at once

from serving.publish import publish
from serving.rollback import rollback
from serving.settings import SETTINGS, Settings
from tests.conftest import ROOT, assert_refused, run_stage
from tests.serving import models
from tests.serving.conftest import ORIGINAL, Process, error, processor_seconds, wait_ready, write_settings

CYCLES = int(os.environ.get("SERVING_CYCLES", "10"))
"""Publications of the test under load; `SERVING_CYCLES=1000 pytest …` is the long run."""

PATIENCE = 30
"""Seconds that an answer may take on a machine that is busy with other things."""


@pytest.fixture
def fast_params(tmp_path: Path) -> Path:
    """The project's parameters with a server that looks for versions all the time."""
    return write_settings(tmp_path / "settings.yaml", poll_seconds=0.01, delay_seconds=0.5)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server of other projects' models."""
    folder = tmp_path_factory.mktemp("foreign")
    models.batch_dependent(folder / "batch_dependent/1")
    models.random(folder / "random/1")
    process = Process(folder)
    process.wait_ready()
    yield process
    process.stop()


class Load:
    """Clients that ask one after the other until its block ends, however it does, each noting what it got."""

    def __init__(self, url: str, path: str, body: bytes, clients: int) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.problems: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(url + path, body)) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, url: str, body: bytes) -> None:
        with httpx.Client(timeout=PATIENCE) as client:
            while not self._stop.is_set():
                try:
                    response = client.post(url, content=body)
                    self.answers.append((response.status_code, response.content))
                except httpx.HTTPError as error:
                    self.problems.append(repr(error))


@pytest.mark.timeout(100 + 4 * CYCLES)
def test_no_request_is_dropped_while_versions_are_published(tmp_path: Path, fast_params: Path) -> None:
    """Every answer is one version's or another's, whole; every version gets its turn as the newest."""
    exported = [models.babyweight(tmp_path / f"model{seed}", seed) for seed in range(2)]
    records = [models.checked(path, tmp_path / f"{path.name}.json") for path in exported]
    target = tmp_path / "published/babyweight"
    publish(exported[0], records[0], target, keep=2)
    process = Process(target.parent, "--settings", str(fast_params))
    try:
        process.wait_ready()
        predict = f"{process.url}/v1/models/babyweight:predict"
        expected = {httpx.post(predict, content=ORIGINAL, timeout=PATIENCE).content}
        with Load(process.url, "/v1/models/babyweight:predict", ORIGINAL, clients=4) as load:
            for cycle in range(1, CYCLES + 1):
                if cycle % 10 == 0:
                    _, newest = rollback(target)
                else:
                    newest, new = publish(exported[cycle % 2], records[cycle % 2], target, keep=2)
                    assert new or cycle % 10 == 1
                _until_newest(process.url, newest)
                expected.add(httpx.post(predict, content=ORIGINAL, timeout=PATIENCE).content)
        assert load.problems == []
        assert {status for status, _ in load.answers} == {200}
        assert len(load.answers) > CYCLES
        # The same rows in another call may differ in their last digits.
        firsts = sorted({round(json_values(body)[0], 4) for _, body in load.answers})
        assert len(firsts) == 2
        assert set(firsts) == {round(json_values(body)[0], 4) for body in expected}
    finally:
        process.stop()


def json_values(body: bytes) -> list[float]:
    found: list[float] = httpx.Response(200, content=body).json()["predictions"]
    return found


def _until_newest(url: str, number: int) -> None:
    for _ in range(1000):
        response = httpx.get(f"{url}/v1/models/babyweight", timeout=PATIENCE)
        statuses = response.json()["model_version_status"]
        available = [int(status["version"]) for status in statuses if status["state"] == "AVAILABLE"]
        if available and max(available) == number:
            return
        time.sleep(0.01)
    raise AssertionError(f"version {number} is not the newest: {statuses}")


def test_a_stop_answers_what_is_under_way_and_clients_that_leave_do_no_harm(
    published_models: Path, fast_params: Path
) -> None:
    """A request half sent at SIGTERM is answered; then the process ends with code 0 and without a traceback."""
    server = Process(published_models, "--settings", str(fast_params))
    try:
        server.wait_ready()
        host, port = server.url.removeprefix("http://").split(":")
        body = b'{"instances": [1.0, 2.0, 5.0]}'
        head = b"POST /v1/models/contract:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        for _ in range(20):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(head + b"{")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(head + body[:10])
            time.sleep(0.3)
            server.running.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(body[10:])
            received = b""
            while part := connection.recv(4096):
                received += part
        assert received.startswith(b"HTTP/1.1 200") and received.endswith(b'{"predictions":[3.5,4.0,5.5]}')
        assert "Traceback" not in server.running.communicate(timeout=20)[1]
        assert server.running.returncode == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url)
    finally:
        server.stop()


def test_a_stop_is_announced_and_gives_up_what_takes_too_long(tmp_path: Path) -> None:
    """`/readyz` fails while requests are answered; a call without end gets 503; the process does not wait for it."""
    models.slow(tmp_path / "published/slow/1")
    models.half_plus_two(tmp_path / "published/half/1")
    settings = write_settings(tmp_path / "settings.yaml", delay_seconds=2.0, grace_seconds=1.0)
    process = Process(tmp_path / "published", "--settings", str(settings))
    try:
        process.wait_ready()
        with ThreadPoolExecutor(1) as clients:
            url = f"{process.url}/v1/models/slow:predict"
            asked = clients.submit(httpx.post, url, content='{"instances": [1e9]}', timeout=60)
            time.sleep(1)
            began = time.monotonic()
            process.running.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            assert error(httpx.get(f"{process.url}/readyz", timeout=PATIENCE), 503) == "the server is stopping"
            answer = httpx.post(f"{process.url}/v1/models/half:predict", content='{"instances": [1.0]}')
            assert answer.json() == {"predictions": [2.5]}
            assert error(asked.result(), 503) == "the server is stopping"
        assert "Traceback" not in process.running.communicate(timeout=20)[1]
        assert process.running.returncode == 0
        assert time.monotonic() - began < 10
    finally:
        process.stop()


def test_the_stop_fits_into_kubernetes_limit(settings: Settings) -> None:
    assert settings.stop.delay_seconds + settings.stop.grace_seconds + 2 < 30


def test_a_kept_connection_outlives_a_stall(server: Process) -> None:
    """A request that arrives while the process does not run is answered when it does, and not reset as idle."""
    url, body = f"{server.url}/v1/models/contract:predict", '{"instances": [1]}'
    with httpx.Client(timeout=PATIENCE) as client, ThreadPoolExecutor(1) as pool:
        assert client.post(url, content=body).status_code == 200
        server.running.send_signal(signal.SIGSTOP)
        try:
            asked = pool.submit(client.post, url, content=body)
            time.sleep(6)
        finally:
            server.running.send_signal(signal.SIGCONT)
        assert asked.result().status_code == 200


def call_sizes(url: str) -> dict[str, float]:
    """The count and the sum of the sizes of the calls of the model `contract`."""
    text = httpx.get(f"{url}/metrics").text
    pattern = r'^serving_call_instances_(count|sum)\{model="contract",version="1"\} (\S+)$'
    return {"count": 0, "sum": 0} | {kind: float(value) for kind, value in re.findall(pattern, text, re.MULTILINE)}


def test_concurrent_requests_share_calls(server: Process) -> None:
    before = call_sizes(server.url)
    with Load(server.url, "/v1/models/contract:predict", b'{"instances": [1.0]}', clients=16) as load:
        time.sleep(1.5)
    assert load.problems == []
    assert set(load.answers) == {(200, b'{"predictions":[3.5]}')}
    after = call_sizes(server.url)
    assert after["sum"] - before["sum"] == len(load.answers) > after["count"] - before["count"]


SIGNATURES: dict[str, Callable[..., Any]] = {
    "serving_default": np.cumsum,
    "softmax": lambda x: np.exp(x - x.max()) / np.exp(x - x.max()).sum(),
    "share": lambda x: x / x.sum(),
    "normalised": lambda x: (x - x.mean()) / x.std(),
}


@pytest.mark.parametrize("signature", SIGNATURES)
def test_batch_dependent_models_answer_each_request_alone(foreign: Process, signature: str) -> None:
    """Sixteen clients, each with values of its own: not one answer holds anything of another's request."""

    def ask(client: int) -> None:
        rng = np.random.default_rng(client)
        with httpx.Client(timeout=PATIENCE) as connection:
            for _ in range(20):
                values = rng.uniform(1, 2, rng.integers(2, 6)).astype(np.float32)
                body = {"signature_name": signature, "instances": values.tolist()}
                found = connection.post(f"{foreign.url}/v1/models/batch_dependent:predict", json=body).json()
                assert_allclose(found["predictions"], SIGNATURES[signature](values), rtol=1e-4, atol=1e-4)

    with ThreadPoolExecutor(16) as clients:
        for asked in [clients.submit(ask, number) for number in range(16)]:
            asked.result()


def test_models_with_random_operations_answer(foreign: Process) -> None:
    """The stages' determinism, under which TensorFlow refuses unseeded random numbers, does not reach the server."""
    response = httpx.post(f"{foreign.url}/v1/models/random:predict", json={"instances": [1.0, 2.0]})
    assert response.status_code == 200, response.text


def test_a_slow_model_holds_up_no_other_and_stops_at_the_limit(tmp_path: Path) -> None:
    """Eight calls that never end: another model answers meanwhile; after their 504 the processor is idle."""
    models.slow(tmp_path / "published/slow/1")
    models.half_plus_two(tmp_path / "published/half/1")
    process = Process(tmp_path / "published", "--rest_api_timeout_in_ms", "6000")
    try:
        process.wait_ready()
        with ThreadPoolExecutor(8) as clients:
            url = f"{process.url}/v1/models/slow:predict"
            asked = [clients.submit(httpx.post, url, content='{"instances": [1e9]}', timeout=60) for _ in range(8)]
            time.sleep(1)
            for _ in range(10):
                answer = httpx.post(f"{process.url}/v1/models/half:predict", content='{"instances": [1.0]}', timeout=60)
                assert answer.json() == {"predictions": [2.5]}
            assert not [call for call in asked if call.done()]
            for call in asked:
                assert error(call.result(), 504) == "no answer within 6 seconds"
        time.sleep(0.5)
        before = processor_seconds(process)
        time.sleep(1)
        assert processor_seconds(process) - before < 0.5
    finally:
        process.stop()


def test_a_request_whose_client_goes_away_is_given_up(tmp_path: Path) -> None:
    """Long before its time is over, so that what still waits for a thread is not computed."""
    models.slow(tmp_path / "published/slow/1")
    process = Process(tmp_path / "published")
    try:
        process.wait_ready()
        body = '{"instances": [1e9]}'
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{process.url}/v1/models/slow:predict", content=body, timeout=httpx.Timeout(30, read=2))
        given_up = 'serving_requests_total{model="slow",route="predict",status="499",version="1"} 1.0'
        for _ in range(100):
            if given_up in httpx.get(f"{process.url}/metrics", timeout=PATIENCE).text:
                break
            time.sleep(0.1)
        else:
            raise AssertionError("the request is not given up")
        process.running.send_signal(signal.SIGINT)
        assert "Traceback" not in process.running.communicate(timeout=60)[1]
    finally:
        process.stop()


def test_the_log(published_models: Path, tmp_path: Path) -> None:
    """Each line has a time and a level; requests are there on demand, each with its id and what no line can break."""
    process = Process(published_models, "--access-log")
    try:
        process.wait_ready()
        httpx.post(f"{process.url}/v1/models/contract:predict", content="{}", headers={"x-request-id": "abc"})
        httpx.get(f"{process.url}/v1/models/a%0Ab")
        process.running.send_signal(signal.SIGINT)
        lines = process.running.communicate(timeout=30)[1].splitlines()
    finally:
        process.stop()
    ours = [line for line in lines if "contract" in line or "models/a" in line]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR) ", line) for line in ours), lines
    assert any("INFO contract: version 1 is available" in line for line in ours)
    assert any(re.search(r'abc 127\.0\.0\.1 "POST /v1/models/contract:predict" 400 \d', line) for line in ours), lines
    assert any(r'"GET /v1/models/a\nb" 404 ' in line for line in ours), lines


OPERATION = """
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
using namespace tensorflow;
REGISTER_OP("PipelineTestTwice").Input("x: float").Output("y: float");
struct Twice : OpKernel {
  using OpKernel::OpKernel;
  void Compute(OpKernelContext* context) override {
    Tensor* y = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, context->input(0).shape(), &y));
    for (int64_t i = 0; i < y->NumElements(); ++i) y->flat<float>()(i) = 2 * context->input(0).flat<float>()(i);
  }
};
REGISTER_KERNEL_BUILDER(Name("PipelineTestTwice").Device(DEVICE_CPU), Twice);
"""
MODULE = """
from pathlib import Path
import tensorflow
library = tensorflow.load_op_library(str(Path(__file__).with_name("libtwice.so")))
"""
EXPORT = """
import sys, tensorflow as tf, twice
x = tf.TensorSpec([None], tf.float32, "x")
signature = tf.function(lambda x: {"y": twice.library.pipeline_test_twice(x=x)}).get_concrete_function(x=x)
tf.saved_model.save(tf.Module(), sys.argv[1], signatures=signature)
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_a_library_of_operations(tmp_path: Path) -> None:
    """A model whose operations are another library's is served if the settings name the module that loads them."""
    (tmp_path / "twice.cc").write_text(OPERATION)
    (tmp_path / "twice.py").write_text(MODULE)
    flags = [*tf.sysconfig.get_compile_flags(), *tf.sysconfig.get_link_flags()]
    compiler = ["g++", "-w", "-O0", "-shared", "-fPIC", "twice.cc", "-o", "libtwice.so", *flags]
    subprocess.run(compiler, cwd=tmp_path, check=True)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    export = [sys.executable, "-c", EXPORT, str(tmp_path / "published/twice/1")]
    subprocess.run(export, env=environment, check=True)
    write_settings(tmp_path / "settings.yaml", modules="[twice]", delay_seconds=0)
    command = [sys.executable, "-m", "serving", "--rest_api_port", "0", "--port", "0", "--settings", "settings.yaml"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().split()[2]
        wait_ready(url)
        answer = httpx.post(f"{url}/v1/models/twice:predict", content='{"instances": [1.5]}')
        assert answer.json() == {"predictions": [3.0]}
        process.terminate()


def test_a_library_of_operations_that_cannot_be_imported(published_models: Path, tmp_path: Path) -> None:
    settings = write_settings(tmp_path / "settings.yaml", modules="[no_such]")
    done = run_stage(
        "serving", "--published", published_models, "--rest_api_port", "0", "--port", "0", "--settings", settings
    )
    assert_refused(done, "loading.modules: no_such: cannot be imported: No module named 'no_such'")


def test_an_empty_folder_is_published_first(tmp_path: Path) -> None:
    """Started where the exported models lie, as `make serve` is."""
    model = models.babyweight(tmp_path / "models/babyweight")
    models.checked(model, tmp_path / "results/babyweight/predictions.json")
    command = [sys.executable, "-m", "serving", "--rest_api_port", "0", "--port", "0", "--settings", str(SETTINGS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "babyweight: version 1\n"
        assert process.stdout.readline().startswith("serving on http://127.0.0.1:")
        process.terminate()
    assert (tmp_path / "published/babyweight/1/saved_model.pb").exists()


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        (["--host", "0.0.0.0"], {}, ["--host 0.0.0.0", "needs a token"]),
        (["--host", "example.com"], {}, ["needs a token"]),
        ([], {"SERVING_TOKEN": ""}, ["SERVING_TOKEN", "expected a token"]),
        (["--token-file", "/nonexistent"], {}, ["/nonexistent", "No such file"]),
        (["--rest_api_port", "99999"], {}, ["127.0.0.1:99999", "cannot be listened on"]),
        (["--port", "99999"], {}, ["127.0.0.1:99999", "cannot be listened on"]),
        (["--settings", "/nonexistent"], {}, ["/nonexistent", "no such file"]),
        (["--rest_api_timeout_in_ms", "-5"], {}, ["command line: limits.seconds"]),
        (["--ssl-certfile", "/nonexistent"], {}, ["--ssl-keyfile"]),
        (["--ssl-certfile", "/nonexistent", "--ssl-keyfile", "/nonexistent"], {}, ["/nonexistent", "No such file"]),
        (["--published", "nowhere://bucket"], {}, ["nowhere://bucket: cannot be read"]),
        (["--model_config_file", "/nonexistent"], {}, ["/nonexistent", "No such file"]),
    ],
)
def test_a_wrong_start_is_refused(
    published_models: Path, options: list[str], environment: dict[str, Any], words: list[str]
) -> None:
    where: list[str | Path] = (
        [] if {"--published", "--model_config_file"} & set(options) else ["--published", published_models]
    )
    done = run_stage("serving", *where, "--rest_api_port", "0", "--port", "0", *options, **environment)
    assert_refused(done, *words)


def test_beyond_loopback_with_a_token(published_models: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    options = ["--host", "0.0.0.0", "--token-file", str(token)]
    token.chmod(0o644)
    done = run_stage("serving", "--published", published_models, *options, "--insecure-token")
    assert_refused(done, str(token), "everyone can read the token")
    token.chmod(0o640)
    done = run_stage("serving", "--published", published_models, *options)
    assert_refused(done, "without TLS", "--insecure-token")
    process = Process(published_models, *options, "--insecure-token")
    url = process.url.replace("0.0.0.0", "127.0.0.1")
    try:
        assert httpx.get(f"{url}/metrics").status_code == 401
        assert httpx.get(f"{url}/metrics", headers={"authorization": "Bearer secret"}).status_code == 200
    finally:
        process.stop()


def test_tls_and_tensorflow_servings_options(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """A foreign model in TensorFlow Serving's configuration, served by TLS, with a time limit in its spelling."""
    models.half_plus_two(tmp_path / "half/00000123")
    config = tmp_path / "models.config"
    config.write_text(f'model_config_list {{ config {{ name: "half" base_path: "{tmp_path / "half"}" }} }}')
    options = ["--model_config_file", str(config), "--rest_api_timeout_in_ms", "1e-6"]
    options += ["--ssl-certfile", str(certificate[0]), "--ssl-keyfile", str(certificate[1])]
    process = Process(None, *options)
    try:
        assert process.url.startswith("https://127.0.0.1:")
        process.wait_ready(ssl.create_default_context(cafile=certificate[0]))
        with httpx.Client(verify=ssl.create_default_context(cafile=certificate[0]), base_url=process.url) as client:
            assert client.get("/v1/models/half").json()["model_version_status"][0]["version"] == "123"
            answer = client.post("/v1/models/half:predict", content='{"instances": [1.0]}')
            assert answer.status_code == 504
    finally:
        process.stop()


def test_a_certificate_that_is_none(published_models: Path, certificate: tuple[Path, Path]) -> None:
    chain, _ = certificate
    options: list[str | Path] = ["--published", published_models, "--ssl-certfile", chain, "--ssl-keyfile", chain]
    assert_refused(run_stage("serving", *options), "expected a certificate and its key")
