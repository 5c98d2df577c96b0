"""Publishing: numbered, whole, checked, and able to go back."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from serving import published
from serving.publish import publish, set_label
from serving.rollback import rollback
from stages.core.errors import InputError
from stages.core.files import digest, read_json, write_json
from tests.conftest import assert_refused, run_stage
from tests.serving import models


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that stands for a SavedModel: publishing copies bytes and never looks into them."""
    folder = tmp_path / "models/demo"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables/variables.index").write_bytes(b"index")
    models.checked(folder, tmp_path / "results/demo/predictions.json")
    return folder


def release(model: Path, content: bytes, keep: int = 5) -> tuple[int, bool]:
    """Publish the model with other bytes."""
    (model / "saved_model.pb").write_bytes(content)
    results = model.parents[1] / "results/demo/predictions.json"
    models.checked(model, results)
    return publish(model, results, target(model), keep)


def target(model: Path) -> Path:
    return model.parents[1] / "published/demo"


def test_numbers_rise_and_bytes_are_the_models(model: Path) -> None:
    assert release(model, b"one") == (1, True)
    assert release(model, b"two") == (2, True)
    first, second = (digest(target(model) / number, without=published.ROWS) for number in "12")
    assert second == digest(model) != first


def test_a_version_says_what_its_check_found_about_rows(model: Path) -> None:
    release(model, b"one")
    assert read_json(target(model) / "1" / published.ROWS) == {"independent": True, "same_bytes": True}
    results = model.parents[1] / "results/demo/predictions.json"
    write_json(results, {**read_json(results), "rows": {"independent": False, "same_bytes": False}})
    assert publish(model, results, target(model), 5) == (2, True)
    assert read_json(target(model) / "2" / published.ROWS)["independent"] is False


def test_same_bytes_make_no_new_version(model: Path) -> None:
    release(model, b"one")
    assert release(model, b"one") == (1, False)
    assert list(published.versions(target(model))) == [1]


def test_a_version_holds_the_models_card_and_a_new_card_is_no_new_version(model: Path) -> None:
    checked, card = model.parents[1] / "results/demo/predictions.json", model.parents[1] / "results/demo/card.md"
    assert publish(model, checked, target(model), 5, card) == (1, True), "there is no card yet"
    shown = target(model) / "1/assets.extra/README.md"
    assert not shown.exists()
    for text in ("# Demo\n", "# Demo, judged again\n"):
        card.write_text(text)
        assert publish(model, checked, target(model), 5, card) == (1, False)
        assert shown.read_text() == text
    (model / "saved_model.pb").write_bytes(b"other")
    models.checked(model, checked)
    assert publish(model, checked, target(model), 5, card) == (2, True)
    assert (target(model) / "2/assets.extra/README.md").read_text() == text


def test_only_the_newest_are_kept(model: Path) -> None:
    for content in (b"1", b"2", b"3", b"4"):
        release(model, content, keep=2)
    assert list(published.versions(target(model))) == [3, 4]


def test_a_labelled_version_is_kept(model: Path) -> None:
    release(model, b"1")
    set_label(target(model), "stable", 1)
    for content in (b"2", b"3", b"4"):
        release(model, content, keep=2)
    assert list(published.versions(target(model))) == [1, 3, 4]


def test_refuses_unchecked_bytes(model: Path, tmp_path: Path) -> None:
    (model / "saved_model.pb").write_bytes(b"changed since")
    with pytest.raises(InputError, match=r"expected the bytes that .*predictions\.json checked"):
        publish(model, tmp_path / "results/demo/predictions.json", target(model), 5)
    assert list(published.versions(target(model))) == []
    assert not [path for path in target(model).iterdir() if path.is_dir()]


@pytest.mark.parametrize("record", [{}, {"checks_passed": False}, {"checks_passed": "yes"}, []])
def test_refuses_a_failed_check(model: Path, tmp_path: Path, record: object) -> None:
    path = tmp_path / "failed.json"
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="expected a prediction check that passed"):
        publish(model, path, target(model), 5)


def test_refuses_a_missing_model_or_check(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such exported model"):
        publish(tmp_path / "none", tmp_path / "none.json", target(model), 5)
    with pytest.raises(InputError, match="no such file"):
        publish(model, tmp_path / "none.json", target(model), 5)


def test_rollback_withdraws_the_newest(model: Path) -> None:
    release(model, b"one")
    release(model, b"two")
    assert rollback(target(model)) == (2, 1)
    assert list(published.versions(target(model))) == [1]


def test_a_withdrawn_number_is_not_given_again(model: Path) -> None:
    release(model, b"one")
    release(model, b"two")
    rollback(target(model))
    assert release(model, b"three") == (3, True)


def test_rollback_needs_an_older_version(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such published model"):
        rollback(tmp_path / "none")
    release(model, b"one")
    with pytest.raises(InputError, match="expected an older version to go back to, found 1"):
        rollback(target(model))


def test_rollback_leaves_a_labelled_version(model: Path) -> None:
    release(model, b"one")
    release(model, b"two")
    set_label(target(model), "stable", 2)
    with pytest.raises(InputError, match="the label stable stands for version 2"):
        rollback(target(model))
    set_label(target(model), "stable", 1)
    assert rollback(target(model)) == (2, 1)


def test_labels(model: Path) -> None:
    release(model, b"one")
    with pytest.raises(InputError, match="no version 7; published: 1"):
        set_label(target(model), "stable", 7)
    set_label(target(model), "stable", 1)
    assert published.labels(target(model)) == {"stable": 1}
    set_label(target(model), "stable", None)
    assert published.labels(target(model)) == {}
    with pytest.raises(InputError, match="no label stable"):
        set_label(target(model), "stable", None)


def test_a_crash_leaves_no_version(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release(model, b"one")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(shutil, "copytree", fail)
        release(model, b"two")
    assert list(published.versions(target(model))) == [1]
    assert release(model, b"two") == (2, True)


def test_publishers_at_once_take_turns(model: Path, tmp_path: Path) -> None:
    """Eight publishers of eight different models of the same name: eight whole versions."""
    candidates = []
    for number in range(8):
        folder = tmp_path / f"candidate{number}"
        shutil.copytree(model, folder)
        (folder / "saved_model.pb").write_bytes(bytes([number]))
        candidates.append((folder, models.checked(folder, tmp_path / f"{number}.json")))
    threads = [threading.Thread(target=publish, args=(*c, target(model), 9)) for c in candidates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(published.versions(target(model))) == list(range(1, 9))
    found = {digest(target(model) / str(n), without=published.ROWS) for n in range(1, 9)}
    assert found == {digest(folder) for folder, _ in candidates}


def test_command_line(model: Path, tmp_path: Path) -> None:
    there = ("--published", tmp_path / "published")
    options = ("--models", model.parent, "--results", tmp_path / "results", *there)
    assert run_stage("serving.publish", *options).stdout == "demo: version 1\n"
    assert run_stage("serving.publish", "demo", *options).stdout == "demo: version 1, unchanged\n"
    assert_refused(run_stage("serving.publish", "../demo", *options), "'../demo'", "expected a model's name")
    assert_refused(run_stage("serving.publish", "none", *options), "no such exported model")
    (model / "saved_model.pb").write_bytes(b"two")
    assert_refused(run_stage("serving.publish", *options), "expected the bytes")
    models.checked(model, tmp_path / "results/demo/predictions.json")
    run_stage("serving.publish", *options)
    label = ("serving.publish", "demo", *there, "--label")
    assert run_stage(*label, "stable=1").stdout == "demo: stable is version 1\n"
    assert run_stage(*label, "stable=").stdout == "demo: stable removed\n"
    assert_refused(run_stage(*label, "stable"), "--label stable: expected one model and LABEL=VERSION")
    assert_refused(run_stage(*label, "stable=3"), "no version 3; published: 1, 2")
    assert (
        run_stage("serving.rollback", "demo", *there).stdout == "demo: version 2 withdrawn, version 1 is the newest\n"
    )
    assert_refused(run_stage("serving.rollback", "demo", *there), "older version")


@pytest.mark.parametrize("command", [("serving.publish",), ("serving.rollback", "demo")])
def test_an_address_is_no_place_to_publish(command: tuple[str, ...], tmp_path: Path) -> None:
    assert_refused(run_stage(*command, "--published", "s3://bucket/models"), "s3://bucket/models: expected a local fo")
    assert not Path("s3:").exists()
