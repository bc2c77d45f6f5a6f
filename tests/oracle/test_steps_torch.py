"""Whole training steps of small networks: every device does what PyTorch does."""

from dataclasses import replace

import numpy as np
import oracle_rig
import pytest
from oracle_rig import GENTLE, Data, OpenDevice, Rig, graph_of, random_params, train_both

from eftraind.errors import NonFiniteError
from eftraind.isa import Hyper, Op
from eftraind.plan.lower import Plan
from eftraind.plan.reshape import pack_samples

PLAIN = [
    {"name": "c1", "kind": "conv", "channels": 5, "kernel": 3, "stride": 2, "relu": True},
    {"name": "c2", "kind": "conv", "channels": 6, "kernel": [3, 1], "activation": "relu6"},
    {"name": "p", "kind": "maxpool", "window": 2},
]
RESIDUAL = [
    {"name": "stem", "kind": "conv", "channels": 6, "kernel": 3, "bias": False},
    {"name": "n0", "kind": "batchnorm", "relu": True},
    {"name": "c1", "kind": "conv", "channels": 6, "kernel": 3, "bias": False},
    {"name": "n1", "kind": "batchnorm", "activation": "leaky", "slope": 0.1},
    {"name": "c2", "kind": "conv", "channels": 6, "kernel": 3, "bias": False},
    {"name": "n2", "kind": "batchnorm"},
    {"name": "sum", "kind": "add", "from": ["n2", "n0"], "relu": True},
    {"name": "dw", "kind": "conv", "groups": 6, "kernel": 3, "stride": 2, "bias": False},
    {"name": "n3", "kind": "batchnorm", "activation": "relu6"},
    {"name": "gap", "kind": "globalpool"},
]
BRANCHES = [
    {"name": "stem", "kind": "conv", "channels": 5, "kernel": 3, "padding": [0, 1, 1, 0],
     "activation": "leaky", "slope": 0.2},
    {"name": "a", "kind": "conv", "channels": 3, "kernel": 1, "relu": True},
    {"name": "b", "kind": "conv", "channels": 18, "kernel": 3, "from": "stem", "relu": True},
    {"name": "pa", "kind": "avgpool", "window": 3, "stride": 1, "padding": 1, "from": "stem",
     "count_padding": False},
    {"name": "cat", "kind": "concat", "from": ["a", "b", "pa", "stem"]},
    {"name": "drop", "kind": "dropout", "rate": 0.3},
    {"name": "down", "kind": "conv", "channels": 7, "kernel": 5, "stride": 4, "relu": True},
]  # fmt: skip
GRAPHS = {
    "plain": graph_of(PLAIN, (9, 7, 3)),
    "residual": graph_of(RESIDUAL, (6, 5, 3)),
    "branches": graph_of(BRANCHES, (9, 6, 2)),
}
ADAM = {Hyper.RATE: 0.01, Hyper.MOMENTUM: 0.9, Hyper.DECAY: 0.01, Hyper.EPSILON: 1e-4}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("chunk", [1, 3, 4, 7])
def test_sgd_in_chunks_of_any_size(device: OpenDevice, name: str, chunk: int) -> None:
    train_both(device(), GRAPHS[name], Plan(7, chunk), steps=3)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({"optimizer": "nesterov"}, GENTLE),
        ({"optimizer": "adam"}, ADAM),
        ({"clip": True}, {**GENTLE, Hyper.CLIP: 0.3}),
        ({"clip": True}, {**GENTLE, Hyper.CLIP: 1e6}),
        ({"clip": True, "optimizer": "adam", "smoothing": 0.1}, {**ADAM, Hyper.CLIP: 0.3}),
        ({"smoothing": 0.2}, {**GENTLE, Hyper.BN_SHARE: 0.5}),
        ({"frozen_norms": True}, GENTLE),
        ({"keep_norms": True}, GENTLE),
    ],
    ids=[
        "nesterov",
        "adam",
        "clipped",
        "unclipped",
        "adam-clip-smooth",
        "smooth",
        "frozen-norms",
        "kept-norms",
    ],
)
def test_variants(device: OpenDevice, name: str, changes: dict, rates: oracle_rig.Rates) -> None:
    train_both(device(), GRAPHS[name], replace(Plan(6, 4), **changes), steps=4, rates=rates)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("optimizer", ["sgd", "nesterov"])
def test_weights_that_step_with_their_gradient(
    device: OpenDevice, name: str, optimizer: str
) -> None:
    plan = Plan(6, 6, optimizer=optimizer, fuse=True)
    train_both(device(), GRAPHS[name], plan, steps=4, rates=GENTLE)


@pytest.mark.parametrize("part", ["from-dw", "norms-and-biases", "one-branch", "one-weight"])
def test_parts_that_step_with_their_gradient(device: OpenDevice, part: str) -> None:
    name, trainable = PARTS[part]
    train_both(device(), GRAPHS[name], Plan(5, 5, frozenset(trainable), fuse=True), steps=3)


@pytest.mark.parametrize("smoothing", [0.0, 0.15])
def test_class_weights(device: OpenDevice, smoothing: float) -> None:
    weights = np.array([0.2, 1.0, 3.5], np.float32)
    plan = Plan(6, 4, smoothing=smoothing, class_weights=True)
    train_both(device(), GRAPHS["plain"], plan, steps=3, class_weights=weights)


PARTS = {
    "last": ("residual", {"head.weight", "head.bias"}),
    "from-dw": ("residual", {"dw.weight", "n3.weight", "n3.bias", "head.weight", "head.bias"}),
    "norms": ("residual", {f"n{i}.{part}" for i in range(4) for part in ("weight", "bias")}),
    "norms-and-biases": ("residual", {"n1.weight", "n1.bias", "n3.bias", "head.bias"}),
    "biases": ("branches", {f"{n}.bias" for n in ("stem", "a", "b", "down", "head")}),
    "one-branch": ("branches", {"b.weight", "b.bias"}),
    "one-weight": ("branches", {"a.weight"}),
    "first": ("plain", {"c1.weight"}),
}


@pytest.mark.parametrize("frozen_norms", [False, True])
@pytest.mark.parametrize("part", PARTS)
def test_partial_training(device: OpenDevice, part: str, frozen_norms: bool) -> None:
    name, trainable = PARTS[part]
    plan = Plan(5, 3, frozenset(trainable), frozen_norms, clip=True)
    train_both(device(), GRAPHS[name], plan, steps=3, rates={**GENTLE, Hyper.CLIP: 0.5})


def test_backward_stops_at_the_first_trainable_layer(device: OpenDevice) -> None:
    graph = GRAPHS["residual"]
    plan = Plan(4, 2, frozenset({"dw.weight", "head.weight"}))
    commands = Rig(device(), graph, plan).program.commands
    first = [layer.name for layer in graph.layers].index("dw")
    backward = {Op.CONV_BP, Op.CONV_WU, Op.BN_BP, Op.BN_SUM, Op.PASS_BP, Op.AVG_BP}
    assert min(c.layer for c in commands if c.op in backward) == first
    assert all(c.layer > first for c in commands if c.op is Op.CONV_BP)


@pytest.mark.parametrize(
    ("name", "cut", "frozen_norms"),
    [
        ("plain", "c1", False),
        ("plain", "p", False),
        ("residual", "sum", True),
        ("residual", "n3", True),
        ("branches", "cat", False),
    ],
)
def test_latent_replay_is_plain_training_behind_the_cut(
    device: OpenDevice, name: str, cut: str, frozen_norms: bool
) -> None:
    graph = GRAPHS[name]
    index = [layer.name for layer in graph.layers].index(cut)
    rng = np.random.default_rng(5)
    params, data = random_params(graph, rng), Data.of(graph, 12, rng)
    behind = tuple(f"{layer.name}." for layer in graph.layers[index + 1 :])
    trainable = frozenset(n for n in params if n.startswith(behind) and "running" not in n)
    plan = Plan(7, 3, trainable, frozen_norms)
    rigs = [Rig(device(), graph, plan), Rig(device(), graph, replace(plan, cut=index))]
    rows = [pack_samples(data.samples, rigs[0].t)]
    for rig in rigs:
        rig.set_params(params)
        rig.set_rates({**oracle_rig.DEFAULTS, **GENTLE})
    rows.append(rigs[1].latents(data.samples, 5, index))
    for rig, pool in zip(rigs, rows, strict=True):
        rig.fill_pool(pool)
    for seed in range(3):
        picked = rng.choice(12, 7, replace=False)
        for rig in rigs:
            rig.set_seed(seed)
        outcomes = [rig.step(picked, data.labels[picked]) for rig in rigs]
        np.testing.assert_allclose(outcomes[1][0], outcomes[0][0], rtol=1e-5, atol=1e-6)
    oracle_rig.close(rigs[1].params(), rigs[0].params(), 1e-6)


def test_dropout_s_mask_does_not_depend_on_the_chunk(device: OpenDevice) -> None:
    found = []
    for chunk in (1, 4, 6):
        rig, _ = train_both(device(), GRAPHS["branches"], Plan(6, chunk), steps=2)
        found.append(rig.params())
    oracle_rig.close(found[1], found[0], 1e-5)
    oracle_rig.close(found[2], found[0], 1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", GRAPHS)
def test_what_is_not_finite_stops_the_step_and_touches_no_weight(
    device: OpenDevice, name: str, value: float
) -> None:
    graph = GRAPHS[name]
    rng = np.random.default_rng(3)
    params, data = random_params(graph, rng), Data.of(graph, 4, rng)
    rig = Rig(device(), graph, Plan(4, 2))
    rig.set_params(params)
    rig.set_rates({**oracle_rig.DEFAULTS, **GENTLE})
    data.samples[2, 4, 3, 1] = value
    rig.fill_pool(pack_samples(data.samples, rig.t))
    with pytest.raises(NonFiniteError, match="layer"):
        rig.step(np.arange(4), data.labels)
    for tensor, found in rig.params().items():
        np.testing.assert_array_equal(found, params[tensor])


def test_exploding_gradients_stop_at_the_norm(device: OpenDevice) -> None:
    graph = GRAPHS["plain"]
    rng = np.random.default_rng(3)
    params, data = random_params(graph, rng), Data.of(graph, 4, rng)
    params["head.weight"] *= np.float32(1e21)
    rig = Rig(device(), graph, Plan(4, 2, clip=True))
    rig.set_params(params)
    rig.set_rates({**oracle_rig.DEFAULTS, **GENTLE, Hyper.CLIP: 1.0})
    rig.fill_pool(pack_samples(data.samples, rig.t))
    with pytest.raises(NonFiniteError, match="NORM"):
        rig.step(np.arange(4), data.labels)
    for tensor, found in rig.params().items():
        np.testing.assert_array_equal(found, params[tensor])
