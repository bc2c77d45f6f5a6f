"""Rounding of csim's convolutions stays within what follows from their order of additions.

A result that is the end of a chain of d roundings differs from the exact one by at most d units of
2^-24 of the sum of the terms' magnitudes (Higham 2002, chapter 3, to first order).
"""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from eftraind.accel import kernel
from eftraind.accel.csim import CsimDevice
from eftraind.isa import Flag, Op
from eftraind.plan.reshape import pack_map, pack_weights, unpack_map, unpack_weights
from eftraind.plan.tiles import tiles

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from contract_rig import GUARD_WORDS, Case, Window, noise, run

UNIT = 2.0**-24
SHAPES = [
    Window(2, 20, 33, 9, 11, (3, 3), (1, 1), (1, 1)),
    Window(3, 9, 40, 14, 14, (5, 3), (2, 2), (2, 1)),
    Window(8, 16, 16, 32, 32, (3, 3), (1, 1), (1, 1)),
    Window(4, 30, 100, 1, 1, (1, 1)),
]


def exact(window: Window, x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    """y, dx, dw in double precision."""
    inputs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (x, w)]
    y = torch.nn.functional.conv2d(*inputs, None, window.stride, window.pad)
    y.backward(torch.tensor(dy, dtype=torch.float64))
    return [y.detach().numpy(), *(v.grad.numpy() for v in inputs)]


def inside(device: CsimDevice, case: Case) -> np.ndarray:
    return run(device, case)["dst"][GUARD_WORDS:-GUARD_WORDS].view(np.float32)


def found(
    window: Window, device: CsimDevice, x: np.ndarray, w: np.ndarray, dy: np.ndarray
) -> list[np.ndarray]:
    """The same by csim."""
    t = device.sizes.lanes
    px, pw, pdy = pack_map(x, t), pack_weights(w, t, t), pack_map(dy, t)
    operands = [
        (Op.CONV_FP, {"src": px, "weights": pw.ravel(), "dst": pdy * 0}),
        (Op.CONV_BP, {"src": pdy, "weights": pw.ravel(), "dst": px * 0}),
        (Op.CONV_WU, {"src": px, "aux": pdy, "dst": pw.ravel() * 0}),
    ]
    y, dx, dw = (
        inside(device, Case(window.command(op, Flag.NONE, t), places)) for op, places in operands
    )
    return [
        unpack_map(y.reshape(pdy.shape), window.m),
        unpack_map(dx.reshape(px.shape), window.n),
        unpack_weights(dw.reshape(pw.shape), window.m, window.n),
    ]


def stay_within_the_bound(window: Window, device: CsimDevice) -> None:
    sizes, rng = device.sizes, np.random.default_rng(0)
    x = noise(rng, window.images, window.n, window.rows, window.cols)
    w = noise(rng, window.m, window.n, *window.kernel)
    dy = noise(rng, window.images, window.m, *window.out)
    taps = window.kernel[0] * window.kernel[1]
    partials = 1
    while partials * taps < sizes.revisit:
        partials *= 2
    words = window.images * window.out[0] * math.ceil(window.out[1] / sizes.pixels)
    # FP, BP: a product, a tree over the lanes, one addition a tap and channel tile. Gradients: a
    # product, a tree over pixels, one addition a word of a partial sum, one more a tile (none need
    # divide), a tree.
    tiles_cut = window.images * window.out[0]
    pixels = math.ceil(math.log2(sizes.pixels))
    depths = [
        1 + math.log2(sizes.lanes) + taps * tiles(window.n, sizes.lanes),
        1 + math.log2(sizes.lanes) + taps * tiles(window.m, sizes.lanes),
        1 + pixels + math.ceil(words / partials) + tiles_cut + math.log2(partials),
    ]
    magnitudes = exact(window, abs(x), abs(w), abs(dy))
    results = zip(
        found(window, device, x, w, dy), exact(window, x, w, dy), magnitudes, depths, strict=True
    )
    for have, want, magnitude, depth in results:
        assert (abs(have - want) <= 1.01 * depth * UNIT * magnitude).all()


@pytest.mark.parametrize("window", SHAPES, ids=lambda w: f"{w.n}x{w.rows}x{w.cols}-{w.m}")
@pytest.mark.parametrize("t", kernel.SIZES)
def test_rounding_stays_within_the_bound(t: int, window: Window) -> None:
    device = CsimDevice(t, memory_bytes=1 << 26)
    stay_within_the_bound(window, device)
    device.close()


@pytest.mark.parametrize("window", SHAPES, ids=lambda w: f"{w.n}x{w.rows}x{w.cols}-{w.m}")
def test_rounding_of_several_pixels_does_too(window: Window, wide: Path) -> None:
    device = CsimDevice(8, memory_bytes=1 << 26, library=wide)
    stay_within_the_bound(window, device)
    device.close()
