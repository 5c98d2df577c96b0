"""Read the table of wines, and split it into training, validation and test arrays."""

import argparse
from pathlib import Path

import numpy as np

from stages.core.errors import InputError, run
from stages.core.files import whole_folder, write_json, write_table
from stages.core.params import PrepareParams, add_params
from stages.wines.params import Prepare
from stages.wines.source.table import FEATURES, TARGET, Table, read

SAMPLE_ROWS = 20


def split(table: Table, params: Prepare, seed: int) -> dict[str, Table]:
    """The rows of each split, drawn by the seed.

    Raises:
        InputError: if a split has no rows.
    """
    features, varieties = table
    order = np.random.default_rng(seed).permutation(len(varieties))
    validation, test = (round(share * len(order)) for share in (params.validation_share, params.test_share))
    parts = np.split(order, [validation, validation + test])
    for name, part in zip(("validation", "test", "training"), parts, strict=True):
        if not len(part):
            raise InputError(f"wines.prepare: {len(order)} rows: expected enough for at least one {name} row")
    return {
        name: (features[np.sort(part)], varieties[np.sort(part)])
        for name, part in zip(("validation", "test", "train"), parts, strict=True)
    }


def main() -> None:
    """Write the splits, a sample of rows and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="folder with wines.csv")
    parser.add_argument("--sample", type=Path, required=True, help=f"CSV file for the first {SAMPLE_ROWS} rows")
    parser.add_argument("data", type=Path, help="folder to write the splits to")
    parser.add_argument("metrics", type=Path, help="file to write the counts to")
    add_params(parser)
    args = parser.parse_args()
    params = PrepareParams[Prepare].read(args.params)

    table = read(args.raw / "wines.csv")
    splits = split(table, params.prepare, params.seed)
    with whole_folder(args.data) as folder:
        for name, (features, varieties) in splits.items():
            (folder / name).mkdir()
            np.save(folder / name / "features.npy", features)
            np.save(folder / name / "varieties.npy", varieties)
        write_json(folder / "schema.json", {"features": FEATURES})
    rows = zip(table[0][:SAMPLE_ROWS].tolist(), table[1][:SAMPLE_ROWS].tolist(), strict=True)
    sample = [dict(zip((*FEATURES, TARGET), (*(round(v, 6) for v in row), kind), strict=True)) for row, kind in rows]
    write_table(args.sample, sample, (*FEATURES, TARGET))
    write_json(args.metrics, {f"{name}_rows": len(varieties) for name, (_, varieties) in splits.items()})


if __name__ == "__main__":
    run(main)
