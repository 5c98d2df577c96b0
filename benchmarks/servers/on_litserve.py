"""The same model behind LitServe (pip: litserve), in an environment of its own, with batching or without."""

import argparse
from pathlib import Path
from typing import Any

import litserve  # type: ignore[import-not-found]

from benchmarks.servers.bare import Function, Instances


class Served(litserve.LitAPI):  # type: ignore[misc]
    """LitServe's steps: decode, (batch), predict, (unbatch), encode."""

    def __init__(self, path: Path, threads: int, **options: Any) -> None:
        super().__init__(api_path="/v1/models/babyweight:predict", **options)
        self._path, self._threads = path, threads

    def setup(self, device: str) -> None:
        """Load the model in the worker's process."""
        self._function = Function(self._path, self._threads)

    def decode_request(self, request: dict[str, Any]) -> Instances:
        """The instances of one request."""
        instances: Instances = request["instances"]
        return instances

    def batch(self, inputs: list[Instances]) -> Instances:
        """All requests' instances in one list."""
        self._sizes = [len(instances) for instances in inputs]
        return [instance for instances in inputs for instance in instances]

    def predict(self, x: Instances) -> list[Any]:
        """Values for instances."""
        return self._function(self._function.columns(x))

    def unbatch(self, output: list[Any]) -> list[list[Any]]:
        """Each request's values."""
        values = iter(output)
        return [[next(values) for _ in range(size)] for size in self._sizes]

    def encode_response(self, output: list[Any]) -> dict[str, Any]:
        """The answer's body."""
        return {"predictions": output}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch", type=int, help="most requests of a call; LitServe's default is not to batch")
    args = parser.parse_args()
    options = {"max_batch_size": args.batch, "batch_timeout": 0.001} if args.batch else {}
    server = litserve.LitServer(Served(args.model, args.threads, **options), accelerator="cpu", fast_queue=False)
    server.run(host="127.0.0.1", port=args.port, generate_client_file=False, log_level="error", access_log=False)
