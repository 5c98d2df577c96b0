"""A gRPC client that costs little: calls with bytes, each client sending its next call on an answer."""

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

import grpc

from serving.protos import MESSAGES
from serving.tensors import to_tensor
from stages.rest.requests import decode_instances, read_instances
from stages.savedmodel.graph import SIGNATURE, read_signatures

METHOD = "/tensorflow.serving.PredictionService/Predict"


def predict_request(model: Path, instances: list[Any]) -> bytes:
    """A serialised PredictRequest for the instances of a REST request to a SavedModel."""
    request = MESSAGES["tensorflow.serving.PredictRequest"]()
    request.model_spec.name = model.name
    for key, array in decode_instances(instances, read_signatures(model)[SIGNATURE].inputs).items():
        to_tensor(array, request.inputs[key])
    content: bytes = request.SerializeToString()
    return content


async def ask(port: int, request: bytes, clients: int, seconds: float) -> list[float]:
    """Seconds of each answer that came within the time."""
    taken: list[float] = []
    until = time.perf_counter() + seconds

    async def client() -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            call = channel.unary_unary(METHOD)
            while (began := time.perf_counter()) < until:
                await call(request)
                taken.append(time.perf_counter() - began)

    await asyncio.gather(*(client() for _ in range(clients)))
    return taken


def main() -> None:
    """Warm up, ask, print each answer's seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("model", type=Path, help="the SavedModel, in a folder of the model's name")
    parser.add_argument("body", type=Path, help="the same request as JSON")
    parser.add_argument("clients", type=int)
    parser.add_argument("seconds", type=float)
    args = parser.parse_args()
    request = predict_request(args.model, read_instances(args.body))
    asyncio.run(ask(args.port, request, args.clients, args.seconds / 4))
    print(json.dumps(asyncio.run(ask(args.port, request, args.clients, args.seconds))))


if __name__ == "__main__":
    main()
