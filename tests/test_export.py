"""Export, inspection and the prediction check, of a digits' network with untrained weights."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.core.errors import InputError
from stages.core.files import digest, write_json
from stages.savedmodel.graph import read_signatures, serving_graph
from stages.savedmodel.predictor import Predictor
from tests.conftest import ROOT, assert_refused, run_stage
from tests.savedmodel.rows import different, inputs

CONFIG = {"kind": "strided", "classes": 10, "dropout": 0.1}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import keras

    from stages.mnist.model import build
    from stages.weights import write_weights

    keras.utils.set_random_seed(1)
    folder = tmp_path_factory.mktemp("trained") / "weights"
    write_weights(folder, build(CONFIG).save_weights, CONFIG, {"parameters": {"seed": 1}})
    return folder


@pytest.fixture(scope="module")
def model(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model"
    done = run_stage("stages.export", "mnist", weights, path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def text_model(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    text = (ROOT / "params.yaml").read_text().replace("as_text: false", "as_text: true")
    (folder / "params.yaml").write_text(text.replace("input_name: inputs", "input_name: pixels"))
    done = run_stage("stages.export", "mnist", weights, folder / "model", "--params", folder / "params.yaml")
    assert done.returncode == 0, done.stderr
    return folder / "model"


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    path = tmp_path / "request.json"
    rng = np.random.default_rng(0)
    write_json(path, {"instances": rng.random((3, 784)).round(4).tolist()})
    return path


def predict(model: Path, request: Path, expected: dict[str, Any]) -> list[Any]:
    from stages.predict import check
    from stages.rest.requests import read_instances

    return check(model, read_instances(request), expected, 1e-5, str(request), Path("expected.json")).predictions


def test_no_square_root_is_left_to_whoever_serves_the_model(model: Path) -> None:
    # Another program's Grappler may make `Rsqrt` of it, whose result depends on the processor.
    graph = serving_graph(model).graph_def
    operations = {node.op for function in graph.library.function for node in function.node_def}
    assert "Conv2D" in operations
    assert operations & {"Sqrt", "Rsqrt", "RealDiv", "Reciprocal"} == set()


def test_a_row_is_answered_with_the_same_bytes_in_every_call(model: Path) -> None:
    answer = Predictor(model)
    rows = inputs(answer.signature, 200)
    assert different(lambda arrays: answer(**arrays), rows, [1, 2, 3, 7, 50, 97]) == {}


def test_two_exports_are_the_same_bytes(weights: Path, model: Path, tmp_path: Path) -> None:
    run_stage(
        "stages.export", "mnist", weights, tmp_path / "again", PYTHONHASHSEED="7", TZ="Asia/Tokyo", OMP_NUM_THREADS="3"
    )
    assert digest(tmp_path / "again") == digest(model)
    names = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert names == {
        "assets.extra/provenance.json",
        "fingerprint.pb",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    }


def test_the_signature_is_exact(model: Path) -> None:
    signatures = read_signatures(model)
    assert set(signatures) == {"serving_default"}
    signature = signatures["serving_default"]
    assert {t.key: (t.dtype.name, t.shape) for t in signature.inputs.values()} == {"inputs": ("float32", (None, 784))}
    assert {t.key: (t.dtype.name, t.shape) for t in signature.outputs.values()} == {
        "classes": ("int64", (None,)),
        "probabilities": ("float32", (None, 10)),
    }


def test_the_text_form_has_the_name_from_the_parameters_and_the_same_answers(model: Path, text_model: Path) -> None:
    assert (text_model / "saved_model.pbtxt").exists()
    assert not (text_model / "saved_model.pb").exists()
    assert list(read_signatures(text_model)["serving_default"].inputs) == ["pixels"]
    pixels = np.random.default_rng(0).random((4, 784), np.float32)
    one, other = Predictor(model)(inputs=pixels), Predictor(text_model)(pixels=pixels)
    assert (one["probabilities"] == other["probabilities"]).all()
    assert np.allclose(one["probabilities"].sum(axis=1), 1, atol=1e-6)
    assert (one["classes"] == one["probabilities"].argmax(axis=1)).all()


@pytest.mark.parametrize("form", ["model", "text_model"])
def test_three_loaders_agree_in_both_forms(form: str, request_file: Path, request: pytest.FixtureRequest) -> None:
    predictions = predict(request.getfixturevalue(form), request_file, {})
    assert [set(row) for row in predictions] == [{"classes", "probabilities"}] * 3


def test_saved_model_cli_that_fails_is_an_error_with_its_last_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from stages import predict as stage

    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho first >&2\necho the last >&2\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(InputError, match=r"^model: saved_model_cli failed: \['the last'\]$"):
        stage.by_cli(Path("model"), {"x": np.zeros(1)})


def test_the_other_loaders_do_not_wait_for_saved_model_cli(
    model: Path, request_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages import predict as stage

    started, by_cli, by_tf1_loader = threading.Event(), stage.by_cli, stage.by_tf1_loader

    def starts(model: Path, inputs: Any) -> Any:
        started.set()
        return by_cli(model, inputs)

    def waits(model: Path, inputs: Any) -> Any:
        assert started.wait(30)
        return by_tf1_loader(model, inputs)

    monkeypatch.setattr(stage, "by_cli", starts)
    monkeypatch.setattr(stage, "by_tf1_loader", waits)
    assert len(predict(model, request_file, {})) == 3


def test_the_stage_writes_answers_that_pass(weights: Path, model: Path, request_file: Path, tmp_path: Path) -> None:
    from stages.mnist.model import build

    network = build(CONFIG)
    network.load_weights(weights / "model.weights.h5")
    pixels = np.array(json.loads(request_file.read_text())["instances"], np.float32)
    classes = np.argmax(network(pixels, training=False), axis=1).tolist()
    write_json(tmp_path / "expected.json", {"classes": {"values": classes}})
    outputs = tmp_path / "expected.json", tmp_path / "predictions.json"
    done = run_stage("stages.predict", "mnist", model, request_file, *outputs)
    assert done.returncode == 0, done.stderr
    answer = json.loads((tmp_path / "predictions.json").read_text())
    assert [prediction["classes"] for prediction in answer["predictions"]] == classes
    assert answer["model_digest"] == digest(model)
    assert answer["rows"] == {"independent": True, "same_bytes": True}


def test_the_stage_fails_on_a_wrong_answer_and_names_it(model: Path, request_file: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "expected.json", {"classes": {"values": [11, 11, 11]}})
    outputs = tmp_path / "expected.json", tmp_path / "predictions.json"
    done = run_stage("stages.predict", "mnist", model, request_file, *outputs)
    assert_refused(done, "instance 0: classes: expected 11 within 0, found", "instance 2")
    assert_refused(done, f"{tmp_path / 'expected.json'} holds the answers", "write them there, or {} to accept any")
    assert not (tmp_path / "predictions.json").exists()


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        pytest.param([[0.0] * 783], "input 'inputs': expected the shape [None, 784], found [1, 783]", id="short"),
        pytest.param(
            [[0.0] * 784, ["x"] * 784],
            "input 'inputs', instance 1, element [0]: JSON Value: \"x\" Type: String",
            id="text",
        ),
        pytest.param(
            [{"pixels": [0.0] * 784}],
            "element: 0 of 'instances' list. JSON object keys must be equal to: inputs; found",
            id="name",
        ),
        pytest.param([], "with at least one instance", id="empty"),
    ],
)
def test_an_instance_that_does_not_fit_is_named(model: Path, tmp_path: Path, instances: Any, words: str) -> None:
    write_json(tmp_path / "request.json", {"instances": instances})
    with pytest.raises(InputError) as error:
        predict(model, tmp_path / "request.json", {})
    assert words in str(error.value)


@pytest.mark.parametrize(
    "file", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
def test_a_truncated_model_is_refused(model: Path, tmp_path: Path, file: str) -> None:
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model" / file).write_bytes((model / file).read_bytes()[:-30])
    with pytest.raises(InputError, match=r"model: damaged SavedModel: \S"):
        Predictor(tmp_path / "model")


def test_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a SavedModel, found neither"):
        Predictor(tmp_path / "none")


def test_damaged_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    shutil.copytree(weights, tmp_path / "weights")
    path = tmp_path / "weights" / "model.weights.h5"
    path.write_bytes(path.read_bytes()[:5000])
    assert_refused(run_stage("stages.export", "mnist", tmp_path / "weights", tmp_path / "model"), "model.weights.h5")
    assert not (tmp_path / "model").exists()


def test_a_model_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A limit on the size of a file stands for a full disk."""
    code = (
        "import resource, keras; from pathlib import Path; from stages.core.errors import run; "
        "from stages.export import write_savedmodel; "
        "model = keras.Sequential([keras.Input([9]), keras.layers.Dense(9)]); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); "
        "run(lambda: write_savedmodel(Path('model'), model, {}, {}))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "import stages; " + code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert_refused(done, "model: cannot be written: ", "File too large")
    assert list(tmp_path.iterdir()) == []


def test_inspection_tells_what_a_caller_needs(model: Path, request_file: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "s.json", tmp_path / "s.txt"
    done = run_stage("stages.inspect_model", "mnist", model, request_file, *outputs)
    assert done.returncode == 0, done.stderr
    about = json.loads(outputs[0].read_text())
    assert about["tags"] == ["serve"]
    assert about["files"]["saved_model.pb"]["bytes"] == (model / "saved_model.pb").stat().st_size
    inputs = about["signatures"]["serving_default"]["inputs"]
    assert inputs == {"inputs": {"dtype": "float32", "shape": [-1, 784], "tensor": "serving_default_inputs:0"}}
    from stages.mnist.model import build

    # Each channel has four numbers of batch normalisation. They become one bias, or two constants after a pooling.
    gone = 3 * (24 + 64) + 4 * 48
    assert about["variables"]["weights"] == build(CONFIG).count_params() - gone
    assert "serving_default_inputs:0" in outputs[1].read_text()
    write_json(tmp_path / "example.json", about["example_request"])
    assert len(predict(model, tmp_path / "example.json", {})) == 1


def test_a_signature_is_required(tmp_path: Path) -> None:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path / "bare"))
    with pytest.raises(InputError, match="expected the signature serving_default, found none"):
        Predictor(tmp_path / "bare")


def test_the_checks_rules() -> None:
    from stages.predict import Rule, disagreement, mistakes

    answers = {"outputs": np.array([7.0, 7.5, np.nan])}
    rule: Callable[..., list[str]] = lambda **rule: list(mistakes(answers, {"outputs": Rule(**rule)}))  # noqa: E731
    assert rule(values=[7.2, 7.2, 7.2], within=0.75) == ["instance 2: outputs: expected 7.2 within 0.75, found nan"]
    assert rule(values=[7.2], within=9) == ["outputs: expected 1 answers, found the shape [3]"]
    assert any("below the one before" in line for line in rule(values=[7, 7, 7], within=9, decreasing=True))
    assert any("finite positive" in line for line in rule(values=[7, 7, 7], within=9, positive=True))
    answers["outputs"] = np.array([0.0, 1e-9, np.inf])
    assert rule(values=[0, 0, 0], within=1e-9, positive=True) == [
        "instance 0: outputs: expected a finite positive number, found 0",
        "instance 2: outputs: expected 0 within 1e-09, found inf",
        "instance 2: outputs: expected a finite positive number, found inf",
    ]
    close, far = {"outputs": np.array([1.0, 2.0])}, {"outputs": np.array([1.0, 2.001])}
    assert list(disagreement("x", close, close, 1e-5)) == []
    assert list(disagreement("x", close, far, 1e-5)) == ["x: instance 1: outputs: expected 2.0, found 2.001"]


def save(folder: Path, answer: Callable[[Any], dict[str, Any]], shape: tuple[int | None, ...] = (None, 3)) -> Path:
    """A model without weights."""
    import tensorflow as tf

    module = tf.Module()
    module.answer = tf.function(answer, input_signature=[tf.TensorSpec(shape, tf.float32, "x")])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.answer})
    return folder


def checked(model: Path, rows: int = 3, expected: dict[str, Any] | None = None) -> Any:
    from stages.predict import check

    instances = np.random.default_rng(0).random((rows, 3)).tolist()
    return check(model, instances, expected or {}, 1e-5, "request.json", Path("expected.json"))


def test_answers_that_depend_on_the_other_rows_are_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    model = save(tmp_path / "model", lambda x: {"y": tf.nn.softmax(x[:, 0])})
    with pytest.raises(InputError, match=r"model: asked for alone: instance 0: y: expected 0\.\d+, found 1\.0; asked"):
        checked(model)


def test_it_is_recorded_whether_rows_were_compared_and_are_the_same_bytes(tmp_path: Path) -> None:
    import tensorflow as tf

    nearly = save(tmp_path / "nearly", lambda x: {"y": x[:, 0] * (1 + 1e-6 * tf.cast(tf.shape(x)[0], tf.float32))})
    exact, fixed = save(tmp_path / "exact", lambda x: {"y": x}), save(tmp_path / "fixed", lambda x: {"y": x}, (3, 3))
    found = [checked(nearly), checked(exact), checked(exact, rows=1), checked(fixed)]
    assert [(one.independent, one.same_bytes) for one in found] == [
        (True, False),
        (True, True),
        (False, False),
        (False, False),
    ]


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ({"clases": {"values": [1]}}, "expected.json: clases: expected outputs of the model: y"),
        ({"y": {"vaules": [1]}}, "expected.json: y: values: missing; vaules: unknown key; allowed here: decreasing"),
        ({"y": {"values": ["1"]}}, "expected.json: y: values.0: '1': input should be a valid number"),
    ],
)
def test_a_wrong_key_of_the_expected_answers_is_named(tmp_path: Path, expected: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        checked(save(tmp_path / "model", lambda x: {"y": x[:, 0]}), expected=expected)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_fact_that_no_model_has_is_named() -> None:
    from stages.predict import applies

    with pytest.raises(InputError, match=r"e\.json: applies_to: mnist\.trian\.steps: expected a key of the model's"):
        applies({"applies_to": {"mnist.trian.steps": [1]}}, {"mnist": {"train": {"steps": 1}}}, Path("e.json"))


def test_outputs_that_are_no_rows_of_numbers_are_named(tmp_path: Path) -> None:
    import tensorflow as tf

    words = save(tmp_path / "words", lambda x: {"word": tf.as_string(x[:, 0])})
    with pytest.raises(InputError, match="words: output 'word': expected numbers, found string"):
        checked(words)
    with pytest.raises(InputError, match=r"sum: output 'y': expected 3 rows, found the shape \[\]"):
        checked(save(tmp_path / "sum", lambda x: {"y": tf.reduce_sum(x)}))


def test_outputs_are_in_the_same_order_in_every_process(tmp_path: Path) -> None:
    names = [f"output_{letter}" for letter in "zyxwvuts"]
    model = save(tmp_path / "model", lambda x: dict.fromkeys(names, x))
    assert list(Predictor(model)(x=np.zeros((1, 3)))) == sorted(names)
