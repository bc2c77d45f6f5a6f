"""Weights of another network, damaged or not finite are refused; the hash knows every bit."""

import numpy as np
import pytest

from eftraind import networks, params
from eftraind.errors import WeightsError

GRAPH = networks.load("digits")


def weights():
    return params.initial(GRAPH, np.random.default_rng(5))


def test_initial_weights_are_seeded_and_scaled():
    assert params.weights_hash(weights()) == params.weights_hash(weights())
    conv2 = weights()["conv2.weight"]
    assert conv2.std() == pytest.approx(np.sqrt(2 / (16 * 9)), rel=0.1)
    params.check(GRAPH, weights())


@pytest.mark.parametrize("name", ["conv1.weight", "out.bias"])
def test_hash_changes_with_one_bit(name):
    changed = weights()
    changed[name].view(np.uint32).ravel()[0] ^= 1
    assert params.weights_hash(changed) != params.weights_hash(weights())


def test_wrong_weights_are_refused():
    missing = weights()
    del missing["out.bias"]
    extra = weights() | {"ghost": np.zeros(1, np.float32)}
    shape = weights() | {"out.bias": np.zeros(11, np.float32)}
    dtype = weights() | {"out.bias": np.zeros(10, np.float64)}
    nan = weights()
    nan["out.weight"][0, 0] = np.nan
    for bad, word in [(missing, "missing"), (extra, "ghost"), (shape, "11"), (dtype, "float64"),
                      (nan, "NaN")]:  # fmt: skip
        with pytest.raises(WeightsError, match=word):
            params.check(GRAPH, bad)
