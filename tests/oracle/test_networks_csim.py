"""Whole networks on csim beside PyTorch: losses, gradients, weights and logits of steps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from oracle_rig import graph_of, train_both

from eftraind import networks
from eftraind.accel import kernel
from eftraind.accel.csim import CsimDevice
from eftraind.graph import Graph
from eftraind.isa import Hyper
from eftraind.plan.lower import Plan

SMALL_RATES = {Hyper.RATE: 1e-3, Hyper.MOMENTUM: 0.9, Hyper.DECAY: 0.01}


def shipped(name: str) -> Graph:
    """With float32 samples around 0, as the rig makes them."""
    graph = networks.load(name)
    return replace(graph, input=replace(graph.input, dtype="float32"))


def vgg_block() -> Graph:
    """VGG-16's second block and its pool, on a quarter of the map."""

    def conv(name: str, channels: int) -> dict[str, Any]:
        return {"name": name, "kind": "conv", "channels": channels, "kernel": 3, "relu": True}

    pool = {"name": "pool2", "kind": "maxpool", "window": 2}
    return graph_of([conv("conv2_1", 128), conv("conv2_2", 128), pool], (28, 28, 64), 10)


# The last number: what gradients may differ by. In ResNet-20's second step a few activations fall
# on the other side of 0; the numpy definition is as far from double precision there.
NETWORKS = {
    "1X": (lambda: shipped("cifar1x"), Plan(8, 8, fuse=True), 2e-3),
    "LeNet-5": (lambda: shipped("lenet5"), Plan(5, 3), 2e-3),
    "ResNet-20": (lambda: shipped("resnet20"), Plan(4, 2), 2e-2),
    "VGG block": (vgg_block, Plan(2, 1), 2e-3),
}


@pytest.mark.parametrize("lanes", kernel.SIZES)
@pytest.mark.parametrize("name", NETWORKS)
def test_training_steps(name: str, lanes: int) -> None:
    build, plan, share = NETWORKS[name]
    device = CsimDevice(lanes, memory_bytes=1 << 28)
    train_both(device, build(), plan, steps=2, rates=SMALL_RATES, share=share)
    device.close()


@pytest.mark.parametrize("name", ["1X", "LeNet-5"])
def test_training_steps_of_several_pixels(name: str, wide: Path) -> None:
    build, plan, share = NETWORKS[name]
    device = CsimDevice(8, memory_bytes=1 << 28, library=wide)
    train_both(device, build(), plan, steps=2, rates=SMALL_RATES, share=share)
    device.close()
