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
        ("lenet10", (32, 32, 3), 132_666),
        ("alexnet", (227, 227, 3), 62_378_344),
        ("vgg16", (224, 224, 3), 15_227_688),
        ("vgg16bn", (224, 224, 3), 15_231_912),
        ("resnet20", (32, 32, 3), 272_474),
        ("mobilenet", (32, 32, 3), 543_050),
    ],
)
def test_a_shipped_network(name: str, shape: tuple[int, ...], weights: int) -> None:
    network = networks.load(name)
    classes = 10 if shape[0] < 100 else 1000
    assert (network.name, tuple(network.input.shape), network.classes) == (name, shape, classes)
    learnt = {n: s for n, s in params.shapes(network).items() if "running" not in n}
    assert sum(math.prod(shape) for shape in learnt.values()) == weights


def test_all_are_named_here() -> None:
    mark = next(m for m in test_a_shipped_network.pytestmark if m.name == "parametrize")
    assert {path.stem for path in NETWORKS.glob("*.yaml")} == {row[0] for row in mark.args[1]}


def test_a_network_that_does_not_fit_the_images() -> None:
    with pytest.raises(ConfigError, match="takes uint8"):
        pretrain.load_network("lenet5", data.load("digits"))
