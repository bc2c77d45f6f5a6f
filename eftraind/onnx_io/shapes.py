"""Geometry of windows, and the little arithmetic on shapes that exporters leave in a graph.

`x.view(x.size(0), -1)` with a dynamic batch becomes Shape, Gather, Unsqueeze, Concat, Reshape:
all but the last are worked out here, with a symbol for the batch.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from eftraind.graph import Shape
from eftraind.onnx_io.draft import BATCH, Constant, Map
from eftraind.onnx_io.reading import Array, Node, shown

Sides = tuple[int, int, int, int]
Pair = tuple[int, int]
MAX_ELEMENTS = 64
INT64 = 7


def dims(value: Map) -> Array:
    """Sizes as ONNX sees them."""
    sizes = [*value.shape] if value.rank == 4 else [math.prod(value.shape)]
    return np.array([BATCH, *sizes], dtype=object)


def fold(node: Node, inputs: Sequence[Array]) -> Constant:
    """The constant that a node makes of small constants."""
    if len(inputs) > MAX_ELEMENTS or any(value.size > MAX_ELEMENTS for value in inputs):
        raise node.error("arithmetic on large constants", "export with do_constant_folding=True")
    try:
        return Constant(np.asarray(_folded(node, inputs)))
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        message = f"shape arithmetic that makes no sense: {shown(str(error))}"
        raise node.error(message, "export it again, with a fixed batch") from error


def _folded(node: Node, inputs: Sequence[Array]) -> Array:
    axis = node.attributes.get("axis", 0)
    if node.operator == "Gather":
        return np.asarray(np.take(inputs[0], inputs[1].astype(np.int64), axis=axis))
    if node.operator == "Concat":
        return np.concatenate([np.asarray(v, dtype=object) for v in inputs], axis=axis)
    if node.operator == "Reshape":
        sizes = [int(size) for size in inputs[1]]
        if 0 in sizes or len(sizes) > 4:
            raise ValueError(f"a reshape to {sizes[:8]}")
        return inputs[0].reshape(sizes)
    if node.operator == "Cast":
        if node.attributes.get("to") != INT64:
            raise ValueError("a cast to another type than int64")
        return inputs[0]
    axes = tuple(int(axis) for axis in inputs[1]) if len(inputs) > 1 else None
    if node.operator == "Squeeze":
        return np.squeeze(inputs[0], axis=axes)
    return np.expand_dims(inputs[0], axis=axes or ())


def target(node: Node, wanted: Array, source: Map, batch: int | None) -> tuple[int, ...]:
    """Sizes of one image that Reshape to `wanted` gives; the images stay apart, or it raises."""
    sizes = list(dims(source))
    entries = list(wanted.ravel())
    if not 0 < len(entries) <= MAX_ELEMENTS or wanted.dtype not in (np.int64, object):
        raise node.error(f"to {len(entries)} dimensions", "flatten to [N, -1]")
    out: list[Any] = []
    for position, entry in enumerate(entries):
        if isinstance(entry, str):
            out.append(entry)
        elif entry == 0 and not node.attributes.get("allowzero", 0) and position < len(sizes):
            out.append(sizes[position])
        else:
            out.append(int(entry))
    total = math.prod(source.shape)
    known = math.prod(entry for entry in out[1:] if entry not in (-1, BATCH))
    first, rest = out[0], out[1:]
    if first == -1 and -1 not in rest and known == total:
        first = BATCH
    if rest.count(-1) == 1 and known > 0 and total % known == 0:
        rest = [total // known if entry == -1 else entry for entry in rest]
    whole = BATCH not in rest and -1 not in rest and math.prod(rest) == total
    if not whole or not (first == BATCH or (batch is not None and first == batch)):
        raise node.error(
            f"reshapes {sizes} to {[str(entry) for entry in entries[:8]]}, which mixes images",
            "flatten each image: torch.flatten(x, 1)",
        )
    return tuple(rest)


def window(node: Node, shape: Shape, kernel: Pair, stride: Pair) -> Sides:
    """(top, left, bottom, right) from pads or auto_pad."""
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        halves = [
            _same(size, k, s, upper=auto == "SAME_UPPER")
            for size, k, s in zip(shape[1:], kernel, stride, strict=True)
        ]
        return (halves[0][0], halves[1][0], halves[0][1], halves[1][1])
    if auto not in ("NOTSET", "VALID"):
        raise node.error(f"auto_pad is {shown(auto)}", "state pads instead")
    pads = node.attributes.get("pads", [0, 0, 0, 0]) if auto == "NOTSET" else [0, 0, 0, 0]
    if len(pads) != 4 or min(pads) < 0 or max(pads) > 255:
        raise node.error(f"pads are {pads[:8]}", "use four paddings from 0 to 255")
    return (pads[0], pads[1], pads[2], pads[3])


def _same(size: int, kernel: int, stride: int, *, upper: bool) -> Pair:
    """Padding before and after, so that the output has size / stride elements, rounded up.

    >>> _same(5, 2, 1, upper=True), _same(5, 2, 1, upper=False)
    ((0, 1), (1, 0))
    """
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    less, more = total // 2, total - total // 2
    return (less, more) if upper else (more, less)


def swept(node: Node, shape: Shape, kernel: Pair, stride: Pair, sides: Sides) -> Pair:
    """Rows and columns of a window's sweep, rounded down."""
    out = []
    for size, k, s, before, after in zip(
        shape[1:], kernel, stride, sides[:2], sides[2:], strict=True
    ):
        room = size + before + after - k
        if room < 0:
            raise node.error(
                f"a window of {k} does not fit {size} elements",
                "export with the image size that the model was trained on",
            )
        out.append(room // s + 1)
    return out[0], out[1]


def overhang(shape: Shape, kernel: Pair, stride: Pair, sides: Sides) -> Sides:
    """`sides` made larger below and right so that rounding up becomes rounding down.

    As torch and ONNX have it, a window that would begin in the padding is left out.
    """
    after = []
    for size, k, s, top, bottom in zip(
        shape[1:], kernel, stride, sides[:2], sides[2:], strict=True
    ):
        extra = -(size + top + bottom - k) % s
        starts = size + top + bottom - k + extra
        after.append(bottom if starts >= size + top else bottom + extra)
    return (*sides[:2], after[0], after[1])
