"""Batch normalisation and bias gradients: every device computes what the definition says."""

from typing import Any

import numpy as np
import pytest
from contract_rig import F32, Case, Kind, judge, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from test_contract_maps import ACTIVATIONS, BACKWARD, SHAPES, SLOPE, flat, padding, spread, target

from eftraind.isa import Flag, Op
from eftraind.plan.reshape import pack_map, pack_vector

Shape = tuple[int, int, int, int]
ANY = settings(max_examples=25, deadline=None, derandomize=True)
EPSILON = 1e-5


def vectors(rng: np.random.Generator, t: int, channels: int, count: int) -> F32:
    """Positive, as deviations are."""
    values = rng.uniform(0.5, 2.0, (count, channels)).astype(np.float32)
    return np.concatenate([pack_vector(value, t) for value in values])


def statistics(kind: Kind, plain: F32, flags: Flag, *, running: bool, share: float = 0.25) -> Any:
    t, rng = kind.lanes, np.random.default_rng(1)
    shape: Shape = plain.shape
    operands = {
        "src": pack_map(plain, t),
        "extra": noise(rng, 2 * vectors(rng, t, shape[1], 1).size),
    }
    if running or flags & Flag.FROZEN:
        operands["dst"] = vectors(rng, t, shape[1], 2)
        operands["aux"] = np.array([share], dtype=np.float32)
    written = tuple(operands.keys() & {"dst", "extra"})
    command = flat(Op.BN_STAT, flags, shape, t, scalar=EPSILON)
    return judge(kind, Case(command, operands), written)


@ANY
@given(shape=SHAPES, running=st.booleans(), frozen=st.booleans())
def test_statistics(kind: Kind, shape: Shape, running: bool, frozen: bool) -> None:
    plain = noise(np.random.default_rng(shape[2]), *shape) * 3 + 1
    statistics(kind, plain, Flag.FROZEN if frozen else Flag.NONE, running=running)


@pytest.mark.parametrize("images", [1, 5])
def test_statistics_of_large_maps(kind: Kind, images: int) -> None:
    plain = noise(np.random.default_rng(images), images, 17, 70, 71)
    statistics(kind, plain, Flag.NONE, running=True)


@pytest.mark.parametrize("mean", [1e4, 1e6])
def test_a_small_spread_around_a_large_mean_survives(kind: Kind, mean: float) -> None:
    rng, t = np.random.default_rng(2), kind.lanes
    plain = (rng.integers(-2, 3, (3, 5, 20, 30)) + mean).astype(np.float32)
    found = statistics(kind, plain, Flag.NONE, running=False)["extra"].reshape(2, -1)[:, :5]
    exact = plain.astype(np.float64)
    np.testing.assert_allclose(found[0], exact.mean(axis=(0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(found[1], (exact.var(axis=(0, 2, 3)) + EPSILON) ** -0.5, rtol=1e-5)
    assert t == kind.lanes


@ANY
@given(shape=SHAPES, choice=st.integers(0, 3))
def test_forward(kind: Kind, shape: Shape, choice: int) -> None:
    rng, t = np.random.default_rng(choice), kind.lanes
    blank = padding(*shape, t)
    operands = {
        "src": spread(rng, t, *shape),
        "weights": vectors(rng, t, shape[1], 2) * -1.5,
        "aux": vectors(rng, t, shape[1], 2),
        "dst": noise(rng, blank.size),
    }
    command = flat(Op.BN_FP, ACTIVATIONS[choice], shape, t, scalar=SLOPE)
    assert not judge(kind, Case(command, operands))["dst"][blank].any()


@ANY
@given(shape=SHAPES, named=st.booleans(), add=st.booleans())
def test_sums(kind: Kind, shape: Shape, named: bool, add: bool) -> None:
    rng, t = np.random.default_rng(shape[0]), kind.lanes
    operands = {
        "src": spread(rng, t, *shape),
        "aux": spread(rng, t, *shape),
        "extra": vectors(rng, t, shape[1], 4),
    }
    if named:
        operands["dst"] = vectors(rng, t, shape[1], 2)
    command = flat(Op.BN_SUM, Flag.ACCUMULATE if add else Flag.NONE, shape, t)
    judge(kind, Case(command, operands), ("dst", "extra") if named else ("extra",))


@ANY
@given(shape=SHAPES, frozen=st.booleans(), choice=st.integers(0, 5))
def test_backward(kind: Kind, shape: Shape, frozen: bool, choice: int) -> None:
    rng, t = np.random.default_rng(choice), kind.lanes
    flags, blank = BACKWARD[choice], padding(*shape, t)
    operands = {
        "src": spread(rng, t, *shape),
        "weights": vectors(rng, t, shape[1], 2),
        "aux": spread(rng, t, *shape),
        "extra": vectors(rng, t, shape[1], 4),
        "dst": target(rng, blank, flags),
    }
    flags |= Flag.FROZEN if frozen else Flag.NONE
    command = flat(Op.BN_BP, flags, shape, t, scalar=SLOPE, count=3 * shape[0])
    assert not judge(kind, Case(command, operands))["dst"][blank].any()


@ANY
@given(shape=SHAPES, add=st.booleans())
def test_bias_gradient(kind: Kind, shape: Shape, add: bool) -> None:
    rng, t = np.random.default_rng(shape[0]), kind.lanes
    operands = {"src": spread(rng, t, *shape), "dst": vectors(rng, t, shape[1], 1)}
    flags = Flag.ACCUMULATE if add else Flag.NONE
    judge(kind, Case(flat(Op.BIAS_WU, flags, shape, t), operands))
