"""NaN or Inf stops the step and names the layer, wherever it arises; serving weights stay."""

import numpy as np
import pytest
from enginerig import whole_device

from eftraind import graph_build, params
from eftraind.accel import open_device
from eftraind.engine.offline import Course
from eftraind.errors import NonFiniteError
from eftraind.isa import Hyper, Slot
from eftraind.plan.lower import Plan

HEAD = {"name": "first", "kind": "conv", "channels": 6, "kernel": 3}
OUT = {"name": "out", "kind": "linear", "channels": 3}
SAME = {"name": "m", "kind": "maxpool", "window": 1}
HUGE = 3e38
KINDS = {
    "conv": [HEAD, {"name": "x", "kind": "conv", "channels": 5, "kernel": 3}],
    "strided": [HEAD, {"name": "x", "kind": "conv", "channels": 5, "kernel": 3, "stride": 2}],
    "depthwise": [HEAD, {"name": "x", "kind": "conv", "groups": 6, "kernel": 3}],
    "linear": [HEAD, {"name": "x", "kind": "linear", "channels": 7}],
    "batchnorm": [HEAD, {"name": "x", "kind": "batchnorm"}],
}


@pytest.fixture(params=["reference", "cpu"])
def kind(request):
    """Devices that have every operation."""
    return whole_device(request.param)


FUSED = {"batch": 4, "chunk": 4, "fuse": True}


def course(kind, layers, start=None, **plan):
    graph = graph_build.from_mapping(
        {
            "name": "t",
            "input": {"shape": [6, 6, 2], "dtype": "float32"},
            "classes": 3,
            "layers": [*layers, OUT],
        }
    )
    device, rng = open_device(kind, 1), np.random.default_rng(0)
    plan = Plan(**{"batch": 4, "chunk": 2, **plan})
    weights = params.initial(graph, rng) | (start or {})
    x = rng.standard_normal((8, 6, 6, 2)).astype(np.float32)
    return Course(
        device, graph, plan, x, np.arange(8) % 3,
        start=weights, rates={Hyper.RATE: 0.01}, rng=rng,
    )  # fmt: skip


def failure(made):
    with pytest.raises(NonFiniteError) as caught:
        made.step(np.arange(4))
    assert "training step 1" in str(caught.value) and caught.value.remedy
    return caught.value.message


@pytest.mark.parametrize("name", KINDS)
def test_a_layer_that_overflows_is_named(kind, name):
    graph = course(kind, KINDS[name])._executor.graph
    shape = params.shapes(graph)["x.weight"]
    weight = np.full(shape, HUGE, np.float32)
    assert "layer x (" in failure(course(kind, KINDS[name], {"x.weight": weight}))


@pytest.mark.parametrize(
    "layers",
    [
        [{"name": "l", "kind": "maxpool", "window": 2}],
        [{"name": "l", "kind": "avgpool", "window": 2}],
        [{"name": "l", "kind": "globalpool"}],
        [{"name": "l", "kind": "dropout", "rate": 0.5}],
        [{"name": "l", "kind": "batchnorm"}],
        [SAME, {"name": "l", "kind": "add", "from": ["x", "m"]}],
        [SAME, {"name": "l", "kind": "concat", "from": ["x", "m"]}],
    ],
    ids=lambda layers: layers[-1]["kind"],
)
def test_what_comes_behind_is_not_blamed(kind, layers):
    head = [HEAD, KINDS["conv"][1]]
    weight = np.full((5, 6, 3, 3), HUGE, np.float32)
    assert "layer x (CONV_FP)" in failure(course(kind, [*head, *layers], {"x.weight": weight}))


@pytest.mark.parametrize("plan", [{}, FUSED], ids=["apart", "fused"])
def test_a_gradient_that_overflows_is_named(kind, plan):
    """Going forward all is finite: first gives zeros, and out's weights are huge."""
    dead = {"first.weight": np.zeros((6, 2, 3, 3), np.float32)}
    out = {"out.weight": np.full((3, 6 * 36), HUGE, np.float32) * [[1], [-1], [1]]}
    out["out.weight"] = out["out.weight"].astype(np.float32)
    assert "(CONV_" in failure(course(kind, [HEAD], dead | out, **plan))


def test_an_update_that_leaps_names_a_layer(kind):
    made = course(kind, [HEAD])
    made.set_rates({Hyper.RATE: 3e38, Hyper.DECAY: 3e38})
    assert "the update of layer" in failure(made)


def test_a_step_that_leaps_names_its_layer(kind):
    made = course(kind, [HEAD], **FUSED)
    made.set_rates({Hyper.RATE: 3e38, Hyper.DECAY: 3e38})
    assert "layer out (CONV_WU)" in failure(made)
    weights = made._executor.read_bank(Slot.LEARNER)
    assert all(np.isfinite(tensor).all() for tensor in weights.values())


def test_frozen_norms_pass_it_on(kind):
    """They gather no statistics that would show it; the loss does."""
    weight = np.full((6, 2, 3, 3), HUGE, np.float32)
    layers = [HEAD, {"name": "x", "kind": "batchnorm"}]
    assert "layer first" in failure(
        course(kind, layers, {"first.weight": weight}, frozen_norms=True)
    )


def test_training_goes_on_after_a_failed_step(kind):
    made = course(kind, [HEAD], {"first.weight": np.full((6, 2, 3, 3), HUGE, np.float32)})
    failure(made)
    good = params.initial(made._executor.graph, np.random.default_rng(1))
    made._executor.write_bank(Slot.LEARNER, good)
    made._executor.clear_momentum()
    loss, _ = made.step(np.arange(4))
    assert np.isfinite(loss)
