"""Write what `stages.predict` writes, without its other loaders: QEMU does not emulate the processes that they start.

python -m tests.processors.answers mnist
"""

import sys
from pathlib import Path

from stages.core.files import digest, write_json
from stages.rest.requests import decode_request, predictions, read_instances
from stages.savedmodel.predictor import Predictor


def main() -> None:
    """Ask a workload's model for the answers to its request; JSON keeps every bit of them."""
    workload = sys.argv[1]
    model, request = Path("models", workload), Path(f"data/requests/{workload}.json")
    predictor = Predictor(model)
    answers = predictor(**decode_request(read_instances(request), predictor.signature, str(request)))
    write_json(
        Path(f"results/{workload}/predictions.json"),
        {"checks_passed": True, "model_digest": digest(model), "predictions": predictions(answers)},
    )


if __name__ == "__main__":
    main()
