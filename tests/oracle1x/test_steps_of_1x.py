"""PyTorch as independent oracle: logits, losses, gradients and weights, layer by layer and whole.

Ours is float32, the oracle float64; tolerances are relative to a tensor's largest value.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from steps_rig import Ours, Torch, distance

from eftraind import graph_build, networks, params
from eftraind.accel.cpu import CpuDevice, available_lanes
from eftraind.accel.host import HostDevice
from eftraind.accel.reference import ReferenceDevice
from eftraind.errors import GraphError
from eftraind.graph import Graph
from eftraind.isa import Slot

ONE_STEP = 1e-4
"""A step's rounding: sums of thousands of float32 terms."""
HUNDRED_STEPS = 0.02
"""Of the way that weights went. A ReLU or a maximum that falls the other way is not undone."""
COURSE = 0.002
"""Of the first loss, at any step."""
RATES = (1e-3, 0.9, 1e-2)
"""So small that one step leaves the next one's gradients well conditioned."""

DEVICES: dict[str, Callable[[], HostDevice]] = {
    "reference": lambda: ReferenceDevice(8),
    **{f"cpu-T{t}": lambda t=t: CpuDevice(threads=2, lanes=t) for t in available_lanes()},
}


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Any:
    opened = DEVICES[request.param]()
    yield opened
    opened.close()


def build(shape: list[int], layers: list[dict[str, Any]], classes: int, dtype: str) -> Graph:
    channels = shape[2]
    layers = [*layers, {"name": "out", "kind": "linear", "channels": classes}]
    spec = {
        "shape": shape,
        "dtype": dtype,
        "scale": 1 / 255 if dtype == "uint8" else 1.0,
        "mean": [0.4 if dtype == "uint8" else 0.0] * channels,
        "std": [0.3 if dtype == "uint8" else 1.0] * channels,
    }
    return graph_build.from_mapping(
        {"name": "t", "input": spec, "classes": classes, "layers": layers}
    )


def images(graph: Graph, count: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    if graph.input.dtype == "uint8":
        return rng.integers(0, 256, (count, *graph.input.shape)).astype(np.uint8)
    return rng.standard_normal((count, *graph.input.shape)).astype(np.float32)


def two_steps(device: HostDevice, graph: Graph, batch: int, chunk: int, seed: int = 0) -> None:
    """Inference, then two steps: the second has momentum. All that can be seen must agree."""
    rng = np.random.default_rng(seed)
    samples = images(graph, batch + 3, rng)
    ours = Ours(device, graph, samples, batch=batch, chunk=chunk, rates=RATES)
    theirs = Torch(graph, samples, RATES)
    start = {
        k: v + rng.normal(0, 0.1, v.shape).astype(np.float32)
        for k, v in params.initial(graph, rng).items()
    }
    # Small logits: where a class is certain, p - 1 has few digits left, in PyTorch's float32 too.
    start["out.weight"] *= np.float32(0.1)
    ours.set_weights(start)
    theirs.set_weights(start)
    index = rng.integers(0, len(samples), batch)
    assert distance({"y": ours.logits(index)}, {"y": theirs.logits(index)}) < ONE_STEP
    for _ in range(2):
        index, labels = rng.integers(0, len(samples), batch), rng.integers(0, graph.classes, batch)
        mine, exact = ours.step(index, labels), theirs.step(index, labels)
        np.testing.assert_allclose(mine, exact, rtol=ONE_STEP, atol=ONE_STEP)
        assert distance(ours.weights(Slot.GRADS), gradients(theirs)) < 10 * ONE_STEP
        moved_alike(start, ours.weights(), theirs.tensors())


def moved_alike(start: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Weights differ by a share of their way, and by the rounding of the weights themselves."""
    for name, first in start.items():
        way = np.abs(theirs[name] - first).max()
        rounding = 4 * np.finfo(np.float32).eps * np.abs(first).max()
        np.testing.assert_allclose(
            ours[name], theirs[name], rtol=0, atol=10 * ONE_STEP * way + rounding, err_msg=name
        )


def gradients(theirs: Torch) -> dict[str, npt.NDArray[Any]]:
    return theirs.tensors(gradients=True)


CONV = {"name": "a", "kind": "conv", "channels": 20, "kernel": 3, "relu": True}
LAYERS: dict[str, tuple[list[int], list[dict[str, Any]]]] = {
    "conv3-relu": ([9, 7, 3], [CONV]),
    "conv5": ([9, 10, 5], [{**CONV, "kernel": 5, "relu": False}]),
    "conv7-no-bias": ([9, 9, 2], [{**CONV, "kernel": 7, "bias": False}]),
    "conv1": ([5, 6, 17], [{**CONV, "kernel": 1}]),
    "two-convs": ([8, 8, 1], [CONV, {**CONV, "name": "b", "channels": 33}]),
    "pool": ([9, 8, 4], [CONV, {"name": "p", "kind": "maxpool", "window": 2, "stride": 2}]),
    "pool-overlap": ([9, 9, 4], [CONV, {"name": "p", "kind": "maxpool", "window": 3, "stride": 2}]),
    "linear": ([4, 3, 6], [{"name": "f", "kind": "linear", "channels": 21, "relu": True}]),
}


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer(device: HostDevice, layer: str, dtype: str) -> None:
    shape, layers = LAYERS[layer]
    two_steps(device, build(shape, layers, 10, dtype), batch=5, chunk=2)


@pytest.mark.parametrize(("batch", "chunk"), [(1, 1), (2, 1), (7, 3), (8, 8), (33, 8)])
def test_batches_and_chunks(device: HostDevice, batch: int, chunk: int) -> None:
    shape, layers = LAYERS["pool"]
    two_steps(device, build(shape, layers, 3, "uint8"), batch, chunk)


@st.composite
def small_networks(draw: st.DrawFn) -> Graph:
    channels = st.integers(1, 35)
    side = st.integers(4, 12)
    layers: list[dict[str, Any]] = []
    for index in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            kernel = draw(st.sampled_from([1, 3, 5]))
            padding = draw(st.integers(0, kernel // 2))
            layers.append(
                {**CONV, "name": f"l{index}", "channels": draw(channels), "kernel": kernel}
                | {"padding": padding, "relu": draw(st.booleans())}
            )
        else:
            window, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
            layers.append(
                {"name": f"l{index}", "kind": "maxpool", "window": window, "stride": stride}
            )
    shape = [draw(side), draw(side), draw(st.sampled_from([1, 3, 4, 7, 16, 19]))]
    return build(
        shape, layers, draw(st.integers(2, 20)), draw(st.sampled_from(["uint8", "float32"]))
    )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data(), batch=st.integers(1, 9), chunk=st.integers(1, 9), seed=st.integers(0, 99))
@pytest.mark.parametrize("name", DEVICES)
def test_any_small_network(
    name: str, data: st.DataObject, batch: int, chunk: int, seed: int
) -> None:
    try:
        graph = data.draw(small_networks())
    except GraphError:
        return  # shapes that do not chain
    opened = DEVICES[name]()
    two_steps(opened, graph, batch, min(chunk, batch), seed)
    opened.close()


@pytest.mark.parametrize("network", ["lenet5", "cifar1x", "digits"])
def test_shipped_networks(device: HostDevice, network: str) -> None:
    two_steps(device, networks.load(network), batch=6, chunk=4)


def test_hundred_steps_of_1x() -> None:
    """SGD with momentum and weight decay on images that can be learnt: PyTorch's course is ours."""
    graph, rng = networks.load("cifar1x"), np.random.default_rng(3)
    labels = rng.integers(0, 10, 256)
    patterns = rng.integers(0, 256, (10, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    noise = rng.normal(0, 60, (256, 32, 32, 3))
    samples = np.clip(patterns[labels] + noise, 0, 255).astype(np.uint8)
    rates = (0.002, 0.9, 5e-4)
    device = CpuDevice(threads=2)
    ours = Ours(device, graph, samples, batch=16, chunk=8, rates=rates)
    theirs = Torch(graph, samples, rates, torch.float32)
    start = params.initial(graph, rng)
    start["out.weight"] *= np.float32(0.1)  # a calm start
    ours.set_weights(start)
    theirs.set_weights(start)
    course = []
    for _ in range(100):
        index = rng.integers(0, 256, 16)
        mine, exact = ours.step(index, labels[index]), theirs.step(index, labels[index])
        course.append((mine.mean(), exact.mean()))
    mine, exact = np.array(course).T
    assert exact[-10:].mean() < 0.2 * exact[0], "the images can be learnt"
    np.testing.assert_allclose(mine, exact, atol=COURSE * exact[0])
    moved = {name: value - start[name] for name, value in theirs.tensors().items()}
    went = {name: value - start[name] for name, value in ours.weights().items()}
    device.close()
    assert distance(went, moved) < HUNDRED_STEPS
