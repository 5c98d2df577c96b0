"""The same model behind KServe's server (pip: kserve), in an environment of its own."""

import argparse
from pathlib import Path
from typing import Any

from kserve import Model, ModelServer, logging  # type: ignore[import-not-found]

from benchmarks.servers.bare import Function


class Served(Model):  # type: ignore[misc]
    """KServe's contract: a body with `instances` to one with `predictions`."""

    def __init__(self, path: Path, threads: int) -> None:
        super().__init__("babyweight")
        self._function = Function(path, threads)
        self.ready = True

    def predict(self, payload: dict[str, Any], headers: Any = None, response_headers: Any = None) -> dict[str, Any]:
        """The answer to one request."""
        return {"predictions": self._function(self._function.columns(payload["instances"]))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    logging.configure_logging()
    ModelServer(http_port=args.port, enable_grpc=False, access_log_format=None).start(
        [Served(args.model, args.threads)]
    )
