"""Versions come and go while requests are answered."""

import gc
import shutil
import threading
import time
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from serving.publish import publish, set_label
from serving.registry import Registry
from serving.rollback import rollback
from serving.servable import Servable
from serving.settings import Loading, Settings
from serving.sources import ModelConfigFile, Offer
from stages.core.errors import InputError
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
        assert states(client) == {"2": "END", "1": "AVAILABLE"}
        assert answer(client) == first
        withdrawn = {"version": "2", "state": "END", "status": {"error_code": "OK", "error_message": ""}}
        assert client.get("/v1/models/babyweight/versions/2").json() == {"model_version_status": [withdrawn]}
        message = error(client.post("/v1/models/babyweight/versions/2:predict", content=ORIGINAL), 404)
        assert message == "Servable not found for request: Specific(babyweight, 2)"


def test_versions_that_are_not_kept_go(connect: Connect, folder: Path, releases: list[tuple[Path, Path]]) -> None:
    with connect(folder) as client:
        for release in releases[1:]:
            publish(*release, folder / "babyweight", keep=2)
        scan(client)
        assert states(client) == {"3": "AVAILABLE", "2": "AVAILABLE", "1": "END"}


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
        assert message.startswith("Servable not found for request: Specific(babyweight, 2): ")
        assert str(folder) not in message + status["status"]["error_message"]
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


@pytest.mark.parametrize("empty", [False, True], ids=["no folder", "the empty mount point"])
def test_a_folder_that_vanishes_for_a_moment(
    connect: Connect, folder: Path, caplog: pytest.LogCaptureFixture, empty: bool
) -> None:
    """Nothing is unloaded, and it is said once; when the folder is back, so is everything else."""
    with connect(folder) as client:
        first = answer(client)
        folder.rename(folder.with_name("away"))
        if empty:
            folder.mkdir()
        for _ in range(2):
            with pytest.raises(InputError, match=str(folder)):
                scan(client)
        assert answer(client) == first
        assert states(client) == {"1": "AVAILABLE"}
        assert client.get("/readyz").json() == {"status": "ready"}
        if empty:
            folder.rmdir()
        folder.with_name("away").rename(folder)
        shutil.copytree(folder / "babyweight/1", folder / "babyweight/2")
        scan(client)
        assert states(client) == {"2": "AVAILABLE", "1": "AVAILABLE"}


def test_one_models_base_path_that_vanishes(
    connect: Connect, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The model stays, and the others are followed as before."""
    models.half_plus_two(tmp_path / "half/1")
    text = "".join(
        f'config {{ name: "{path.name}" base_path: "{path}" }} ' for path in (folder / "babyweight", tmp_path / "half")
    )
    config = tmp_path / "models.config"
    config.write_text(f"model_config_list {{ {text} }}")
    with connect(ModelConfigFile(config, tmp_path / "cache")) as client:
        first = answer(client)
        (folder / "babyweight").rename(folder / "away")
        (tmp_path / "half/1").rename(tmp_path / "half/2")
        for _ in range(3):
            scan(client)
        assert answer(client) == first
        assert client.get("/v1/models/half").json()["model_version_status"][0]["version"] == "2"
        assert client.get("/readyz").status_code == 200
        (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert record.getMessage().startswith("babyweight: cannot be read, what is loaded stays: ")
        assert "No such file or directory" in record.getMessage()


def test_a_configuration_that_is_empty_while_it_is_rewritten(connect: Connect, folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    text = f'model_config_list {{ config {{ name: "babyweight" base_path: "{folder / "babyweight"}" }} }}'
    config.write_text(text)
    with connect(ModelConfigFile(config, tmp_path / "cache")) as client:
        first = answer(client)
        config.write_text("")
        with pytest.raises(InputError, match=r"models\.config: expected a ModelServerConfig, found an empty file"):
            scan(client)
        assert answer(client) == first
        assert client.get("/readyz").status_code == 200
        config.write_text(text)
        scan(client)
        assert answer(client) == first


def test_a_broken_new_model_leaves_the_server_ready(connect: Connect, folder: Path) -> None:
    with connect(folder) as client:
        (folder / "broken/1").mkdir(parents=True)
        scan(client)
        assert client.get("/v1/models/broken").json()["model_version_status"][0]["state"] == "END"
        assert client.get("/readyz").status_code == 200


def test_a_model_that_no_longer_works_makes_the_server_unready(connect: Connect, folder: Path, tmp_path: Path) -> None:
    models.half_plus_two(tmp_path / "half/1")
    offers = {name: Offer({1: path}) for name, path in (("a", folder / "babyweight/1"), ("b", tmp_path / "half/1"))}
    with connect(lambda: offers) as client:
        assert client.get("/readyz").status_code == 200
        offers["b"] = Offer()  # still on offer, but all its versions were removed
        scan(client)
        assert "no longer can" in error(client.get("/readyz"), 503)
        del offers["b"]
        scan(client)
        assert client.get("/readyz").status_code == 200


class Watched:
    """A registry whose watching is followed: what it polled and loaded until it ended or was stopped."""

    def __init__(self, path: Path, loading: Loading, failures: int = 0) -> None:
        self.polled = self.loaded = 0
        self._path, self._failures = path, failures
        self._stop = threading.Event()
        self.registry = Registry(self._source, self._load, loading)

    def _source(self) -> dict[str, Offer]:
        self.polled += 1
        return {"demo": Offer({1: self._path})}

    def _load(self, *_: object) -> Servable:
        self.loaded += 1
        if self.loaded <= self._failures:
            raise OSError("no memory")
        return cast(Servable, object())

    def watch(self, seconds: float) -> bool:
        """Whether watching ended by itself within this time."""
        thread = threading.Thread(target=self.registry.watch, args=(self._stop,))
        thread.start()
        thread.join(seconds)
        ended = not thread.is_alive()
        self._stop.set()
        thread.join()
        return ended


@pytest.mark.parametrize("failures", [0, 2])
def test_polling_once(tmp_path: Path, settings: Settings, failures: int) -> None:
    """`--file_system_poll_wait_seconds 0`: one look, and attempts to load until one succeeds."""
    loading = settings.loading.model_copy(update={"poll_seconds": 0.0, "retry_seconds": 0.01})
    watched = Watched(tmp_path, loading, failures)
    assert watched.watch(20)
    assert (watched.polled, watched.loaded) == (1, 1 + failures)


def test_collecting_garbage_after_a_load_does_not_search_what_was_there_before(
    tmp_path: Path, settings: Settings
) -> None:
    """What takes time is the search of TensorFlow's modules; here of a million objects."""
    ballast = [[] for _ in range(1_000_000)]  # type: ignore[var-annotated]
    pauses: list[float] = []

    def timed(phase: str, info: dict[str, int]) -> None:
        if info["generation"] == 2:
            pauses.append(time.perf_counter() * (1 if phase == "stop" else -1))

    watched = Watched(tmp_path, settings.loading.model_copy(update={"poll_seconds": 0.01}))
    gc.collect()
    gc.callbacks.append(timed)
    try:
        gc.collect()
        everything = sum(pauses)
        pauses.clear()
        thread = threading.Thread(target=watched.watch, args=(1.0,))
        thread.start()
        for number in range(3):
            time.sleep(0.2)
            (tmp_path / str(number)).touch()
        thread.join()
    finally:
        gc.callbacks.remove(timed)
        gc.unfreeze()
    assert watched.loaded > 1
    later = [stop + start for start, stop in zip(pauses[::2], pauses[1::2], strict=True)][1:]  # the first precedes all
    assert len(later) >= watched.loaded
    assert max(later) < everything / 3
    del ballast


def test_no_version_that_works(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "published/babyweight/1").mkdir(parents=True)
    with connect(tmp_path / "published") as client:
        assert "Latest(babyweight): " in error(client.post(PREDICT, content=ORIGINAL), 404)
        assert "being loaded" in error(client.get("/readyz"), 503)
        assert states(client) == {"1": "END"}


def test_a_model_comes_and_goes(connect: Connect, tmp_path: Path, releases: list[tuple[Path, Path]]) -> None:
    published = tmp_path / "other"
    published.mkdir()
    with connect(published) as client:
        assert error(client.post(PREDICT, content=ORIGINAL), 404).endswith("Latest(babyweight)")
        publish(*releases[0], published / "babyweight", keep=2)
        scan(client)
        answer(client)
        shutil.rmtree(published / "babyweight")
        scan(client)
        assert error(client.post(PREDICT, content=ORIGINAL), 404).endswith("Latest(babyweight)")
        assert states(client) == {"1": "END"}
        assert "none can be asked" in error(client.get("/readyz"), 503)
        publish(*releases[0], published / "babyweight", keep=2)
        scan(client)
        assert states(client) == {"1": "AVAILABLE"}
        answer(client)


def test_labels(connect: Connect, folder: Path, releases: list[tuple[Path, Path]]) -> None:
    """URL: /labels/L in place of /versions/N, for status, metadata and predictions."""
    publish(*releases[1], folder / "babyweight", keep=2)
    with connect(folder) as client:
        set_label(folder / "babyweight", "stable", 1)
        scan(client)
        assert answer(client, "/v1/models/babyweight/labels/stable:predict") == answer(
            client, "/v1/models/babyweight/versions/1:predict"
        )
        assert client.get("/v1/models/babyweight/labels/stable/metadata").json()["model_spec"]["version"] == "1"
        # TensorFlow Serving's status ignores the label.
        assert client.get("/v1/models/babyweight/labels/stable").json() == client.get("/v1/models/babyweight").json()
        set_label(folder / "babyweight", "stable", 2)
        scan(client)
        assert client.get("/v1/models/babyweight/labels/stable/metadata").json()["model_spec"]["version"] == "2"
        (folder / "babyweight/labels.json").write_text("{")
        scan(client)
        assert 'label: "stable"' in error(client.get("/v1/models/babyweight/labels/stable/metadata"), 400)
        answer(client)


def test_other_entries_are_no_versions(connect: Connect, folder: Path) -> None:
    for name in ("-1", "1.5", "two", ".3.tmp", "9" * 19, "+3", " 4", "٣"):
        (folder / "babyweight" / name).mkdir()
    (folder / "babyweight/4").write_text("a file")
    (folder / ".hidden").mkdir()
    with connect(folder) as client:
        assert states(client) == {"1": "AVAILABLE"}
        assert client.get("/v1/models/.hidden").status_code == 404


def test_leading_zeros(connect: Connect, folder: Path) -> None:
    """The folder 00000042 holds version 42."""
    (folder / "babyweight/1").rename(folder / "babyweight/00000042")
    (folder / "babyweight/labels.json").write_text('{"stable": 42}')
    with connect(folder) as client:
        assert states(client) == {"42": "AVAILABLE"}
        assert answer(client) == answer(client, "/v1/models/babyweight/versions/42:predict")
        assert answer(client) == answer(client, "/v1/models/babyweight/versions/00042:predict")
        assert answer(client) == answer(client, "/v1/models/babyweight/labels/stable:predict")


@pytest.mark.parametrize(
    "last", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
def test_a_version_that_is_still_being_copied_comes_up_when_complete(
    connect: Connect, folder: Path, releases: list[tuple[Path, Path]], last: str
) -> None:
    """Copied in place, file by file, with one file missing, then half of it there."""
    copy = folder / "babyweight/2"
    shutil.copytree(releases[1][0], copy)
    content = (copy / last).read_bytes()
    (copy / last).unlink()
    with connect(folder) as client:
        first = answer(client)
        assert states(client) == {"2": "END", "1": "AVAILABLE"}
        (copy / last).write_bytes(content[: len(content) // 2])
        scan(client)
        assert states(client) == {"2": "END", "1": "AVAILABLE"}
        assert answer(client) == first
        (copy / last).write_bytes(content)
        scan(client)
        assert states(client) == {"2": "AVAILABLE", "1": "AVAILABLE"}
        assert answer(client) != first


def test_retries(tmp_path: Path, settings: Settings) -> None:
    """A version whose files stay as they are is tried again, but not for ever."""
    (tmp_path / "1").mkdir()
    attempts: list[int] = []

    def load(*_: object) -> Servable:
        attempts.append(len(attempts))
        if len(attempts) in (1, 2, 5, 6, 7, 8):
            raise OSError("no memory")
        return cast(Servable, object())

    loading = settings.loading.model_copy(update={"max_retries": 2, "retry_seconds": 0.0})
    registry = Registry(lambda: {"demo": Offer({1: tmp_path / "1"})}, load, loading)
    registry.scan()
    assert (registry.statuses("demo")[0].state, registry.statuses("demo")[0].error) == ("END", "no memory")
    registry.scan()
    registry.scan()
    assert registry.statuses("demo")[0].status()["status"] == {"error_code": "OK", "error_message": ""}
    registry.scan()
    assert len(attempts) == 3
    (tmp_path / "1/changed").touch()
    for _ in range(3):
        registry.scan()
    assert len(attempts) == 4  # the fourth succeeded
    (tmp_path / "1/changed").unlink()
    for _ in range(9):
        registry.scan()
    assert len(attempts) == 7  # the first attempt and two retries
    assert registry.statuses("demo")[0].state == "AVAILABLE"  # as loaded before


def test_a_failed_retry_waits(tmp_path: Path, settings: Settings) -> None:
    attempts: list[int] = []

    def load(*_: object) -> Servable:
        attempts.append(1)
        raise OSError("no memory")

    registry = Registry(lambda: {"demo": Offer({1: tmp_path})}, load, settings.loading)
    registry.scan()
    registry.scan()
    assert len(attempts) == 1


@pytest.mark.parametrize("name", ["v1.5", "my model", "a,b", "modelname!#$%&'()*+,:;=?@[]", "模型"])
def test_model_names(connect: Connect, folder: Path, name: str) -> None:
    (folder / "babyweight").rename(folder / name)
    with connect(folder) as client:
        assert client.get(f"/v1/models/{quote(name, safe='')}").status_code == 200
        answer(client, f"/v1/models/{quote(name, safe='')}:predict")
        metadata = client.get(f"/v1/models/{quote(name, safe='')}/metadata").json()
        assert metadata["model_spec"]["name"] == name


def test_names_with_plain_dot_space_and_comma(connect: Connect, folder: Path) -> None:
    (folder / "babyweight").rename(folder / "a.b,c d")
    with connect(folder) as client:
        answer(client, "/v1/models/a.b,c d:predict")
