"""What goes beyond the contract: limits, safety, health, metrics, the form of single outputs."""

import gzip
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving import codec
from tests.serving.conftest import ORIGINAL, Connect, error

PREDICT = "/v1/models/contract:predict"


def test_the_original_request_in_both_forms(connect: Connect, client: TestClient, published_models: Path) -> None:
    """The cloud service named a single output, the contract does not."""
    plain = client.post("/v1/models/babyweight:predict", content=ORIGINAL).json()["predictions"]
    assert [type(value) for value in plain] == [float, float]
    with connect(published_models, keep_name=True) as naming:
        named = naming.post("/v1/models/babyweight:predict", content=ORIGINAL).json()
        assert named == {"predictions": [{"outputs": value} for value in plain]}
        columns = naming.post(PREDICT, content='{"inputs": [1, 2]}').json()
        assert columns == {"outputs": {"y": [3.5, 4.0]}}


def test_health(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}  # names are for those who have the token


def test_the_models_on_offer_are_named(client: TestClient) -> None:
    names = client.get("/models.json").json()["models"]
    assert {"babyweight", "cartpole", "contract", "mnist"} <= set(names)


def test_metrics(client: TestClient) -> None:
    def counts() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}

    before = counts()
    client.post(PREDICT, content='{"instances": [1, 2, 3]}')
    client.post(PREDICT, content="{}")
    client.get("/v1/models/no-such-model")
    after = counts()
    added = {name: value - before.get(name, 0) for name, value in after.items()}
    assert added['serving_requests_total{model="contract",route="predict",status="200",version="1"}'] == 1
    assert added['serving_requests_total{model="contract",route="predict",status="400",version=""}'] == 1
    assert added['serving_requests_total{model="",route="status",status="404",version=""}'] == 1
    assert added['serving_call_instances_bucket{le="4.0",model="contract",version="1"}'] == 1
    assert added['serving_call_instances_bucket{le="2.0",model="contract",version="1"}'] == 0
    assert added['serving_request_seconds_count{model="contract",route="predict",version="1"}'] == 1
    assert after['serving_newest_version{model="mnist"}'] == 1
    assert not [name for name in after if "no-such-model" in name]  # a request must not add series


@pytest.mark.parametrize(
    ("sent", "kept"), [("a-1.b:2", True), (None, False), ("", False), ("two words", False), ("x" * 129, False)]
)
def test_a_request_has_an_id(client: TestClient, sent: str | None, kept: bool) -> None:
    headers = {} if sent is None else {"x-request-id": sent}
    found = client.post(PREDICT, content="{}", headers=headers).headers["x-request-id"]
    assert (found == sent) if kept else re.fullmatch("[0-9a-f]{32}", found)


def test_openapi_names_every_route(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    paths = set(document["paths"])
    for target in ("", "/versions/{version}", "/labels/{label}"):
        for suffix in (":predict", ":classify", ":regress", "", "/metadata"):
            assert f"/v1/models/{{model}}{target}{suffix}" in paths
    assert {"/healthz", "/readyz", "/metrics"} < paths


def test_the_page_and_its_files(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("style.css", "main.js", "icon.svg"):
        assert f"/static/{name}" in page.text
        assert client.get(f"/static/{name}").status_code == 200


class TestLimits:
    @pytest.mark.parametrize("stream", [False, True], ids=["declared", "streamed"])
    def test_body(self, connect: Connect, published_models: Path, stream: bool) -> None:
        body = b'{"instances": [1]}'.ljust(2000)
        with connect(published_models, {"body_bytes": 1000}) as client:
            response = client.post(PREDICT, content=iter([body]) if stream else body)
            assert error(response, 413) == "expected a body of at most 1000 bytes"
            assert client.post(PREDICT, content='{"instances": [1]}').status_code == 200

    def test_bodies_of_all_requests(self, connect: Connect, published_models: Path) -> None:
        with connect(published_models, {"bodies_bytes": 1000}) as client:
            response = client.post(PREDICT, content=b'{"instances": [1]}'.ljust(2000))
            assert "too large together" in error(response, 503)
            for _ in range(100):  # room is given back
                assert client.post(PREDICT, content='{"instances": [1]}').status_code == 200

    def test_what_gzip_hides(self, connect: Connect, published_models: Path) -> None:
        """A megabyte of lists without elements in a kilobyte: refused by its size, or by what it holds."""
        body = b'{"instances": [' + b"[]," * 350_000 + b"[]]}"
        headers = {"content-encoding": "gzip"}
        with connect(published_models, {"body_bytes": 1_000_000}) as client:
            response = client.post(PREDICT, content=gzip.compress(body), headers=headers)
            assert error(response, 413) == "expected a body of at most 1000000 bytes"
        with connect(published_models) as client:
            response = client.post(PREDICT, content=gzip.compress(body), headers=headers)
            assert error(response, 413) == "expected at most 10000 instances, found 350001"

    def test_values(self, connect: Connect, published_models: Path) -> None:
        with connect(published_models, {"values": 50_000}) as client:
            message = error(client.post(PREDICT, json={"inputs": [[1] * 60_000]}), 413)
            assert message == "expected at most 50000 values, found 60002"

    def test_a_large_body_that_has_timed_out_is_not_read(
        self, connect: Connect, published_models: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two are read at once; the third waits for them, until its time is up."""
        read, parse = [], codec.parse

        def slowly(*arguments: Any) -> Any:
            read.append(1)
            time.sleep(1)
            return parse(*arguments)

        monkeypatch.setattr("serving.codec.parse", slowly)
        body = b'{"instances": [1], "x": 0}'.ljust(100_000)
        with connect(published_models, {"seconds": 0.5}) as client, ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda _: client.post(PREDICT, content=body), range(3)))
            assert [answer.status_code for answer in answers] == [504] * 3
            time.sleep(1)
        assert len(read) == 2

    @pytest.mark.parametrize("key", ["instances", "inputs"])
    def test_instances(self, connect: Connect, published_models: Path, key: str) -> None:
        with connect(published_models, {"instances": 3}) as client:
            assert client.post(PREDICT, json={key: [1, 2, 3]}).status_code == 200
            message = error(client.post(PREDICT, json={key: [1, 2, 3, 4]}), 413)
            assert message == "expected at most 3 instances, found 4"

    @pytest.mark.parametrize("depth", [33, 900, 5000, 200_000])
    def test_nesting(self, client: TestClient, depth: int) -> None:
        body = f'{{"signature_name": "any_shape", "instances": [{"[" * depth}1{"]" * depth}]}}'
        assert "nested" in error(client.post(PREDICT, content=body), 400)

    def test_concurrency(self, connect: Connect, published_models: Path) -> None:
        with connect(published_models, {"concurrency": 0}) as client:
            response = client.post(PREDICT, content='{"instances": [1]}')
            assert "more than 0 requests are in progress" in error(response, 503)
            assert response.headers["retry-after"] == "1"
            assert client.get("/healthz").status_code == 200

    def test_time(self, connect: Connect, published_models: Path) -> None:
        with connect(published_models, {"seconds": 1e-9}) as client:
            assert "no answer within" in error(client.post(PREDICT, content='{"instances": [1]}'), 504)

    def test_digits(self, client: TestClient) -> None:
        assert "JSON Parse error" in error(client.post(PREDICT, content=f'{{"instances": [NaN, {"9" * 5000}]}}'), 400)


class TestSafety:
    @pytest.mark.parametrize(
        "path",
        ["/v1/models/..%2F..%2Fetc", "/v1/models/%2e%2e", "/v1/models/..%5c..", "/v1/models/%00", "/v1/models/.lock"],
    )
    def test_names_do_not_leave_the_folder(self, client: TestClient, path: str) -> None:
        assert client.get(path).status_code == 404
        assert client.post(f"{path}:predict", content='{"instances": [1]}').status_code == 404

    @pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2f..%2fparams.yaml"])
    def test_files_do_not_leave_the_folder(self, client: TestClient, path: str) -> None:
        assert client.get(path).status_code == 404

    def test_what_is_echoed_is_escaped_and_short(self, client: TestClient) -> None:
        name = "<script>alert(1)</script>\r\n" + "x" * 10_000
        response = client.post(PREDICT, json={"instances": [{name: 1}, {"x": 1}]})
        assert len(error(response, 400)) < 500
        response = client.post(PREDICT, json={"signature_name": name, "instances": [1]})
        assert len(error(response, 400)) < 500
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "\n" not in response.text

    def test_no_other_site_may_read(self, client: TestClient) -> None:
        answer = client.post(PREDICT, content='{"instances": [1]}', headers={"origin": "http://127.0.0.1"})
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"origin": "https://example.com"}, 403),
            ({"origin": "http://127.0.0.1:3000"}, 403),  # a page of another server on this machine
            ({"origin": "null"}, 403),
            ({"origin": "http://127.0.0.1.example.com"}, 403),
            ({"sec-fetch-site": "cross-site"}, 403),
            ({"sec-fetch-site": "same-origin"}, 200),
            ({"sec-fetch-site": "none"}, 200),
            ({"origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"}, 200),
            ({"origin": "https://127.0.0.1"}, 200),  # behind a proxy that ends TLS
        ],
    )
    @pytest.mark.parametrize("path", [PREDICT, "/v1/models/contract", "/healthz", "/metrics"])
    def test_no_other_site_may_ask(self, client: TestClient, path: str, headers: dict[str, str], status: int) -> None:
        """A plain POST needs no preflight, so it reaches the server."""
        method = "POST" if path == PREDICT else "GET"
        response = client.request(method, path, headers=headers, content='{"instances": [1]}')
        assert response.status_code == status
        if status == 403:
            assert "pages of other sites" in error(response, 403)

    def test_sites_that_the_settings_name_may_ask(self, connect: Connect, published_models: Path) -> None:
        with connect(published_models, origins=["https://Example.com"]) as client:
            for origin, status in (("https://example.com", 200), ("https://example.org", 403)):
                headers = {"origin": origin, "sec-fetch-site": "cross-site"}
                response = client.post(PREDICT, content='{"instances": [1]}', headers=headers)
                assert response.status_code == status

    def test_a_link_elsewhere_leads_to_the_page(self, client: TestClient) -> None:
        headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
        assert client.get("/", headers=headers).status_code == 200
        assert client.get("/v1/models/contract", headers=headers).status_code == 403

    @pytest.mark.parametrize(
        ("host", "status"),
        [
            ("localhost:8501", 200),
            ("127.0.0.1", 200),
            ("[::1]:8501", 200),
            ("example.com", 421),
            ("127.0.0.1.evil", 421),
        ],
    )
    def test_another_sites_name_for_this_machine(self, client: TestClient, host: str, status: int) -> None:
        assert client.get("/readyz", headers={"host": host}).status_code == status

    @pytest.mark.parametrize("path", [PREDICT, "/v1/models/contract", "/models.json", "/metrics"])
    @pytest.mark.parametrize("sent", [None, "Bearer wrong", "secret", "Bearer secret2", "bearer secret"])
    def test_the_token_is_needed(self, connect: Connect, published_models: Path, path: str, sent: Any) -> None:
        with connect(published_models, token="secret", loopback_only=False) as client:
            headers = {"authorization": sent} if sent else {}
            method = "POST" if path == PREDICT else "GET"
            response = client.request(method, path, headers=headers, content='{"instances": [1]}')
            assert "expected the server's token" in error(response, 401)
            assert response.headers["www-authenticate"] == "Bearer"
            headers = {"authorization": "Bearer secret"}
            assert client.request(method, path, headers=headers, content='{"instances": [1]}').status_code == 200
            assert client.get("/").status_code == client.get("/healthz").status_code == 200

    def test_what_is_open_names_no_model(self, connect: Connect, published_models: Path) -> None:
        with connect(published_models, token="secret", loopback_only=False) as client:
            for path in ("/healthz", "/readyz", "/openapi.json"):
                response = client.get(path)
                assert response.status_code == 200
                assert "half_plus_two" not in response.text
            assert client.get("/static/main.js").status_code == 200
            for path in ("/v1/models/no-such", "/V1/x", "/metrics", "/monitoring/prometheus/metrics"):
                assert client.get(path).status_code == 401

    def test_a_bug_is_not_shown(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("secret detail")

        monkeypatch.setattr("serving.codec.parse", fail)
        assert error(client.post(PREDICT, content='{"instances": [1]}'), 500) == "internal error"
