"""Optimizers, clipping, smoothing and class weights: each device does what the definition says."""

import numpy as np
import pytest
from contract_rig import Case, Kind, hypers, judge, noise

from eftraind.isa import Command, Flag, Op
from eftraind.plan.reshape import pack_map, pack_vector
from eftraind.plan.tiles import tiles

RULES = [Flag.NONE, Flag.NESTEROV, Flag.ADAM]


@pytest.mark.parametrize("rule", RULES, ids=["sgd", "nesterov", "adam"])
@pytest.mark.parametrize("count", [1, 7, 16, 1000])
@pytest.mark.parametrize("clip", [0.0, 0.5, 100.0])
def test_update(kind: Kind, rule: Flag, count: int, clip: float) -> None:
    rng = np.random.default_rng(count)
    distance = (count + 8) // 4 * 4  # moments start at a beat
    second = np.abs(noise(rng, distance + count))
    operands = {
        "src": noise(rng, count),
        "dst": noise(rng, count),
        "extra": second if rule is Flag.ADAM else noise(rng, count),
        "aux": hypers(
            RATE=0.1, MOMENTUM=0.9, DECAY=0.01, CLIP=clip, CORRECTION1=0.271, CORRECTION2=0.003
        ),
    }
    if clip:
        operands["weights"] = np.array([17.5], dtype=np.float32)
    command = Command(Op.UPDATE, rule, count=count, axis=distance if rule is Flag.ADAM else 0)
    judge(kind, Case(command, operands), ("dst", "extra"))


def test_adam_without_epsilon_behind_the_end(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    operands = {name: noise(rng, 5) for name in ("src", "dst")}
    operands |= {"extra": np.ones(13, np.float32), "aux": hypers(RATE=0.1, EPSILON=0.0)}
    judge(kind, Case(Command(Op.UPDATE, Flag.ADAM, count=5, axis=8), operands), ("dst", "extra"))


@pytest.mark.parametrize("count", [1, 31, 1000, 100_003])
@pytest.mark.parametrize("add", [False, True])
def test_norm(kind: Kind, count: int, add: bool) -> None:
    rng = np.random.default_rng(count)
    operands = {"src": noise(rng, count) * 100, "dst": np.array([12.5], dtype=np.float32)}
    flags = Flag.ACCUMULATE if add else Flag.NONE
    found = judge(kind, Case(Command(Op.NORM, flags, count=count), operands))["dst"]
    exact = np.square(operands["src"].astype(np.float64)).sum() + (12.5 if add else 0)
    np.testing.assert_allclose(found[0], exact, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 10, 17])
def test_loss(kind: Kind, smoothing: float, weighted: bool, classes: int) -> None:
    rng, t, images = np.random.default_rng(classes), kind.lanes, 5
    logits = noise(rng, images, classes, 1, 1) * 9
    operands = {
        "src": pack_map(logits, t),
        "dst": noise(rng, images * tiles(classes, t) * t),
        "aux": rng.integers(0, classes, images).astype(np.int32),
        "extra": np.zeros(2 * images, dtype=np.float32),
    }
    if weighted:
        weights = rng.uniform(0, 3, classes).astype(np.float32)
        operands["weights"] = np.append(pack_vector(weights, t), np.float32(7.25))
    command = Command(Op.LOSS, images=images, m=classes, count=6, scalar=smoothing)
    found = judge(kind, Case(command, operands), ("dst", "extra"))
    assert not found["dst"].reshape(images, -1)[:, classes:].any()
