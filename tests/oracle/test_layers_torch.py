"""Every layer kind over shapes that hypothesis chooses: logits and all gradients are PyTorch's.

The layer stands between convolutions, so that its gradient with respect to its input shows in
theirs; an activation before it checks that its backward command undoes it.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracle_rig import OpenDevice, graph_of, train_both

from eftraind.errors import GraphError
from eftraind.graph import Graph
from eftraind.plan.lower import Plan
from eftraind.plan.reshape import pack_samples

CHANNELS = st.sampled_from([1, 2, 3, 4, 5, 8, 15, 16, 17, 21])
ACTIVATION = st.sampled_from(
    [
        {},
        {"relu": True},
        {"activation": "relu6"},
        {"activation": "leaky", "slope": 0.25},
    ]
)
EXAMPLES = settings(max_examples=12, deadline=None, derandomize=True)
Layers = list[dict[str, Any]]


@st.composite
def pairs(draw: st.DrawFn, low: int, high: int) -> list[int]:
    return [draw(st.integers(low, high)), draw(st.integers(low, high))]


@st.composite
def strides(draw: st.DrawFn) -> list[int]:
    return draw(st.sampled_from([[1, 1], [1, 1], [2, 2], [4, 4], [1, 2], [3, 1]]))


@st.composite
def convolutions(draw: st.DrawFn, stem_channels: int) -> Layers:
    kernel = draw(st.sampled_from([[1, 1], [3, 3], [5, 5], [7, 7], [11, 11], [3, 1], [2, 4]]))
    padding = [draw(st.integers(0, kernel[side % 2] - 1)) for side in range(4)]
    layer = {"name": "l", "kind": "conv", "kernel": kernel, "padding": padding}
    layer |= {"stride": draw(strides()), "bias": draw(st.booleans())} | draw(ACTIVATION)
    depthwise = stem_channels > 1 and draw(st.booleans())
    return [layer | ({"groups": stem_channels} if depthwise else {"channels": draw(CHANNELS)})]


@st.composite
def pools(draw: st.DrawFn, kind: str) -> Layers:
    window = draw(pairs(1, 5))
    padding = [draw(st.integers(0, window[side % 2] // 2)) for side in range(4)]
    layer = {"name": "l", "kind": kind, "window": window, "padding": padding}
    if kind == "avgpool":
        layer["count_padding"] = draw(st.booleans())
    return [layer | {"stride": draw(strides())}]


@st.composite
def combinations(draw: st.DrawFn, kind: str, stem_channels: int) -> Layers:
    """A second branch, added or concatenated; the stem is read three times."""
    channels = stem_channels if kind == "add" else draw(CHANNELS)
    other = {"name": "o", "kind": "conv", "channels": channels, "kernel": 1} | draw(ACTIVATION)
    sources = draw(st.permutations(["stem", "o"]))
    layer = {"name": "l", "kind": kind, "from": sources}
    layer |= draw(ACTIVATION) if kind == "add" else {}
    return [other, layer, {"name": "again", "kind": "concat", "from": ["l", "stem"]}]


@st.composite
def graphs(draw: st.DrawFn, kind: str) -> Graph:
    channels = draw(CHANNELS)
    layers: Layers = [
        {"name": "stem", "kind": "conv", "channels": channels, "kernel": 1} | draw(ACTIVATION)
    ]
    if kind == "conv":
        layers += draw(convolutions(channels))
    elif kind in ("maxpool", "avgpool"):
        layers += draw(pools(kind))
    elif kind in ("add", "concat"):
        layers += draw(combinations(kind, channels))
    elif kind == "dropout":
        layers += [{"name": "l", "kind": kind, "rate": draw(st.sampled_from([0.0, 0.25, 0.8]))}]
    else:
        layers += [{"name": "l", "kind": kind} | (draw(ACTIVATION) if kind == "batchnorm" else {})]
    rows, cols = draw(pairs(2, 13))
    try:
        return graph_of(layers, (rows, cols, draw(CHANNELS)))
    except GraphError:
        assume(False)
        raise


KINDS = ("conv", "maxpool", "avgpool", "globalpool", "batchnorm", "add", "concat", "dropout")


@pytest.mark.parametrize("kind", KINDS)
@EXAMPLES
@given(data=st.data())
def test_any_shape(device: OpenDevice, kind: str, data: st.DataObject) -> None:
    graph = data.draw(graphs(kind))
    batch = data.draw(st.integers(2, 5))
    frozen = kind == "batchnorm" and data.draw(st.booleans())
    plan = Plan(batch, data.draw(st.integers(1, batch)), frozen_norms=frozen)
    train_both(device(), graph, plan, steps=1)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 11])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("depthwise", [False, True])
def test_the_convolutions_of_real_networks(
    device: OpenDevice, kernel: int, stride: int, depthwise: bool
) -> None:
    width = {"groups": 5} if depthwise else {"channels": 6}
    layers = [
        {"name": "stem", "kind": "conv", "channels": 5, "kernel": 3, "relu": True},
        {"name": "l", "kind": "conv", "kernel": kernel, "stride": stride, **width},
    ]
    train_both(device(), graph_of(layers, (12, 14, 3)), Plan(2, 1), steps=1)


def test_predictions_are_the_largest_logit(device: OpenDevice) -> None:
    layers = [{"name": "c", "kind": "conv", "channels": 5, "kernel": 3}]
    rig, oracle = train_both(device(), graph_of(layers, (5, 5, 2), 9), Plan(6, 4), steps=1)
    rng = np.random.default_rng(1)
    samples = rng.standard_normal((6, 5, 5, 2)).astype(np.float32)
    rig.fill_pool(pack_samples(samples, rig.t))
    expected = oracle.logits(samples).argmax(axis=1)
    _, predicted = rig.step(np.arange(6), np.zeros(6, int))
    np.testing.assert_array_equal(predicted, expected)
