"""The command line of a training stage, and the learning curve that it writes."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from stages.core.files import significant, write_table
from stages.core.params import add_params


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that every training stage takes."""
    parser.add_argument("weights", type=Path, help="folder to write weights, configuration and provenance to")
    parser.add_argument("metrics", type=Path, help="file to write the last metrics to")
    parser.add_argument("curve", type=Path, help="file to write the learning curve to")
    add_params(parser)


def write_curve(path: Path, history: Sequence[Mapping[str, float]], columns: Sequence[str]) -> None:
    """Write a learning curve as CSV, one point per line, numbers to six significant digits."""
    write_table(path, [{name: significant(value) for name, value in point.items()} for point in history], columns)
