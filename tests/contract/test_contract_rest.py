"""POOL, LOAD, LOSS and COPY: every device computes what the definition says."""

import numpy as np
import pytest
from contract_rig import Case, Kind, Window, judge, noise
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eftraind.isa import Command, Flag, Op
from eftraind.plan.reshape import pack_map, pack_samples, pack_vector
from eftraind.plan.tiles import input_lanes, tiles

POOLS = [
    Window(1, 0, 16, 32, 32, (2, 2), (2, 2)),
    Window(5, 0, 20, 7, 9, (2, 2), (2, 2)),
    Window(3, 0, 5, 9, 8, (3, 3), (2, 2), (1, 1)),
    Window(2, 0, 9, 6, 6, (3, 2), (1, 1)),
    Window(2, 0, 3, 6, 10, (2, 3), (3, 4), (1, 0)),
    Window(2, 0, 3, 8, 8, (8, 8), (8, 8)),
    Window(2, 0, 3, 8, 7, (2, 2), (2, 2), lanes=4),
]


def pooled(kind: Kind, window: Window, rng: np.random.Generator, *, equal: bool) -> None:
    t = kind.lanes
    x = window.x(rng, t)
    if equal:  # of equal maxima the first counts
        x = np.round(x)
    padding = window.y_padding(t, window.n)
    operands = {"src": x, "dst": noise(rng, padding.size)}
    found = judge(kind, Case(window.command(Op.POOL_FP, Flag.NONE, t), operands))["dst"]
    assert not found[padding].any()
    if window.lanes not in (0, t):
        return  # nobody needs the gradient of a network input
    for flags in (Flag.NONE, Flag.MASK):
        dy = window.y(rng, t, window.n)
        operands = {"src": dy, "aux": x, "dst": noise(rng, x.size)}
        found = judge(kind, Case(window.command(Op.POOL_BP, flags, t), operands))["dst"]
        assert not found[window.x_padding(t)].any()


@pytest.mark.parametrize("equal", [False, True])
def test_pool_listed(kind: Kind, equal: bool) -> None:
    rng = np.random.default_rng(2)
    for window in POOLS:
        pooled(kind, window, rng, equal=equal)


@st.composite
def pools(draw: st.DrawFn) -> Window:
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    window = Window(
        images=draw(st.integers(1, 4)),
        m=0,
        n=draw(st.sampled_from([1, 4, 5, 16, 17])),
        rows=draw(st.integers(1, 9)),
        cols=draw(st.integers(1, 9)),
        kernel=kernel,
        stride=(draw(st.integers(1, 4)), draw(st.integers(1, 4))),
        pad=(draw(st.integers(0, kernel[0] - 1)), draw(st.integers(0, kernel[1] - 1))),
    )
    assume(min(window.out) > 0)
    assume((window.out[0] - 1) * window.stride[0] - window.pad[0] < window.rows)
    assume((window.out[1] - 1) * window.stride[1] - window.pad[1] < window.cols)
    return window


@settings(max_examples=25, deadline=None, derandomize=True)
@given(window=pools(), seed=st.integers(0, 99))
def test_pool_any_shape(kind: Kind, window: Window, seed: int) -> None:
    pooled(kind, window, np.random.default_rng(seed), equal=bool(seed % 2))


@pytest.mark.parametrize("channels", [1, 3, 4, 6, 9, 16, 19])
@pytest.mark.parametrize("u8", [True, False])
def test_load_gathers_and_normalises(kind: Kind, channels: int, u8: bool) -> None:
    rng = np.random.default_rng(channels)
    t, images, rows, cols = kind.lanes, 5, 5, 3
    lanes = input_lanes(channels, t)
    samples = rng.integers(0, 256, (7, rows, cols, channels)).astype(np.uint8 if u8 else np.float32)
    scale, shift = noise(rng, channels), noise(rng, channels)
    affine = np.concatenate([pack_vector(v, t, lanes) for v in (scale, shift)])
    # Padded lanes stay 0 whatever scale and shift say there.
    affine[affine == 0] = 5.0
    words = tiles(channels, t) * lanes * rows * cols
    case = Case(
        Command(
            Op.LOAD,
            Flag.U8 if u8 else Flag.NONE,
            images=images,
            n=channels,
            rows_in=rows,
            cols_in=cols,
            lanes=lanes,
        ),
        {
            "src": pack_samples(samples, t),
            "weights": affine,
            "dst": noise(rng, images * words),
            "aux": np.array([3, 0, 6, 3, 1], dtype=np.int32),
        },
    )
    found = judge(kind, case)["dst"]
    plain = samples[[3, 0, 6, 3, 1]].transpose(0, 3, 1, 2) * scale[:, None, None]
    plain = (plain + shift[:, None, None]).astype(np.float32)
    np.testing.assert_allclose(found, pack_map(plain, t, lanes).ravel(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 10, 16, 17, 100])
@pytest.mark.parametrize("images", [1, 8, 9])
def test_loss(kind: Kind, classes: int, images: int) -> None:
    rng = np.random.default_rng(classes)
    t = kind.lanes
    logits = noise(rng, images, classes, 1, 1) * 20
    logits[0] = 0  # all equal: the first class is predicted
    logits[-1, 0] = 1e4  # the exponential alone would overflow
    words = tiles(classes, t) * t
    case = Case(
        Command(Op.LOSS, images=images, m=classes, count=images + 3),
        {
            "src": pack_map(logits, t),
            "dst": noise(rng, images * words),
            "aux": rng.integers(0, classes, images).astype(np.int32),
            "extra": np.zeros(2 * images, dtype=np.float32),
        },
    )
    found = judge(kind, case, ("dst", "extra"))
    padded = found["dst"].reshape(images, words)[:, classes:]
    assert not padded.any()
    predicted = found["extra"][images:].view(np.int32)
    np.testing.assert_array_equal(predicted, logits[:, :, 0, 0].argmax(axis=1))


@pytest.mark.parametrize("count", [1, 15, 4099])
def test_copy(kind: Kind, count: int) -> None:
    rng = np.random.default_rng(count)
    operands = {"src": noise(rng, count), "dst": noise(rng, count)}
    found = judge(kind, Case(Command(Op.COPY, count=count), operands))["dst"]
    np.testing.assert_array_equal(found, operands["src"])
