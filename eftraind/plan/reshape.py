"""The tiled memory image: bijections between plain arrays and device layout. Decides nothing.

Maps:     image -> channel tile -> row -> column -> T channel lanes (EF-Train section 4; the last
          tile is padded).
Weights:  output tile -> input tile -> kernel row -> kernel column -> input lane -> T output lanes;
          one copy serves FP, BP and WU. A bias follows its weights, one lane an output channel.
Samples:  as maps, with `input_lanes` lanes; uint8 samples pack four lanes in a word.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from eftraind.plan.tiles import input_lanes, tiles

F32 = npt.NDArray[np.float32]


def pack_map(x: npt.NDArray[Any], t: int, lanes: int | None = None) -> npt.NDArray[Any]:
    """[images, channels, rows, cols] -> [images, tiles, rows, cols, lanes], same dtype.

    >>> pack_map(np.arange(6).reshape(1, 3, 1, 2), t=4).tolist()
    [[[[[0, 2, 4, 0], [1, 3, 5, 0]]]]]
    """
    images, channels, rows, cols = x.shape
    lanes = t if lanes is None else lanes
    count = tiles(channels, t)
    out = np.zeros((images, count * lanes, rows, cols), dtype=x.dtype)
    out[:, :channels] = x
    return np.ascontiguousarray(
        out.reshape(images, count, lanes, rows, cols).transpose(0, 1, 3, 4, 2)
    )


def unpack_map(packed: npt.NDArray[Any], channels: int) -> npt.NDArray[Any]:
    """[images, tiles, rows, cols, lanes] -> [images, channels, rows, cols]: undoes `pack_map`."""
    images, count, rows, cols, lanes = packed.shape
    x = packed.transpose(0, 1, 4, 2, 3).reshape(images, count * lanes, rows, cols)
    return np.ascontiguousarray(x[:, :channels])


def pack_weights(w: F32, t: int, lanes: int) -> F32:
    """[m, n, kernel rows, kernel cols] -> [m tiles, n tiles, kernel rows, kernel cols, lanes, T].

    >>> w = np.arange(2, dtype=np.float32).reshape(2, 1, 1, 1)
    >>> pack_weights(w, t=2, lanes=2).ravel().tolist()
    [0.0, 1.0, 0.0, 0.0]
    """
    m, n, kr, kc = w.shape
    mt, nt = tiles(m, t), tiles(n, t)
    out = np.zeros((mt * t, nt * lanes, kr, kc), dtype=np.float32)
    out[:m, :n] = w
    blocks = out.reshape(mt, t, nt, lanes, kr, kc)
    return np.ascontiguousarray(blocks.transpose(0, 2, 4, 5, 3, 1))


def unpack_weights(packed: F32, m: int, n: int) -> F32:
    """The inverse of `pack_weights`."""
    mt, nt, kr, kc, lanes, t = packed.shape
    w = packed.transpose(0, 5, 1, 4, 2, 3).reshape(mt * t, nt * lanes, kr, kc)
    return np.ascontiguousarray(w[:m, :n])


def pack_vector(v: F32, t: int, lanes: int | None = None) -> F32:
    """[channels] -> [tiles * lanes], zero padded: a bias, a scale, a shift."""
    lanes = t if lanes is None else lanes
    out = np.zeros(tiles(len(v), t) * lanes, dtype=np.float32)
    out[: len(v)] = v
    return out


def pack_samples(x: npt.NDArray[Any], t: int) -> npt.NDArray[np.uint32]:
    """[count, rows, cols, channels] uint8 or float32 -> [count, sample words].

    >>> hex(pack_samples(np.array([[[[1, 2, 3]]]], dtype=np.uint8), t=16)[0, 0])
    '0x30201'
    """
    count, rows, cols, channels = x.shape
    lanes = input_lanes(channels, t)
    if channels <= t:
        packed = np.zeros((count, rows, cols, lanes), dtype=x.dtype)
        packed[..., :channels] = x
    else:
        packed = pack_map(x.transpose(0, 3, 1, 2), t, lanes)
    return packed.reshape(count, -1).view(np.uint32)


def pack_depthwise(w: F32, t: int) -> F32:
    """[channels, 1, kernel rows, kernel cols] -> [tiles, kernel rows, kernel cols, T]."""
    m, _, kr, kc = w.shape
    out = np.zeros((tiles(m, t) * t, kr, kc), dtype=np.float32)
    out[:m] = w[:, 0]
    return np.ascontiguousarray(out.reshape(-1, t, kr, kc).transpose(0, 2, 3, 1))


def unpack_depthwise(packed: F32, m: int) -> F32:
    """The inverse of `pack_depthwise`."""
    count, kr, kc, t = packed.shape
    w = packed.transpose(0, 3, 1, 2).reshape(count * t, 1, kr, kc)
    return np.ascontiguousarray(w[:m])
