"""Fetch MNIST's four files, check them to the byte, and write them as they were published."""

import argparse
from contextlib import suppress
from pathlib import Path

from stages.core.errors import InputError, run
from stages.core.files import whole_folder
from stages.core.params import add_params
from stages.mnist.params import FetchParams
from stages.mnist.source.download import fetch
from stages.mnist.source.idx import FILES, pack
from stages.mnist.source.local import from_folder


def main() -> None:
    """Write the folder, unless the right files are there already: DVC keeps this stage's output when it runs again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="folder to write the four files to")
    add_params(parser)
    args = parser.parse_args()
    params = FetchParams.read(args.params).fetch

    if params.source != "path":
        with suppress(InputError):
            from_folder(args.output)
            return
    digits = fetch(params.source, Path(params.path), params.timeout)
    with whole_folder(args.output) as folder:
        for key, values in digits.items():
            (folder / FILES[key].name).write_bytes(pack(values))


if __name__ == "__main__":
    run(main)
