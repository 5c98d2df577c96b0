import numpy as np
import pytest

from stages.mnist.model import PIXELS, build


@pytest.mark.parametrize(("network", "parameters"), [("strided", 55170), ("original", 3274634)])
def test_networks_have_their_size(network: str, parameters: int) -> None:
    model = build({"kind": network, "classes": 10, "dropout": 0.5})
    assert model.count_params() == parameters
    assert model(np.zeros((2, PIXELS), np.float32)).shape == (2, 10)
