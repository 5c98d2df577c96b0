"""Command lines that several stages share."""

import argparse
from pathlib import Path

from stages.core.params import add_params


def evaluation_arguments(description: str | None, has_data: bool = True) -> argparse.Namespace:
    """The paths that an evaluation reads and writes: `model`, `data`, `metrics`, `plots`, `examples` and `params`.

    Args:
        description: of the command.
        has_data: whether it reads prepared data.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", type=Path, help="SavedModel to measure")
    if has_data:
        parser.add_argument("data", type=Path, help="prepared folder with held-out data")
    parser.add_argument("metrics", type=Path, help="file to write the metrics to")
    parser.add_argument("plots", type=Path, help="folder to write the tables of the plots to")
    parser.add_argument("examples", type=Path, help="file to write the answer to each held-out example to")
    add_params(parser)
    return parser.parse_args()
