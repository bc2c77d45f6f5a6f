"""Every shipped network is one: it loads, and takes and gives what its name promises."""

import math
from importlib import resources
from pathlib import Path

import pytest

from eftraind import networks, params
from eftraind.demo import data, pretrain
from eftraind.errors import ConfigError

NETWORKS = Path(str(resources.files("eftraind"))) / "networks"


@pytest.mark.parametrize(
    ("name", "shape", "weights"),
    [
        ("digits", (8, 8, 1), 16 * 9 + 16 + 16 * 144 + 16 + 32 * 144 + 32 + 10 * 128 + 10),
        ("lenet5", (28, 28, 1), 61_706),
        ("cifar1x", (32, 32, 3), 82_330),
    ],
)
def test_a_shipped_network(name: str, shape: tuple[int, ...], weights: int) -> None:
    network = networks.load(name)
    assert (network.name, tuple(network.input.shape), network.classes) == (name, shape, 10)
    assert sum(math.prod(shape) for shape in params.shapes(network).values()) == weights


def test_all_are_named_here() -> None:
    assert {path.stem for path in NETWORKS.glob("*.yaml")} == {"digits", "lenet5", "cifar1x"}


def test_a_network_that_does_not_fit_the_images() -> None:
    with pytest.raises(ConfigError, match="takes uint8"):
        pretrain.load_network("lenet5", data.load("digits"))
