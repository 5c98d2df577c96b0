"""Turn the four IDX files into training, validation and test arrays, and the first test images into a request."""

import argparse
from pathlib import Path

import numpy as np

from stages.core.errors import InputError, run
from stages.core.files import whole_folder, write_json
from stages.core.params import PrepareParams, add_params
from stages.mnist.params import Prepare
from stages.mnist.source.idx import FILES, Digits, Images, check_counts, parse

REQUEST_IMAGES = 10


def split(digits: Digits, validation: int, seed: int) -> dict[str, tuple[Images, Images]]:
    """Images uint8 [n, 784] and labels uint8 [n] of each split; validation is drawn from the training set.

    Raises:
        InputError: if no training image is left, or a test label is none of the training labels.
    """
    if unknown := sorted({*map(int, digits["test_labels"])} - {*map(int, digits["train_labels"])}):
        raise InputError(f"{FILES['test_labels']}: expected the training images' labels, found {unknown}")
    images = len(digits["train_labels"])
    if validation >= images:
        raise InputError(
            f"mnist.prepare.validation_images: {validation}: expected fewer than the {images:,} to train on"
        )
    order = np.random.default_rng(seed).permutation(images)
    rows = {
        "train": ("train", np.sort(order[validation:])),
        "validation": ("train", np.sort(order[:validation])),
        "test": ("test", np.arange(len(digits["test_labels"]))),
    }
    return {
        name: (digits[f"{source}_images"][chosen].reshape(len(chosen), -1), digits[f"{source}_labels"][chosen])
        for name, (source, chosen) in rows.items()
    }


def request(images: Images) -> dict[str, list[list[float]]]:
    """A prediction request in row format: for each image, a list of 784 pixels from 0 (paper) to 1 (ink)."""
    return {"instances": [[round(value / 255, 6) for value in image.tolist()] for image in images]}


def main() -> None:
    """Write `data/mnist`, the request and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="folder with the four files")
    parser.add_argument("--sample", type=Path, required=True, help="file to write the request to")
    parser.add_argument("data", type=Path, help="folder to write the splits to")
    parser.add_argument("metrics", type=Path, help="file to write the counts to")
    add_params(parser)
    args = parser.parse_args()
    params = PrepareParams[Prepare].read(args.params)

    paths = {key: args.raw / name for key, name in FILES.items()}
    digits = {key: parse(key, path.read_bytes(), str(path)) for key, path in paths.items()}
    check_counts(digits, str(args.raw))
    if params.prepare.transpose:
        digits |= {key: values.swapaxes(1, 2) for key, values in digits.items() if values.ndim > 1}
    splits = split(digits, params.prepare.validation_images, params.seed)
    with whole_folder(args.data) as folder:
        for name, (images, labels) in splits.items():
            (folder / name).mkdir()
            np.save(folder / name / "images.npy", images)
            np.save(folder / name / "labels.npy", labels)
    write_json(args.sample, request(splits["test"][0][:REQUEST_IMAGES]))
    write_json(args.metrics, {f"{name}_images": len(labels) for name, (_, labels) in splits.items()})


if __name__ == "__main__":
    run(main)
