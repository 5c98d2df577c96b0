"""Turn births, synthetic or from files, into arrays of one byte a feature, split by a hash of their keys."""

import argparse
import functools
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from stages.babyweight.params import Dask, Operation, Prepare, Source
from stages.babyweight.source import workers
from stages.babyweight.source.births import (
    COLUMNS,
    FACTS,
    FEATURES,
    KEY,
    NUMBERS,
    SPLITS,
    UNITS,
    VOCABULARIES,
    WEIGHT,
    decode,
    spellings,
)
from stages.babyweight.source.counts import Counts
from stages.babyweight.source.encode import SAMPLE_ROWS, BlockTask, Encoded
from stages.babyweight.source.facts import mean_weights, read_facts
from stages.babyweight.source.files import File, find
from stages.babyweight.source.formats import all_block_tasks, default_columns, encode_block, encode_file
from stages.core import files
from stages.core.errors import run
from stages.core.params import OperationParams, PrepareParams, add_params

_ARRAYS = {"features": ("|u1", (len(FEATURES),)), WEIGHT: ("<f4", ())}
"""The arrays of a split: type and shape of a row."""


def encoded(raw: str, params: PrepareParams[Prepare], facts: Path, dask: Dask | None = None) -> Iterator[Encoded]:
    """Encode the source's blocks, in order. The result does not depend on where that is done.

    Args:
        raw: path or address of own births.
        params: the stage's parameters.
        facts: figures that synthetic births follow.
        dask: the cluster; None: threads of this machine.

    Raises:
        InputError: if the source or the cluster cannot be used.
    """
    source = params.prepare.source
    tasks: Iterator[BlockTask]
    if source.kind == "synthetic":
        from stages.babyweight.source import synthetic  # imports pandas, which takes longer than all else here

        births: list[File] = []
        tasks = synthetic.block_tasks(source.rows, facts, params.seed)
    else:
        births = find(raw, source.pattern)
        tasks = all_block_tasks(births)
    by_block = (functools.partial(encode_block, task, params.prepare) for task in tasks)
    if dask is None or dask.scheduler is None:
        results = workers.on_threads(by_block)
    else:
        default = default_columns(births) if births else []
        by_file = [functools.partial(encode_file, file, default, params.prepare) for file in births]
        results = workers.on_cluster(by_block, by_file, births, dask.scheduler, dask.timeout)
    return _with_bar((block for blocks in results for block in blocks), births)


def _with_bar(blocks: Iterator[Encoded], births: Sequence[File]) -> Iterator[Encoded]:
    """The blocks; in a terminal, a bar shows how many of remote files are read."""
    if not sys.stderr.isatty() or not any(file.is_remote for file in births):
        yield from blocks
        return
    from tqdm import tqdm

    number = {file.label: before for before, file in enumerate(births)}
    with tqdm(desc="babyweight", total=len(births), unit="file", dynamic_ncols=True, leave=False) as bar:
        for block in blocks:
            bar.update(number[block.name] - bar.n)
            yield block


def _write_header(file: IO[bytes], name: str, rows: int) -> None:
    """Write the header of an .npy file. NumPy pads it, so that it can be written again when the rows are known."""
    dtype, shape = _ARRAYS[name]
    header = {"descr": dtype, "fortran_order": False, "shape": (rows, *shape)}
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, header)


def write_splits(
    folder: Path, raw: str, params: PrepareParams[Prepare], facts: Path, dask: Dask | None = None
) -> tuple[Counts, list[dict[str, Any]]]:
    """Write `features.npy` uint8 [n, 8] and `weight_pounds.npy` float32 [n] for each split, in bounded memory.

    Returns:
        The counts, and the first births in the raw format.

    Raises:
        InputError: if the source cannot be used.
    """
    counts, sample = Counts(), list[dict[str, Any]]()
    with ExitStack() as stack:
        outputs: dict[tuple[str, str], IO[bytes]] = {}
        for split in SPLITS:
            (folder / split).mkdir()
            for name in _ARRAYS:
                outputs[split, name] = stack.enter_context((folder / split / f"{name}.npy").open("wb"))
                _write_header(outputs[split, name], name, 0)
        for block in encoded(raw, params, facts, dask):
            for split, arrays in zip(SPLITS, block.splits, strict=True):
                for name, values in zip(_ARRAYS, arrays, strict=True):
                    outputs[split, name].write(np.ascontiguousarray(values, _ARRAYS[name][0]).data)
            counts.add(block)
            if len(sample) < SAMPLE_ROWS:
                sample += raw_rows(*block.sample)[: SAMPLE_ROWS - len(sample)]
        for (split, name), file in outputs.items():
            _write_header(file, name, counts.kept[split])
    counts.check(params.prepare, mean_weights(read_facts(facts)) if params.prepare.source.kind == "files" else None)
    return counts, sample


def raw_rows(
    features: npt.NDArray[np.uint8], weights: npt.NDArray[np.float32], keys: list[str]
) -> list[dict[str, Any]]:
    """Encoded births as rows of the raw format."""
    values = decode(features)
    values |= {column: values[column].astype(int) for column in NUMBERS}
    columns = values | {WEIGHT: weights, KEY: keys}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def schema(source: Source) -> dict[str, Any]:
    """What the arrays' columns and codes mean; files of births are of people unless `public` is there and true."""
    return {
        "source": source.kind,
        **({"public": True} if source.kind == "files" and source.public else {}),
        "features": FEATURES,
        "numbers": NUMBERS,
        "vocabularies": VOCABULARIES,
        "spellings": {column: spellings(column) for column in VOCABULARIES},
        "units": UNITS,
    }


def main() -> None:
    """Write the splits and their schema, a sample of births and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", required=True, help="file or folder of own births, or its address")
    sample_help = f"CSV file for the first {SAMPLE_ROWS} births; its header alone if they are personal"
    parser.add_argument("--sample", type=Path, required=True, help=sample_help)
    parser.add_argument("data", type=Path, help="folder to write the splits to")
    parser.add_argument("metrics", type=Path, help="file to write the counts to")
    add_params(parser)
    args = parser.parse_args()
    params = PrepareParams[Prepare].read(args.params)
    source = params.prepare.source
    dask = OperationParams[Operation].read(args.params).operation.dask

    with files.whole_folder(args.data) as folder:
        counts, sample = write_splits(folder, args.raw, params, FACTS, dask)
        files.write_json(folder / "schema.json", schema(source))
    files.write_table(args.sample, [] if source.is_personal else sample, COLUMNS)
    files.write_json(args.metrics, counts.metrics(source.kind, source.is_personal))
    for quoted in counts.quoted() if source.is_personal else ():
        print(f"babyweight: {quoted}", file=sys.stderr)
    if summary := counts.summary():
        print(f"babyweight: {summary}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
