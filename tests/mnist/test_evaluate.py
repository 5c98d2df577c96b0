"""The figures and tables of the digits' evaluation, by hand."""

import numpy as np
import pytest

from stages.mnist.evaluate import INK, calibration, examples, places


def test_calibration_weighs_the_bins_by_their_images() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.15])
    error, rows = calibration(confidence, np.array([True, True, False, False]), 10)
    assert [row["images"] for row in rows] == [1, 3]
    assert [row["bin"] for row in rows] == ["0.10", "0.90"]
    assert rows[1]["accuracy"] == pytest.approx(2 / 3, rel=1e-5)
    assert error == pytest.approx(0.25 * 0.15 + 0.75 * (0.95 - 2 / 3))


def test_certainty_belongs_to_the_last_bin() -> None:
    _, rows = calibration(np.array([1.0]), np.array([True]), 4)
    assert len(rows) == 1 and rows[0]["bin"] == "0.75"
    assert (rows[0]["low"], rows[0]["accuracy"], rows[0]["high"]) == (pytest.approx(1 / (1 + 1.96**2), rel=1e-3), 1, 1)


def test_every_image_is_an_example_with_both_probabilities() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    assert examples(np.array([0, 2]), np.array([0, 1]), probabilities) == [
        {"image": 0, "actual": 0, "predicted": 0, "probability": 0.7, "probability_of_actual": 0.7},
        {"image": 1, "actual": 2, "predicted": 1, "probability": 0.6, "probability_of_actual": 0.3},
    ]


def test_images_are_grouped_by_digit_and_ink() -> None:
    images = np.arange(8, dtype=np.uint8)[::-1].repeat(784).reshape(8, 28, 28)
    found = places(images, np.array([0, 3, 3, 1, 0, 0, 1, 1]))
    assert found["digit"][0] == ["0", "1", "2", "3"] and found["digit"][1].tolist() == [0, 3, 3, 1, 0, 0, 1, 1]
    assert [found["ink"][0][place] for place in found["ink"][1]] == [w for w in reversed(INK) for _ in "ab"]
    assert len(places(images[:3], np.array([1, 1, 2]))["ink"][1]) == 3
