from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.check_params import check
from stages.core.errors import InputError
from stages.core.params import TrainParams, flatten, load
from stages.mnist.params import Train
from tests.conftest import ROOT


def test_the_projects_parameters_are_valid() -> None:
    check(ROOT / "params.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"mnist.train.stepz": 3}, "mnist.train.stepz: unknown key; allowed here: augment", id="typo"),
        pytest.param({"seed": "a"}, "seed: 'a': input should be a valid integer", id="text for a number"),
        pytest.param({"seed": "1"}, "seed: '1': input should be a valid integer", id="digits in quotes"),
        pytest.param({"seed": 1.5}, "seed: 1.5: input should be a valid integer", id="fraction for a count"),
        pytest.param(
            {"runtime.threads": 0},
            "runtime.threads: 0: input should be greater than or equal to 1",
            id="range",
        ),
        pytest.param(
            {"cartpole.train.stop.reward_threshold": float("nan")},
            "cartpole.train.stop.reward_threshold: nan: input should be a finite number",
            id="no number",
        ),
        pytest.param({"mnist.fetch.source": "ftp"}, "mnist.fetch.source: 'ftp': input should be 'auto'", id="choice"),
        pytest.param({"mnist.export.input_name": "a b"}, "mnist.export.input_name: 'a b'", id="name"),
        pytest.param({"export": 3}, "export: 3: input should be", id="number for a section"),
        pytest.param(
            {"babyweight.train.network.buckets.mother_age": [30, 20]},
            "babyweight.train.network.buckets.mother_age: [30, 20]: boundaries must increase",
            id="boundaries out of order",
        ),
        pytest.param(
            {"babyweight.prepare.test_share": 0.95},
            "validation_share + test_share must be below 1",
            id="shares",
        ),
    ],
)
def test_a_bad_key_is_named_with_its_value_and_what_is_allowed(
    params_file: Callable[..., Path], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        check(params_file(changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_every_wrong_key_is_named_at_once(params_file: Callable[..., Path]) -> None:
    with pytest.raises(InputError) as error:
        check(params_file({"seed": -1, "mnist.operation.fetch_timeout": 0}))
    assert "seed: -1" in str(error.value)
    assert "mnist.operation.fetch_timeout: 0" in str(error.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("seed: 1\n")
    with pytest.raises(InputError, match=r"p\.yaml: runtime: missing; babyweight: missing"):
        check(tmp_path / "p.yaml")


@pytest.mark.parametrize("text", ["a: [", "just words", "\x00"])
def test_what_is_no_yaml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(InputError, match=r"p\.yaml: expected"):
        load(tmp_path / "p.yaml")


def test_files_are_yaml_as_dvc_reads_it(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("small: 3e-06\nword: yes\nlist: [a, :b]\n")
    assert load(tmp_path / "p.yaml") == {"small": 3e-06, "word": "yes", "list": ["a", ":b"]}


def test_a_stages_parameters_are_its_keys_alone() -> None:
    params = TrainParams[Train].read(ROOT / "params.yaml")
    values = load(ROOT / "params.yaml")
    assert params.as_dict() == {
        "seed": values["seed"],
        "runtime": values["runtime"],
        "mnist": {"train": values["mnist"]["train"]},
    }
    for section, key in ((params, "seed"), (params.train, "steps")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, key, 1)


def test_a_stage_reads_a_file_with_mistakes_in_other_sections(params_file: Callable[..., Path]) -> None:
    path = params_file({"mnist.prepare.validation_images": -1})
    TrainParams[Train].read(path)
    with pytest.raises(InputError, match=r"mnist\.train\.steps: 0: input should be greater than or equal to 1"):
        TrainParams[Train].read(params_file({"mnist.train.steps": 0}))
    with pytest.raises(InputError, match=r"mnist\.train\.stepz: unknown key; allowed here: augment, batch_size"):
        TrainParams[Train].read(params_file({"mnist.train.stepz": 0}))


NUMBERS = ["-1", "0", "1e999", ".nan", "2001-02-30", "!!int x"]
OTHERS = ["null", "[]", "{}", "[1, 2]", "{a: 1}", "'", "&a", "*a", "? ", "\t"]


@given(st.data())
def test_no_mutation_of_the_file_ends_in_another_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lines = (ROOT / "params.yaml").read_text().splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[number].partition(":")
        value = data.draw(st.one_of(st.sampled_from(NUMBERS + OTHERS), st.text(max_size=5), st.integers().map(str)))
        indent = data.draw(st.sampled_from(["", "", " ", "  - ", value]))
        lines[number] = f"{indent}{key}{colon} {value}"
    path = tmp_path_factory.mktemp("mutated") / "params.yaml"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    try:
        check(path)
    except InputError as error:
        assert "\n" not in str(error)


def test_flattening_keeps_order_and_takes_a_list_for_a_value() -> None:
    nested = {"b": {"y": 1, "x": None}, "a": "word", "list": [1]}
    assert list(flatten(nested)) == [("b.y", 1), ("b.x", None), ("a", "word"), ("list", [1])]
