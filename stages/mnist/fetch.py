"""Fetch the four IDX files of MNIST, or of a data set of the same form, and check them to the byte."""

import argparse
from contextlib import suppress
from pathlib import Path

from stages.core.errors import InputError, run
from stages.core.files import whole_folder
from stages.core.params import FetchParams, OperationParams, add_params
from stages.mnist.params import Fetch, Operation
from stages.mnist.source.download import fetch
from stages.mnist.source.idx import FILES, pack
from stages.mnist.source.local import from_folder


def main() -> None:
    """Write the folder, unless it holds the right files: DVC leaves this stage's last output in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", required=True, help="own files: a folder, archive or .npz, or its address")
    parser.add_argument("output", type=Path, help="folder to write the four files to")
    add_params(parser)
    args = parser.parse_args()
    params = FetchParams[Fetch].read(args.params).fetch
    timeout = OperationParams[Operation].read(args.params).operation.fetch_timeout

    md5 = params.md5.model_dump()
    with suppress(InputError, OSError):
        from_folder(args.output, md5)
        return
    digits = fetch(params.source, args.raw, md5, timeout, params.pattern)
    with whole_folder(args.output) as folder:
        for key, values in digits.items():
            (folder / FILES[key]).write_bytes(pack(values))


if __name__ == "__main__":
    run(main)
