"""Turn MNIST's four files into training, validation and test arrays; its first test images into a request."""

import argparse
from pathlib import Path

import numpy as np

from stages.core.errors import run
from stages.core.files import whole_folder, write_json
from stages.core.params import add_params
from stages.mnist.params import PrepareParams
from stages.mnist.source.idx import Images
from stages.mnist.source.local import from_folder

REQUEST_IMAGES = 10


def split(digits: dict[str, Images], validation: int, seed: int) -> dict[str, tuple[Images, Images]]:
    """Images uint8 [n, 784] and labels uint8 [n] of each split; validation is drawn from the training set."""
    order = np.random.default_rng(seed).permutation(len(digits["train_labels"]))
    parts = {
        "train": ("train", np.sort(order[validation:])),
        "validation": ("train", np.sort(order[:validation])),
        "test": ("test", np.arange(len(digits["test_labels"]))),
    }
    return {
        name: (digits[f"{of}_images"][rows].reshape(len(rows), -1), digits[f"{of}_labels"][rows])
        for name, (of, rows) in parts.items()
    }


def request(images: Images) -> dict[str, list[list[float]]]:
    """A prediction request in row format: one list of 784 shares of full ink for each image."""
    return {"instances": [[round(value / 255, 6) for value in image.tolist()] for image in images]}


def main() -> None:
    """Write `data/mnist`, the request and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path, help="folder with the four files")
    parser.add_argument("data", type=Path, help="folder to write the splits to")
    parser.add_argument("request", type=Path, help="file to write the request to")
    parser.add_argument("metrics", type=Path, help="file to write the counts to")
    add_params(parser)
    args = parser.parse_args()
    params = PrepareParams.read(args.params)

    splits = split(from_folder(args.raw), params.prepare.validation_images, params.seed)
    with whole_folder(args.data) as folder:
        for name, (images, labels) in splits.items():
            (folder / name).mkdir()
            np.save(folder / name / "images.npy", images)
            np.save(folder / name / "labels.npy", labels)
    write_json(args.request, request(splits["test"][0][:REQUEST_IMAGES]))
    write_json(args.metrics, {f"{name}_images": len(labels) for name, (_, labels) in splits.items()})


if __name__ == "__main__":
    run(main)
