"""Versions come and go while requests are answered."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serving.label import label
from serving.publish import publish
from serving.rollback import rollback
from tests.serving import models
from tests.serving.conftest import ORIGINAL, Connect, error

PREDICT = "/v1/models/babyweight:predict"


@pytest.fixture
def releases(tmp_path: Path) -> list[tuple[Path, Path]]:
    """Three models of the same signature with other weights, and their records."""
    made = [models.babyweight(tmp_path / f"model{seed}", seed) for seed in range(3)]
    return [(path, models.checked(path, tmp_path / f"{path.name}.json")) for path in made]


@pytest.fixture
def folder(tmp_path: Path, releases: list[tuple[Path, Path]]) -> Path:
    found = tmp_path / "published"
    publish(*releases[0], found / "babyweight", keep=2)
    return found


def scan(client: TestClient) -> None:
    client.app.state.registry.scan()  # type: ignore[attr-defined]


def states(client: TestClient) -> dict[str, str]:
    found = client.get("/v1/models/babyweight").json()["model_version_status"]
    return {version["version"]: version["state"] for version in found}


def answer(client: TestClient, path: str = PREDICT) -> Any:
    response = client.post(path, content=ORIGINAL)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_new_version_takes_over_and_a_rollback_undoes_it(
    connect: Connect, folder: Path, releases: list[tuple[Path, Path]]
) -> None:
    with connect(folder) as client:
        first = answer(client)
        publish(*releases[1], folder / "babyweight", keep=2)
        assert answer(client) == first
        scan(client)
        second = answer(client)
        assert second != first
        assert states(client) == {"2": "AVAILABLE", "1": "AVAILABLE"}
        assert answer(client, "/v1/models/babyweight/versions/1:predict") == first
        rollback(folder / "babyweight")
        scan(client)
        assert states(client) == {"1": "AVAILABLE"}
        assert answer(client) == first
        assert "no version 2" in error(client.get("/v1/models/babyweight/versions/2"), 404)


def test_versions_that_are_not_kept_go(connect: Connect, folder: Path, releases: list[tuple[Path, Path]]) -> None:
    with connect(folder) as client:
        for release in releases[1:]:
            publish(*release, folder / "babyweight", keep=2)
        scan(client)
        assert states(client) == {"3": "AVAILABLE", "2": "AVAILABLE"}


@pytest.mark.parametrize("damage", ["saved_model.pb", "variables"])
def test_an_unloadable_version_is_reported_while_the_old_serves(connect: Connect, folder: Path, damage: str) -> None:
    with connect(folder) as client:
        first = answer(client)
        broken = folder / "babyweight/2"
        shutil.copytree(folder / "babyweight/1", broken)
        if (broken / damage).is_dir():
            shutil.rmtree(broken / damage)
        else:
            (broken / damage).write_bytes(b"\x00nonsense")
        scan(client)
        assert answer(client) == first
        assert states(client) == {"2": "END", "1": "AVAILABLE"}
        (status,) = client.get("/v1/models/babyweight/versions/2").json()["model_version_status"]
        assert status["status"]["error_code"] == "INVALID_ARGUMENT"
        assert status["status"]["error_message"]
        message = error(client.post("/v1/models/babyweight/versions/2:predict", content=ORIGINAL), 404)
        assert message.startswith("model babyweight: version 2 could not be loaded: ")
        assert 'serving_failed_versions{model="babyweight"} 1.0' in client.get("/metrics").text
        shutil.rmtree(folder / "babyweight/1")
        scan(client)
        assert answer(client) == first, "the last version that works must stay"


def test_a_repaired_version_is_tried_again(connect: Connect, folder: Path) -> None:
    with connect(folder) as client:
        (folder / "babyweight/2").mkdir()
        scan(client)
        assert states(client)["2"] == "END"
        shutil.rmtree(folder / "babyweight/2")
        shutil.copytree(folder / "babyweight/1", folder / "babyweight/.new")
        (folder / "babyweight/.new").rename(folder / "babyweight/2")
        scan(client)
        assert states(client)["2"] == "AVAILABLE"


def test_no_version_that_works(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "published/babyweight/1").mkdir(parents=True)
    with connect(tmp_path / "published") as client:
        assert "no version is available" in error(client.post(PREDICT, content=ORIGINAL), 503)
        assert "being loaded" in error(client.get("/readyz"), 503)
        assert states(client) == {"1": "END"}


def test_a_model_comes_and_goes(connect: Connect, tmp_path: Path, releases: list[tuple[Path, Path]]) -> None:
    published = tmp_path / "other"
    with connect(published) as client:
        assert "no model 'babyweight'" in error(client.post(PREDICT, content=ORIGINAL), 404)
        publish(*releases[0], published / "babyweight", keep=2)
        scan(client)
        answer(client)
        shutil.rmtree(published / "babyweight")
        scan(client)
        assert "no model 'babyweight'" in error(client.post(PREDICT, content=ORIGINAL), 404)
        assert "babyweight" not in client.get("/readyz").text


def test_labels(connect: Connect, folder: Path, releases: list[tuple[Path, Path]]) -> None:
    """URL: /labels/L in place of /versions/N, for status, metadata and predictions."""
    publish(*releases[1], folder / "babyweight", keep=2)
    with connect(folder) as client:
        label(folder / "babyweight", "stable", 1)
        scan(client)
        assert answer(client, "/v1/models/babyweight/labels/stable:predict") == answer(
            client, "/v1/models/babyweight/versions/1:predict"
        )
        assert client.get("/v1/models/babyweight/labels/stable/metadata").json()["model_spec"]["version"] == "1"
        (status,) = client.get("/v1/models/babyweight/labels/stable").json()["model_version_status"]
        assert status["version"] == "1"
        label(folder / "babyweight", "stable", 2)
        scan(client)
        assert client.get("/v1/models/babyweight/labels/stable/metadata").json()["model_spec"]["version"] == "2"
        (folder / "babyweight/labels.json").write_text("{")
        scan(client)
        assert "no label 'stable'" in error(client.get("/v1/models/babyweight/labels/stable"), 400)
        answer(client)


def test_other_entries_are_no_versions(connect: Connect, folder: Path) -> None:
    for name in ("0", "01", "-1", "1.5", "two", ".3.tmp", "9" * 19):
        (folder / "babyweight" / name).mkdir()
    (folder / "babyweight/4").write_text("a file")
    (folder / ".hidden").mkdir()
    with connect(folder) as client:
        assert states(client) == {"1": "AVAILABLE"}
        assert client.get("/readyz").json()["models"] == ["babyweight"]
