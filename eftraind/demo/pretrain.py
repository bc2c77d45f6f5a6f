"""The weights the demo's model starts with: learned from a part of the training images, once.

This is what a user did in the lab before the robot was sent out; the daemon itself has no part in
it. The device is the one the daemon will use.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from eftraind import graph, networks
from eftraind.accel import open_scratch
from eftraind.config.learning import DeviceConfig
from eftraind.demo.data import Dataset
from eftraind.demo.options import Options
from eftraind.engine import offline
from eftraind.errors import ConfigError

SHARE = 0.5
BATCH = 32
MOMENTUM = 0.9
IMAGES_SEEN = 30_000
MAX_EPOCHS = 20

Weights = Mapping[str, NDArray[np.float32]]


def known_world(dataset: Dataset) -> int:
    """How many of the training images, from the first on, pre-training may see."""
    return max(1, int(len(dataset.x_train) * SHARE))


def epochs(images: int) -> int:
    """Passes over so many images, so that every data set gets about the same work."""
    return int(np.clip(round(IMAGES_SEEN / images), 2, MAX_EPOCHS))


def load_network(name: str, dataset: Dataset) -> graph.Graph:
    """A shipped network or a YAML file, checked against the images."""
    network = networks.load(name)
    if tuple(network.input.shape) != dataset.shape or network.input.dtype != "uint8":
        raise ConfigError(
            f"network {network.name} takes {network.input.dtype} {list(network.input.shape)}, "
            f"data set {dataset.name} has uint8 {list(dataset.shape)}",
            remedy="choose another --network or --data",
        )
    if network.classes < dataset.classes:
        raise ConfigError(
            f"network {network.name} knows {network.classes} classes, "
            f"data set {dataset.name} has {dataset.classes}",
            remedy="choose another --network or --data",
        )
    return network


def learn(network: graph.Graph, dataset: Dataset, options: Options) -> Weights:
    """Weights for the world before the shift."""
    count = known_world(dataset)
    return offline.fit(
        network,
        dataset.x_train[:count],
        dataset.y_train[:count],
        epochs=epochs(count),
        batch=BATCH,
        learning_rate=options.learning_rate,
        momentum=MOMENTUM,
        seed=options.seed,
        device=open_scratch(DeviceConfig(kind=options.device)),
    )


def save(weights: Weights, path: Path) -> None:
    save_file({name: np.ascontiguousarray(value) for name, value in weights.items()}, path)
