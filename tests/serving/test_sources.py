"""Where models come from: TensorFlow Serving's configuration, single models, remote folders."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import httpx
import pytest

from serving.sources import ModelConfigFile, PublishedFolder, Root, SingleModel
from stages.core.errors import InputError
from tests.s3 import Storage
from tests.s3 import running as s3_server
from tests.serving import models
from tests.serving.conftest import Connect, Process, write_settings

CONFIG = """
# Comments, and both ways of writing a message, as TensorFlow Serving's own examples have them.
model_config_list: {
  config: { name: "first", base_path: "BASE/first", model_platform: "tensorflow" },
  config {
    name: "second"
    base_path: "BASE/second"
    model_version_policy { POLICY }
    version_labels { key: "stable" value: 2 }
    version_labels { key: "canary" value: 3 }
  }
}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in ("first/1", "first/002", "second/1", "second/2", "second/3", "second/not-a-version"):
        (tmp_path / "base" / name).mkdir(parents=True)
    return tmp_path / "base"


def write(path: Path, base: Path, policy: str = "") -> Path:
    path.write_text(CONFIG.replace("BASE", str(base)).replace("POLICY", policy))
    return path


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ("", [3]),
        ("latest { }", [3]),
        ("latest { num_versions: 2 }", [2, 3]),
        ("latest { num_versions: 9 }", [1, 2, 3]),
        ("all { }", [1, 2, 3]),
        ("specific { versions: 1 versions: 3 }", [1, 3]),
        ("specific { versions: [2, 7] }", [2]),
    ],
)
def test_version_policies(tmp_path: Path, base: Path, policy: str, versions: list[int]) -> None:
    offers = ModelConfigFile(write(tmp_path / "models.config", base, policy), tmp_path / "cache")()
    assert dict(offers["first"].versions) == {2: base / "first/002"}
    assert dict(offers["second"].versions) == {number: base / f"second/{number}" for number in versions}
    assert offers["second"].labels == {"stable": 2, "canary": 3}


def test_a_changed_file_is_read_again(tmp_path: Path, base: Path) -> None:
    source = ModelConfigFile(write(tmp_path / "models.config", base), tmp_path / "cache")
    assert list(source()["second"].versions) == [3]
    write(tmp_path / "models.config", base, "all { }")
    assert list(source()["second"].versions) == [1, 2, 3]
    (tmp_path / "models.config").write_text("half written {")
    with pytest.raises(InputError):
        source()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("improperly formatted file", "expected a ModelServerConfig"),
        ("model_config_list { config { nam: 'x' } }", 'no field named "nam"'),
        ("model_config_list { config { name: 'x' } }", "'x': expected a name and a base_path"),
        ("model_config_list { config { base_path: '/x' } }", "expected a name and a base_path"),
        ("model_config_list { config { name: 'x' base_path: '/x' model_platform: 'caffe' } }", "found caffe"),
        ("model_config_list { %s %s }" % (("config { name: 'x' base_path: '/x' }",) * 2), "the same name"),
        ("model_config_list { config { name: 'x' base_path: 'none://x' } }", "none://x: cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "models.config"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        ModelConfigFile(path, tmp_path)


def test_single_model(base: Path, tmp_path: Path) -> None:
    offers = SingleModel("mine", Root(str(base / "second"), tmp_path))()
    assert {name: list(offer.versions) for name, offer in offers.items()} == {"mine": [3]}


def test_a_foreign_model_by_its_base_path(connect: Connect, tmp_path: Path) -> None:
    models.half_plus_two(tmp_path / "half_plus_two/00000123")
    source = SingleModel("half", Root(str(tmp_path / "half_plus_two"), tmp_path))
    with connect(source) as client:
        answer = client.post("/v1/models/half:predict", content='{"instances": [1.0, 2.0, 5.0]}')
        assert answer.json() == {"predictions": [2.5, 3.0, 4.5]}


@pytest.fixture(scope="module")
def s3() -> Iterator[Storage]:
    with s3_server() as storage:
        yield storage


def until_states(url: str, expected: dict[str, str]) -> None:
    """Wait until a model's versions have these states."""
    for _ in range(300):
        statuses = httpx.get(url).json()["model_version_status"]
        found = {status["version"]: status["state"] for status in statuses}
        if found == expected:
            return
        time.sleep(0.1)
    raise AssertionError(f"expected {expected}, found {found}")


class TestRemote:
    """Remote folders, here in fsspec's file system in memory."""

    @pytest.fixture
    def remote(self, tmp_path: Path) -> Any:
        system = fsspec.filesystem("memory")
        model = models.half_plus_two(tmp_path / "model")
        system.put(str(model), "/bucket/half/00000123", recursive=True)
        yield system
        system.rm("/bucket", recursive=True)

    def test_versions_come_change_and_go(self, remote: Any, tmp_path: Path) -> None:
        source = PublishedFolder(Root("memory://bucket", tmp_path / "cache"))
        (offer,) = source().values()
        path = offer.versions[123]
        assert {p.name for p in path.iterdir()} == {"saved_model.pb", "variables"}
        remote.pipe("/bucket/half/124/saved_model.pb", b"new")
        remote.pipe("/bucket/half/labels.json", b'{"stable": 123}')
        (offer,) = source().values()
        assert list(offer.versions) == [123, 124]
        assert offer.labels == {"stable": 123}
        before = (path / "saved_model.pb").stat()
        remote.pipe("/bucket/half/124/saved_model.pb", b"changed since")
        (offer,) = source().values()
        assert (offer.versions[124] / "saved_model.pb").read_bytes() == b"changed since"
        assert (path / "saved_model.pb").stat() == before  # not copied again
        remote.rm("/bucket/half/00000123", recursive=True)
        (offer,) = source().values()
        assert list(offer.versions) == [124]

    def test_an_address_is_listed_at_intervals_of_its_own(self, remote: Any, tmp_path: Path) -> None:
        source = PublishedFolder(Root("memory://bucket", tmp_path / "cache", every=3600))
        assert list(source()["half"].versions) == [123]
        remote.pipe("/bucket/half/124/saved_model.pb", b"new")
        assert list(source()["half"].versions) == [123]

    def test_an_address_that_holds_nothing_for_a_moment(self, remote: Any, tmp_path: Path) -> None:
        """Nothing is removed from the mirror, from which models may still be loaded."""
        source = PublishedFolder(Root("memory://bucket", tmp_path / "cache"))
        path = source()["half"].versions[123]
        remote.mv("/bucket/half", "/elsewhere", recursive=True)
        with pytest.raises(InputError, match="bucket: expected files there, found none"):
            source()
        assert (path / "saved_model.pb").exists()
        remote.mv("/elsewhere", "/bucket/half", recursive=True)
        assert list(source()["half"].versions) == [123]

    def test_unfinished_publications_are_not_seen(self, remote: Any, tmp_path: Path) -> None:
        remote.pipe("/bucket/half/.incoming/saved_model.pb", b"half")
        PublishedFolder(Root("memory://bucket", tmp_path / "cache"))()
        assert not [path for path in (tmp_path / "cache").rglob("*") if path.name.startswith(".")]

    def test_it_serves(self, remote: Any, connect: Connect, tmp_path: Path) -> None:
        with connect(PublishedFolder(Root("memory://bucket/", tmp_path / "cache"))) as client:
            answer = client.post("/v1/models/half:predict", content='{"instances": [1.0]}')
            assert answer.json() == {"predictions": [2.5]}

    def test_base_paths_may_be_remote(self, remote: Any, tmp_path: Path) -> None:
        config = tmp_path / "models.config"
        config.write_text('model_config_list { config { name: "x" base_path: "memory://bucket/half" } }')
        assert list(ModelConfigFile(config, tmp_path / "cache")()["x"].versions) == [123]

    def test_addresses_that_look_alike_share_nothing(self, remote: Any, tmp_path: Path) -> None:
        sources = {}
        for path in ("/bucket/a/b", "/bucket/a-b", "/bucket/a.b"):
            remote.pipe(f"{path}/1/saved_model.pb", path.encode())
            sources[path] = SingleModel("x", Root(f"memory:/{path}", tmp_path / "cache"))
        for path, source in [*sources.items()] * 2:
            (offer,) = source().values()
            assert (offer.versions[1] / "saved_model.pb").read_bytes() == path.encode()

    def test_nothing_that_is_gone_comes_back(self, remote: Any, tmp_path: Path) -> None:
        """Neither after the configuration is read again, nor in a mirror that another process left."""
        remote.pipe("/bucket/half/124/saved_model.pb", b"new")
        remote.pipe("/bucket/other/1/saved_model.pb", b"other")
        config = tmp_path / "models.config"
        model = 'config { name: "%s" base_path: "memory://bucket/%s" model_version_policy { all { } } }'
        half, other = model % ("x", "half"), model % ("y", "other")
        config.write_text(f"model_config_list {{ {half} {other} }}")
        source = ModelConfigFile(config, tmp_path / "cache")
        assert {name: list(offer.versions) for name, offer in source().items()} == {"x": [123, 124], "y": [1]}
        remote.rm("/bucket/half/124", recursive=True)
        config.write_text(f"model_config_list {{ {half} }}")
        for found in (source, ModelConfigFile(config, tmp_path / "cache")):
            assert {name: list(offer.versions) for name, offer in found().items()} == {"x": [123]}
        mirrored = {path.read_bytes() for path in (tmp_path / "cache").rglob("saved_model.pb")}
        assert not mirrored & {b"new", b"other"}

    def test_a_mirror_outlives_a_reading_of_the_configuration(self, remote: Any, tmp_path: Path) -> None:
        config = tmp_path / "models.config"
        text = 'model_config_list { config { name: "x" base_path: "memory://bucket/half" } }'
        config.write_text(text)
        source = ModelConfigFile(config, tmp_path / "cache")
        before = (source()["x"].versions[123] / "saved_model.pb").stat()
        config.write_text(text + " ")
        assert (source()["x"].versions[123] / "saved_model.pb").stat() == before  # not copied again

    def test_s3(self, s3: Storage, tmp_path: Path) -> None:
        """A server follows a bucket: a version comes, one that is incomplete waits, one goes."""
        model = models.half_plus_two(tmp_path / "model")
        s3.put_folder(model, "bucket/published/half/00000123")
        settings = write_settings(tmp_path / "settings.yaml", poll_seconds=0.1, address_poll_seconds=0.1)
        process = Process("s3://bucket/published", "--settings", str(settings), **s3.environment)
        try:
            process.wait_ready()
            url = f"{process.url}/v1/models/half"
            answer = httpx.post(f"{url}:predict", content='{"instances": [1.0]}')
            assert answer.json() == {"predictions": [2.5]}
            s3.put_folder(model / "variables", "bucket/published/half/124/variables")
            until_states(url, {"124": "END", "123": "AVAILABLE"})
            folder = "bucket/published/half"
            s3.files.copy_file(f"{folder}/00000123/saved_model.pb", f"{folder}/124/saved_model.pb")
            until_states(url, {"124": "AVAILABLE", "123": "AVAILABLE"})
            s3.files.delete_dir(f"{folder}/00000123")
            until_states(url, {"124": "AVAILABLE", "123": "END"})
        finally:
            process.stop()

    def test_an_unknown_protocol_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="nowhere://bucket: cannot be read: Protocol not known"):
            Root("nowhere://bucket", tmp_path)
