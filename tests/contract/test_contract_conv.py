"""CONV_FP, CONV_BP and CONV_WU: every device computes what the definition says."""

from dataclasses import replace

import numpy as np
import pytest
from contract_rig import (
    Case,
    Kind,
    Window,
    hypers,
    image_of,
    judge,
    noise,
    prepare,
    program_of,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eftraind.isa import Flag, Op, Operand, Slot

LISTED = [
    Window(1, 16, 16, 32, 32, (3, 3), (1, 1), (1, 1)),
    Window(9, 16, 3, 9, 32, (3, 3), (1, 1), (1, 1), 4),
    Window(3, 20, 17, 9, 7, (3, 3), (1, 1), (1, 1)),
    Window(4, 40, 33, 8, 8, (3, 3), (1, 1), (1, 1)),
    # 3 x 3 at stride 1, as cpu transforms it: odd sides, wide, deep, no padding, many images
    Window(1, 40, 70, 17, 13, (3, 3), (1, 1), (1, 1)),
    Window(2, 130, 24, 5, 9, (3, 3), (1, 1), (2, 0)),
    Window(50, 33, 12, 6, 4, (3, 3), (1, 1), (1, 1)),
    Window(2, 6, 1, 28, 28, (5, 5), (1, 1), (2, 2), 4),
    Window(2, 16, 6, 14, 14, (5, 5)),
    Window(2, 5, 9, 13, 11, (7, 7), (1, 1), (3, 3)),
    Window(2, 33, 9, 4, 4, (1, 1)),
    Window(9, 5, 9, 2, 2, (3, 3), (1, 1), (1, 1)),
    Window(2, 5, 9, 13, 11, (3, 5), (2, 2), (1, 2)),
    Window(1, 5, 9, 13, 11, (3, 5), (2, 3), (1, 2)),
    Window(2, 5, 9, 13, 11, (1, 1), (2, 2)),
    Window(2, 5, 3, 23, 23, (11, 11), (4, 4), (5, 5), 4),
    Window(1, 5, 9, 6, 6, (2, 4), (1, 1), (1, 1)),
    Window(2, 3, 2, 3, 3, (3, 3), (1, 1), (2, 2)),
    # fully connected: the kernel spans the map
    Window(1, 10, 64, 4, 4, (4, 4)),
    Window(5, 10, 64, 4, 4, (4, 4)),
    Window(60, 10, 20, 3, 2, (3, 2)),
    Window(7, 84, 120, 1, 1, (1, 1)),
    Window(3, 10, 1, 8, 8, (8, 8), lanes=4),
]


@st.composite
def windows(draw: st.DrawFn) -> Window:
    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    channels = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 33])
    kernel = (3, 3) if draw(st.booleans()) else pair(1, 7)
    window = Window(
        images=draw(st.integers(1, 9)),
        m=draw(channels),
        n=draw(channels),
        rows=draw(st.integers(1, 18)),
        cols=draw(st.integers(1, 35)),
        kernel=kernel,
        stride=draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 2), (3, 1)])),
        pad=(draw(st.integers(0, kernel[0] - 1)), draw(st.integers(0, kernel[1] - 1))),
    )
    assume(min(window.out) > 0)
    # What the device contract asks for: no output row or column wholly outside the input.
    assume((window.out[0] - 1) * window.stride[0] - window.pad[0] < window.rows)
    assume((window.out[1] - 1) * window.stride[1] - window.pad[1] < window.cols)
    return window


def fitted(window: Window, t: int) -> Window:
    """A narrow network input cannot have more lanes than T."""
    return replace(window, lanes=0) if window.n > t or window.lanes >= t else window


def forward(kind: Kind, window: Window, flags: Flag, rng: np.random.Generator) -> None:
    t = kind.lanes
    operands = {
        "src": window.x(rng, t),
        "weights": window.weights(rng, t, bias=bool(flags & Flag.BIAS)),
        "dst": noise(rng, window.y_padding(t).size),
    }
    command = replace(window.command(Op.CONV_FP, flags, t), scalar=SLOPE)
    found = judge(kind, Case(command, operands))["dst"]
    assert not found[window.y_padding(t)].any()


def backward(kind: Kind, window: Window, flags: Flag, rng: np.random.Generator) -> None:
    t = kind.lanes
    window = replace(window, lanes=0)
    operands = {
        "src": window.y(rng, t),
        "weights": window.weights(rng, t, bias=bool(flags & Flag.BIAS)),
        "dst": noise(rng, window.x_padding(t).size),
    }
    if flags & Flag.MASK:
        operands["aux"] = window.x(rng, t) * 5
    if flags & Flag.ACCUMULATE:
        operands["dst"][window.x_padding(t)] = 0
    command = replace(window.command(Op.CONV_BP, flags, t), scalar=SLOPE)
    found = judge(kind, Case(command, operands))["dst"]
    assert not found[window.x_padding(t)].any()
    if flags & ~Flag.BIAS == Flag.MASK:
        assert not found[operands["aux"].ravel() <= 0].any()


def gradient(kind: Kind, window: Window, flags: Flag, rng: np.random.Generator) -> None:
    t, bias = kind.lanes, bool(flags & Flag.BIAS)
    padding = window.weights_padding(t, bias=bias)
    dst = noise(rng, padding.size)
    if flags & Flag.ACCUMULATE:
        dst[padding] = 0
    operands = {"src": window.x(rng, t), "aux": window.y(rng, t), "dst": dst}
    found = judge(kind, Case(window.command(Op.CONV_WU, flags, t), operands))["dst"]
    assert not found[padding].any()


def step(kind: Kind, window: Window, flags: Flag, rng: np.random.Generator) -> None:
    """Weights step by the gradient at once; padding, 0 before, is 0 afterwards."""
    t, bias = kind.lanes, bool(flags & Flag.BIAS)
    padding = window.weights_padding(t, bias=bias)
    state = {name: noise(rng, padding.size) for name in ("dst", "extra")}
    for words in state.values():
        words[padding] = 0
    rates = hypers(RATE=0.1, MOMENTUM=0.9, DECAY=0.01, CLIP=0.5)
    operands = {"src": window.x(rng, t), "aux": window.y(rng, t), "weights": rates, **state}
    case = Case(window.command(Op.CONV_WU, flags | Flag.STEP, t), operands)
    found = judge(kind, case, ("dst", "extra"))
    for name in state:
        assert not found[name][padding].any()


SLOPE = 0.125
PHASES = {"forward": forward, "backward": backward, "gradient": gradient, "step": step}
FLAGS = {
    "forward": [Flag.NONE, Flag.BIAS | Flag.RELU, Flag.BIAS | Flag.RELU6, Flag.LEAKY],
    "backward": [
        Flag.NONE,
        Flag.MASK | Flag.BIAS,
        Flag.ACCUMULATE,
        Flag.MASK | Flag.LEAKY,
        Flag.MASK | Flag.RELU6 | Flag.ACCUMULATE,
    ],
    "gradient": [Flag.NONE, Flag.BIAS, Flag.ACCUMULATE, Flag.ACCUMULATE | Flag.BIAS],
    "step": [Flag.NONE, Flag.BIAS, Flag.NESTEROV, Flag.NESTEROV | Flag.BIAS],
}


@pytest.mark.parametrize("phase", PHASES)
def test_listed_shapes(kind: Kind, phase: str) -> None:
    rng = np.random.default_rng(1)
    for index, window in enumerate(LISTED):
        flags = FLAGS[phase][index % len(FLAGS[phase])]
        PHASES[phase](kind, fitted(window, kind.lanes), flags, rng)


@pytest.mark.parametrize("phase", PHASES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(window=windows(), choice=st.integers(0, 19), seed=st.integers(0, 99))
def test_any_shape(kind: Kind, phase: str, window: Window, choice: int, seed: int) -> None:
    flags = FLAGS[phase][choice % len(FLAGS[phase])]
    PHASES[phase](kind, window, flags, np.random.default_rng(seed))


@pytest.mark.parametrize("phase", PHASES)
def test_zeros_give_zeros(kind: Kind, phase: str) -> None:
    window = Window(2, 5, 6, 7, 9, (3, 3), (1, 1), (1, 1))
    t = kind.lanes
    x, y = (
        np.zeros_like(window.x_padding(t), np.float32),
        np.zeros_like(window.y_padding(t), np.float32),
    )
    w = np.zeros(window.weights_padding(t, bias=True).size, np.float32)
    operands = {
        "forward": {"src": x, "weights": w, "dst": y + 1},
        "backward": {"src": y, "weights": w, "dst": x + 1},
        "gradient": {"src": x, "aux": y, "dst": w + 1},
        "step": {"src": x, "aux": y, "dst": w, "extra": w, "weights": hypers(RATE=0.1)},
    }[phase]
    op = {"forward": Op.CONV_FP, "backward": Op.CONV_BP}.get(phase, Op.CONV_WU)
    flags = Flag.BIAS | Flag.STEP if phase == "step" else Flag.BIAS
    found = judge(kind, Case(window.command(op, flags, t), operands))["dst"]
    assert not found.any()


@pytest.mark.parametrize("rule", [Flag.NONE, Flag.NESTEROV], ids=["sgd", "nesterov"])
@pytest.mark.parametrize("window", [LISTED[2], LISTED[6], LISTED[7], LISTED[19]])
def test_a_step_is_a_gradient_and_an_update(kind: Kind, rule: Flag, window: Window) -> None:
    """Bit for bit, on every device."""
    rng, t = np.random.default_rng(5), kind.lanes
    window = fitted(window, t)
    operands = {
        "src": window.x(rng, t),
        "aux": window.y(rng, t),
        "dst": noise(rng, window.weights_padding(t, bias=True).size),
        "extra": noise(rng, window.weights_padding(t, bias=True).size),
        "weights": hypers(RATE=0.1, MOMENTUM=0.9, DECAY=0.01),
    }
    fused = Case(window.command(Op.CONV_WU, Flag.BIAS | Flag.STEP | rule, t), operands).placed()
    gradient = Operand(Slot.GRADS, 8)
    apart = [
        replace(fused, flags=Flag.BIAS, dst=gradient, extra=Operand(), weights=Operand()),
        replace(fused, op=Op.UPDATE, flags=rule, count=operands["dst"].size, src=gradient),
    ]
    apart[1] = replace(apart[1], aux=fused.weights, weights=Operand())
    found = []
    for commands in ([fused], apart):
        device = kind.open()
        prepare(device, Case(fused, operands))
        device.bind(Slot.GRADS, device.allocate(operands["dst"].size + 8))
        device.run(device.load(program_of(commands, t)), 0, len(commands))
        found.append(image_of(device, Case(fused, operands)))
        device.close()
    for name in operands:
        np.testing.assert_array_equal(*(image[name] for image in found), err_msg=name)
