import signal
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from stages.core.files import digest
from stages.core.params import TrainParams
from stages.mnist.params import Augment, Train
from stages.mnist.train import DigitTask, cross_entropies, distort
from stages.supervised.sequential import predict_outputs
from tests.conftest import start_stage
from tests.fork_server import ForkedModule

STILL = {"rotation": 0.0, "shift": 0.0, "scale": 0.0, "shear": 0.0}


def distorted(images: np.ndarray, **amounts: float) -> np.ndarray:
    augment = Augment(**{**STILL, **amounts})
    draws = tf.random.stateless_uniform([len(images), 6], [1, 2], -1.0, 1.0)
    return np.asarray(distort(tf.constant(images), augment, draws))


@pytest.fixture
def images() -> np.ndarray:
    image = np.zeros((64, 28, 28, 1), np.float32)
    image[:, 10:18, 12:16] = 1
    return image


def test_no_distortion_is_the_image(images: np.ndarray) -> None:
    assert np.allclose(distorted(images), images, atol=1e-5)


def test_a_shift_moves_the_centre_by_at_most_its_amount(images: np.ndarray) -> None:
    moved = distorted(images, shift=3.0)
    rows = (moved[..., 0].sum(axis=2) * np.arange(28)).sum(axis=1) / moved.sum(axis=(1, 2, 3))
    assert np.abs(rows - 13.5).max() <= 3.01
    assert rows.std() > 1
    assert np.allclose(moved.sum(axis=(1, 2, 3)), 32, rtol=0.01)


def test_rotation_turns_about_the_centre(images: np.ndarray) -> None:
    turned = distorted(images, rotation=90.0)
    across = (turned[..., 0].sum(axis=2) * np.arange(28)).sum(axis=1) / turned.sum(axis=(1, 2, 3))
    assert np.allclose(across, 13.5, atol=0.1)
    assert (turned[:, 13:15, 9:11, 0].max(axis=(1, 2)) > 0.9).any()  # some lie on their side


def test_an_image_is_distorted_by_its_own_draws_alone(images: np.ndarray) -> None:
    draws = tf.random.stateless_uniform([64, 6], [1, 2], -1.0, 1.0)
    augment = Augment(rotation=20.0, shift=2.0, scale=0.1, shear=0.1)
    whole = distort(tf.constant(images), augment, draws)
    part = distort(tf.constant(images[16:32]), augment, draws[16:32])
    assert (part.numpy() == whole.numpy()[16:32]).all()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A prepared folder of 640 images that a network can learn: each class lights a row."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 640), ("validation", 64)):
        labels = rng.integers(0, 10, count).astype(np.uint8)
        images = rng.integers(0, 60, (count, 28, 28)).astype(np.uint8)
        images[np.arange(count), 4 + 2 * labels] = 255
        (tmp_path / "data" / part).mkdir(parents=True)
        np.save(tmp_path / "data" / part / "labels.npy", labels)
        np.save(tmp_path / "data" / part / "images.npy", images.reshape(count, -1))
    return tmp_path / "data"


def test_only_the_hardest_images_are_learned_from(small: Path, params_file: Callable[..., Path]) -> None:
    changes = {"mnist.train.hardest_of": 4, "mnist.train.network.dropout": 0.5}
    task = DigitTask(small, TrainParams[Train].read(params_file(changes)))
    pixels, labels = (tf.constant(array[:18]) for array in (task.images, task.labels))
    batch = [pixels, labels, *task.draw(tf.constant(3, tf.int64), 18)]
    images = tf.reshape(tf.cast(pixels, tf.float32) / 255, [-1, 28, 28, 1])
    logits = predict_outputs(task.model, tf.reshape(distort(images, task.augment, batch[2]), [-1, 784]))
    hardest = np.argsort(-cross_entropies(labels, logits).numpy())[:5]
    with keras.StatelessScope():
        found = task.loss(batch)
        task.hardest_of = 1
        expected, every = task.loss([tf.gather(rows, hardest) for rows in batch]), task.loss(batch)
    assert (found.numpy() == expected.numpy()).all()
    assert found.shape == (5,) and every.shape == (18,)


def start(folder: Path, params: Path) -> ForkedModule:
    folder.mkdir(exist_ok=True)
    outputs = (folder / "weights", folder / "train.json", folder / "curve.csv")
    return start_stage("stages.mnist.train", "../data", *outputs, "--params", params, cwd=folder)


def checkpoint_steps(folder: Path) -> list[int]:
    return [int(path.stem.split("-")[1]) for path in (folder / ".checkpoints").rglob("step-*.npz")]


def test_a_killed_run_ends_in_the_same_bytes(small: Path, tmp_path: Path, params_file: Callable[..., Path]) -> None:
    # At a constant rate the number of steps does not name a run, so one that never ends is resumed by one that does.
    def params(steps: int) -> Path:
        changes = {"steps": steps, "schedule": "constant", "batch_size": 32, "evaluate_every": 50}
        kept = {"mnist.operation.checkpoint_every": 10, "mnist.operation.max_to_keep": 10**6}
        changes |= {"micro_batches": 2}
        return params_file(kept | {f"mnist.train.{key}": value for key, value in changes.items()})

    killed, last = tmp_path / "killed", 0
    for _ in range(2):  # twice in a row
        process = start(killed, params(10**9))
        while max(checkpoint_steps(killed), default=0) <= last:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.002)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        last = max(checkpoint_steps(killed))
    resumed = start(killed, params(last + 25))
    _, errors = resumed.communicate(timeout=600)
    assert resumed.returncode == 0, errors
    assert f"resumed at step {last}\n" in errors
    whole = start(tmp_path / "whole", params(last + 25))
    _, errors = whole.communicate(timeout=600)
    assert whole.returncode == 0, errors
    for name in ("weights", "train.json", "curve.csv"):
        assert digest(killed / name) == digest(tmp_path / "whole" / name)
