"""Gradient boosting on prepared births: its RMSE on the test births. Needs scikit-learn alone.

python boosting.py FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor


def main() -> None:
    """Fit to training births until a part that it keeps back gains no more; print the RMSE in pounds."""
    folder = Path(sys.argv[1])
    schema = json.loads((folder / "schema.json").read_text())
    (births, pounds), (others, expected) = (
        (np.load(folder / split / "features.npy"), np.load(folder / split / "weight_pounds.npy"))
        for split in ("train", "test")
    )
    trees = HistGradientBoostingRegressor(
        learning_rate=0.05,
        max_iter=2000,
        early_stopping=True,
        categorical_features=[name in schema["vocabularies"] for name in schema["features"]],
        random_state=0,
    )
    errors = trees.fit(births, pounds).predict(others) - expected
    print(json.dumps({"rmse": float(np.sqrt(np.mean(errors**2)))}))


if __name__ == "__main__":
    main()
