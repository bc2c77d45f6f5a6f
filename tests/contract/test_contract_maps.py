"""Commands on maps without dense weights: average pooling, depthwise, add, concat, dropout."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from contract_rig import F32, Case, Kind, Window, judge, noise
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eftraind.isa import Command, Flag, Op
from eftraind.plan.reshape import pack_depthwise, pack_map, pack_vector

CHANNELS = st.sampled_from([1, 3, 4, 5, 8, 9, 16, 17, 33])
ACTIVATIONS = [Flag.NONE, Flag.RELU, Flag.RELU6, Flag.LEAKY]
BACKWARD = [
    Flag.NONE,
    Flag.MASK,
    Flag.MASK | Flag.RELU6,
    Flag.MASK | Flag.LEAKY,
    Flag.ACCUMULATE,
    Flag.ACCUMULATE | Flag.MASK | Flag.LEAKY,
]
SLOPE = 0.125
ANY = settings(max_examples=25, deadline=None, derandomize=True)


def padding(images: int, channels: int, rows: int, cols: int, t: int) -> Any:
    ones = np.ones((images, channels, rows, cols), dtype=np.float32)
    return pack_map(ones, t).ravel() == 0


def target(rng: np.random.Generator, blank: Any, flags: Flag) -> F32:
    """What dst holds before: anything, but padded lanes are 0 where it is added to."""
    dst = noise(rng, blank.size)
    if flags & Flag.ACCUMULATE:
        dst[blank] = 0
    return dst


def spread(rng: np.random.Generator, t: int, *shape: int) -> F32:
    """A map with values on both sides of 0 and of 6."""
    return pack_map(noise(rng, *shape) * 5 + 2, t)


@st.composite
def windows(draw: st.DrawFn, *, wide_pads: bool = False) -> Window:
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    more = 2 if wide_pads else -1
    channels = draw(CHANNELS)
    window = Window(
        images=draw(st.integers(1, 4)),
        m=channels,
        n=channels,
        rows=draw(st.integers(1, 11)),
        cols=draw(st.integers(1, 21)),
        kernel=kernel,
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        pad=(draw(st.integers(0, kernel[0] + more)), draw(st.integers(0, kernel[1] + more))),
    )
    assume(min(window.out) > 0)
    assume((window.out[0] - 1) * window.stride[0] - window.pad[0] < window.rows)
    assume((window.out[1] - 1) * window.stride[1] - window.pad[1] < window.cols)
    return window


@ANY
@given(window=windows(), excluded=st.booleans(), choice=st.sampled_from(BACKWARD))
def test_average(kind: Kind, window: Window, excluded: bool, choice: Flag) -> None:
    rng, t = np.random.default_rng(window.rows), kind.lanes
    pad = Flag.EXCLUDE_PAD if excluded else Flag.NONE
    blank = window.y_padding(t)
    operands = {"src": window.x(rng, t), "dst": noise(rng, blank.size)}
    found = judge(kind, Case(window.command(Op.AVG_FP, pad, t), operands))["dst"]
    assert not found[blank].any()
    command = replace(window.command(Op.AVG_BP, pad | choice, t), scalar=SLOPE)
    blank = window.x_padding(t)
    operands = {"src": window.y(rng, t), "dst": target(rng, blank, choice)}
    if choice & Flag.MASK:
        operands["aux"] = window.x(rng, t) * 5
    assert not judge(kind, Case(command, operands))["dst"][blank].any()


@pytest.mark.parametrize("flags", BACKWARD, ids=str)
def test_max_pool_backward_rules(kind: Kind, flags: Flag) -> None:
    rng, t = np.random.default_rng(3), kind.lanes
    for window in (
        Window(3, 0, 9, 8, 6, (2, 2), (2, 2)),
        Window(3, 0, 9, 9, 7, (2, 2), (2, 2)),
        Window(2, 0, 5, 9, 8, (3, 3), (2, 2), (1, 1)),
    ):
        blank = window.x_padding(t)
        operands = {
            "src": window.y(rng, t, window.n),
            "aux": window.x(rng, t) * 5,
            "dst": target(rng, blank, flags),
        }
        command = replace(window.command(Op.POOL_BP, flags, t), scalar=SLOPE)
        assert not judge(kind, Case(command, operands))["dst"][blank].any()


def depthwise_weights(rng: np.random.Generator, window: Window, t: int, *, bias: bool) -> F32:
    packed = pack_depthwise(noise(rng, window.m, 1, *window.kernel), t).ravel()
    return np.concatenate([packed, pack_vector(noise(rng, window.m), t)]) if bias else packed


def depthwise(kind: Kind, window: Window, choice: int) -> None:
    rng, t = np.random.default_rng(choice), kind.lanes
    bias = Flag.BIAS if choice % 2 else Flag.NONE
    x, y = window.x(rng, t), window.y(rng, t)
    w = depthwise_weights(rng, window, t, bias=bool(bias))

    def command(op: Op, flags: Flag) -> Command:
        return replace(window.command(op, flags, t), groups=window.m, scalar=SLOPE)

    flags = bias | ACTIVATIONS[choice % 4]
    blank = window.y_padding(t)
    operands = {"src": x, "weights": w, "dst": noise(rng, blank.size)}
    assert not judge(kind, Case(command(Op.CONV_FP, flags), operands))["dst"][blank].any()
    add = Flag.ACCUMULATE if choice % 3 == 0 else Flag.NONE
    operands = {"src": x, "aux": y, "dst": w if add else noise(rng, w.size)}
    judge(kind, Case(command(Op.CONV_WU, bias | add), operands))
    if window.lanes not in (0, t):
        return
    flags = bias | BACKWARD[choice % len(BACKWARD)]
    blank = window.x_padding(t)
    operands = {"src": y, "weights": w, "dst": target(rng, blank, flags)}
    if flags & Flag.MASK:
        operands["aux"] = x * 5
    assert not judge(kind, Case(command(Op.CONV_BP, flags), operands))["dst"][blank].any()


@ANY
@given(window=windows(wide_pads=True), choice=st.integers(0, 11))
def test_depthwise_any_shape(kind: Kind, window: Window, choice: int) -> None:
    assume(window.n > 1)  # one group: a dense convolution
    depthwise(kind, window, choice)


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_listed(kind: Kind, stride: int) -> None:
    for window in (
        Window(3, 40, 40, 16, 28, (3, 3), (stride, stride), (1, 1)),
        Window(2, 9, 9, 13, 40, (5, 5), (stride, stride), (2, 2)),
        Window(2, 3, 3, 9, 12, (3, 3), (stride, stride), (1, 1), 4),
        Window(20, 7, 7, 4, 4, (4, 4)),
    ):
        narrow = replace(window, lanes=0) if window.n > kind.lanes else window
        for choice in (0, 1):
            depthwise(kind, narrow, choice)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("mean", [False, True], ids=["depthwise", "average"])
def test_a_channel_by_itself_keeps_what_is_no_number_to_itself(
    kind: Kind, mean: bool, value: float
) -> None:
    rng, t = np.random.default_rng(7), kind.lanes
    window = Window(2, 3, 3, 6, 7, (3, 3), (2, 2), (1, 1))
    w = depthwise_weights(rng, window, t, bias=False)
    weights = {} if mean else {"weights": w}
    groups = 1 if mean else window.m
    spoilt = 1
    for op, source, target_size in (
        (Op.AVG_FP if mean else Op.CONV_FP, window.x(rng, t), window.y_padding(t).size),
        (Op.AVG_BP if mean else Op.CONV_BP, window.y(rng, t), window.x_padding(t).size),
    ):
        source = source.ravel()
        source[spoilt::t] = value
        operands = {"src": source, **weights, "dst": noise(rng, target_size)}
        command = replace(window.command(op, Flag.NONE, t), groups=groups)
        found = judge(kind, Case(command, operands))["dst"]
        lanes = np.isfinite(found.reshape(-1, t)).all(axis=0)
        assert not lanes[spoilt] and lanes[np.arange(t) != spoilt].all()


def flat(op: Op, flags: Flag, shape: tuple[int, int, int, int], t: int, **more: Any) -> Command:
    images, channels, rows, cols = shape
    sizes = {"rows_in": rows, "cols_in": cols, "rows_out": rows, "cols_out": cols, "lanes": t}
    return Command(op, flags, images=images, **{"m": channels, "n": channels, **sizes, **more})


SHAPES = st.tuples(st.integers(1, 4), CHANNELS, st.integers(1, 9), st.integers(1, 9))


@ANY
@given(shape=SHAPES, choice=st.integers(0, 11))
def test_add_and_pass(kind: Kind, shape: tuple[int, int, int, int], choice: int) -> None:
    rng, t = np.random.default_rng(choice), kind.lanes
    a, b = spread(rng, t, *shape), spread(rng, t, *shape)
    command = flat(Op.ADD_FP, ACTIVATIONS[choice % 4], shape, t, scalar=SLOPE)
    blank = padding(*shape, t)
    operands = {"src": a, "aux": b, "dst": noise(rng, blank.size)}
    assert not judge(kind, Case(command, operands))["dst"][blank].any()
    flags = BACKWARD[choice % len(BACKWARD)]
    operands = {"src": a, "aux": b, "dst": target(rng, blank, flags)}
    command = flat(Op.PASS_BP, flags, shape, t, scalar=SLOPE)
    assert not judge(kind, Case(command, operands))["dst"][blank].any()


@ANY
@given(shape=SHAPES, before=st.integers(0, 20), behind=st.integers(0, 20), choice=st.integers(0, 5))
def test_concat(
    kind: Kind, shape: tuple[int, int, int, int], before: int, behind: int, choice: int
) -> None:
    """Channel offsets that do not divide T included; other pieces' channels stay."""
    rng, t = np.random.default_rng(choice), kind.lanes
    images, n, rows, cols = shape
    whole = (images, before + n + behind, rows, cols)
    more = {"m": whole[1], "axis": before, "scalar": SLOPE}
    blank = padding(*whole, t)
    operands = {"src": spread(rng, t, *shape), "dst": noise(rng, blank.size)}
    command = flat(Op.CONCAT_FP, Flag.NONE, shape, t, **more)
    assert not judge(kind, Case(command, operands))["dst"][blank].any()
    flags, blank = BACKWARD[choice], padding(*shape, t)
    operands = {"src": spread(rng, t, *whole), "dst": target(rng, blank, flags)}
    if flags & Flag.MASK:
        operands["aux"] = spread(rng, t, *shape)
    command = flat(Op.CONCAT_BP, flags, shape, t, **more)
    assert not judge(kind, Case(command, operands))["dst"][blank].any()


@ANY
@given(
    shape=SHAPES,
    seed=st.integers(0, 2**32 - 1),
    layer=st.integers(0, 200),
    first=st.integers(0, 300),
    rate=st.sampled_from([0.0, 0.1, 0.5, 0.9375, 1 - 2**-24]),
)
def test_dropout(
    kind: Kind, shape: tuple[int, int, int, int], seed: int, layer: int, first: int, rate: float
) -> None:
    rng, t = np.random.default_rng(layer), kind.lanes
    word = np.array([seed], dtype=np.uint32)
    blank = padding(*shape, t)
    more = {"layer": layer, "axis": first, "scalar": rate}
    x = spread(rng, t, *shape)
    operands = {"src": x, "aux": word, "dst": noise(rng, blank.size)}
    found = judge(kind, Case(flat(Op.DROP_FP, Flag.NONE, shape, t, **more), operands))["dst"]
    assert not found[blank].any()
    for flags in (Flag.NONE, Flag.MASK | Flag.RELU6, Flag.ACCUMULATE | Flag.MASK):
        operands = {"src": x, "aux": spread(rng, t, *shape), "extra": word}
        operands["dst"] = target(rng, blank, flags)
        found = judge(kind, Case(flat(Op.DROP_BP, flags, shape, t, **more), operands))["dst"]
        assert not found[blank].any()


@pytest.mark.parametrize("flags", [Flag.RELU, Flag.RELU6, Flag.LEAKY], ids=str)
def test_nan_passes_through_activations(kind: Kind, flags: Flag) -> None:
    t = kind.lanes
    x = np.float32([np.nan, -1, 7, np.inf, -np.inf]).reshape(1, 1, 1, 5)
    packed = pack_map(x, t)
    operands = {"src": packed, "aux": np.zeros_like(packed), "dst": packed}
    command = flat(Op.ADD_FP, flags, (1, 1, 1, 5), t, scalar=SLOPE)
    found = judge(kind, Case(command, operands))["dst"].reshape(5, t)[:, 0]
    assert np.isnan(found[0]) and not np.isnan(found[1:]).any()


@pytest.mark.parametrize("flags", [Flag.NONE, Flag.RELU6, Flag.LEAKY], ids=str)
@pytest.mark.parametrize("adds", [Flag.NONE, Flag.ACCUMULATE], ids=str)
def test_a_gradient_that_is_no_number_is_0_where_the_activation_was_flat(
    kind: Kind, flags: Flag, adds: Flag
) -> None:
    t, shape = kind.lanes, (1, 1, 3, 5)
    x = np.tile(np.float32([-1, 0, 3, 6, 7]), (3, 1))
    dy = np.repeat(np.float32([[np.nan], [np.inf], [-np.inf]]), 5, axis=1)
    passes = {Flag.NONE: x > 0, Flag.RELU6: (x > 0) & (x < 6), Flag.LEAKY: x < 9}[flags]
    wanted = np.where(passes, dy, 0) + np.float32(1 if adds else 0)
    operands = {
        "src": pack_map(dy.reshape(shape), t),
        "aux": pack_map(x.reshape(shape), t),
        "dst": pack_map(np.ones(shape, np.float32), t),
    }
    command = flat(Op.PASS_BP, Flag.MASK | flags | adds, shape, t, scalar=SLOPE)
    found = judge(kind, Case(command, operands))["dst"].reshape(3, 5, t)[:, :, 0]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("window", [(2, 2), (3, 2)])
def test_nan_passes_through_max_pooling(kind: Kind, window: tuple[int, int]) -> None:
    t = kind.lanes
    pool = Window(1, 0, 2, 6, 6, window, window)
    x = np.arange(72, dtype=np.float32).reshape(1, 2, 6, 6)
    x[0, 0, 1, 0] = x[0, 0, 0, 3] = x[0, 1, 2, 2] = x[0, 1, 3, 3] = np.nan
    packed = pack_map(x, t)
    out = pack_map(np.zeros((1, 2, *pool.out), np.float32), t)
    found = judge(kind, Case(pool.command(Op.POOL_FP, Flag.NONE, t), {"src": packed, "dst": out}))
    assert 3 <= np.isnan(found["dst"]).sum() <= 4
    dy = pack_map(np.ones((1, 2, *pool.out), np.float32), t)
    operands = {"src": dy, "aux": packed, "dst": np.empty_like(packed)}
    judge(kind, Case(pool.command(Op.POOL_BP, Flag.NONE, t), operands))
