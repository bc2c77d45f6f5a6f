"""What each operator that computes means, as a draft layer. Refusals name the node and the remedy.

One function an operator: reads its inputs from the scope, adds a draft, returns the map it gives.
"""

from typing import Any

import numpy as np

from eftraind.onnx_io import shapes
from eftraind.onnx_io.draft import Constant, Map, Value
from eftraind.onnx_io.reading import Node
from eftraind.onnx_io.scope import Scope


def conv(scope: Scope, node: Node) -> Value:
    x, w = scope.map(node, 0, 4), scope.constant(node, 1).values
    groups = node.attributes.get("group", 1)
    if w.ndim != 4 or min(w.shape) < 1 or w.shape[1] * groups != x.shape[0]:
        raise node.error(
            f"weights {list(w.shape)} in {groups} groups over {x.shape[0]} channels",
            "only convolutions of images, with 1 group or depthwise, are supported",
        )
    if groups > 1 and not groups == w.shape[0] == x.shape[0]:
        raise node.error(
            f"{groups} groups of {x.shape[0]} input and {w.shape[0]} output channels",
            "only 1 group or depthwise (groups = channels in = channels out) is supported",
        )
    kernel = (w.shape[2], w.shape[3])
    _expect(node, "kernel_shape", list(kernel))
    _undilated(node, kernel)
    stride = _pair(node, "strides", (1, 1))
    sides = shapes.window(node, x.shape, kernel, stride)
    shape = (w.shape[0], *shapes.swept(node, x.shape, kernel, stride, sides))
    draft = scope.add(node, "conv", [x], shape, kernel=[*kernel], stride=[*stride])
    draft.given |= {"padding": [*sides], "groups": groups}
    draft.weights["weight"] = scope.weight(node, 1, w.shape)
    if scope.given(node, 2):
        draft.weights["bias"] = scope.weight(node, 2, [shape[0]])
    return scope.result(shape, 4)


def gemm(scope: Scope, node: Node) -> Value:
    for name, expected in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
        _expect(node, name, expected)
    stored_as_ours = bool(node.attributes.get("transB", 0))
    return _linear(scope, node, transposed=not stored_as_ours, biased=scope.given(node, 2))


def matmul(scope: Scope, node: Node) -> Value:
    return _linear(scope, node, transposed=True, biased=False)


def _linear(scope: Scope, node: Node, *, transposed: bool, biased: bool) -> Value:
    x, w = scope.map(node, 0, 2), scope.constant(node, 1).values
    size = x.shape[0] * x.shape[1] * x.shape[2]
    if w.ndim != 2 or w.shape[0 if transposed else 1] != size:
        raise node.error(
            f"weights {list(w.shape)} over {size} values",
            "export with the image size that the model was trained on",
        )
    channels = int(w.shape[1 if transposed else 0])
    draft = scope.add(node, "linear", [x], (channels, 1, 1))
    draft.weights["weight"] = scope.weight(node, 1, [channels, size], transposed=transposed)
    if biased:
        row = scope.constant(node, 2).values.shape == (1, channels)
        draft.weights["bias"] = scope.weight(node, 2, [channels], reshaped=row)
    return scope.result((channels, 1, 1), 2)


def batchnorm(scope: Scope, node: Node) -> Value:
    x = scope.map(node)
    if node.attributes.get("training_mode", 0):
        raise node.error("it is in training mode", "call model.eval() before exporting")
    if x.rank == 2 and x.shape[1:] != (1, 1):
        raise node.error("it normalises flattened maps", "normalise before flattening")
    epsilon = node.attributes.get("epsilon", 1e-5)
    draft = scope.add(node, "batchnorm", [x], x.shape, epsilon=epsilon)
    parts = ("weight", "bias", "running_mean", "running_var")
    for slot, part in enumerate(parts, start=1):
        draft.weights[part] = scope.weight(node, slot, [x.shape[0]])
    return scope.result(x.shape, x.rank)


def relu(scope: Scope, node: Node) -> Value:
    return _act(scope, node, activation="relu")


def leaky(scope: Scope, node: Node) -> Value:
    slope = node.attributes.get("alpha", 0.01)
    if not 0 <= slope < 1:
        raise node.error(f"alpha is {slope}", "use a slope from 0 to 1")
    return _act(scope, node, activation="leaky", slope=slope)


def clip(scope: Scope, node: Node) -> Value:
    low, high = scope.scalar(node, 1, -np.inf), scope.scalar(node, 2, np.inf)
    kind = {(0.0, 6.0): "relu6", (0.0, float("inf")): "relu"}.get((low, high))
    if high >= np.finfo(np.float32).max and low == 0:
        kind = "relu"
    if kind is None:
        raise node.error(f"it clips to {low:g}..{high:g}", "only ReLU6 (0..6) is supported")
    return _act(scope, node, activation=kind)


def _act(scope: Scope, node: Node, **given: Any) -> Value:
    x = scope.map(node)
    scope.add(node, "act", [x], x.shape, **given)
    return scope.result(x.shape, x.rank)


def maxpool(scope: Scope, node: Node) -> Value:
    _expect(node, "storage_order", 0)
    return _pool(scope, node, "maxpool", ceil_is_exact=True)


def avgpool(scope: Scope, node: Node) -> Value:
    counts = bool(node.attributes.get("count_include_pad", 0))
    return _pool(scope, node, "avgpool", ceil_is_exact=not counts)


def _pool(scope: Scope, node: Node, kind: str, *, ceil_is_exact: bool) -> Value:
    x = scope.map(node, 0, 4)
    if "kernel_shape" not in node.attributes:
        raise node.error("no kernel_shape", "export the model again")
    kernel, stride = _pair(node, "kernel_shape", (1, 1)), _pair(node, "strides", (1, 1))
    _undilated(node, kernel)
    sides = shapes.window(node, x.shape, kernel, stride)
    if node.attributes.get("ceil_mode", 0):
        wider = shapes.overhang(x.shape, kernel, stride, sides)
        if wider != sides and not ceil_is_exact:
            raise node.error("it rounds sizes up and counts padding", "use count_include_pad=False")
        sides = wider
    if kind == "avgpool" and kernel == stride == (1, 1) and not any(sides):
        return x  # torch exports AdaptiveAvgPool2d so where sizes are equal
    shape = (x.shape[0], *shapes.swept(node, x.shape, kernel, stride, sides))
    draft = scope.add(node, kind, [x], shape, window=[*kernel], stride=[*stride])
    draft.given["padding"] = [*sides]
    if kind == "avgpool" and any(sides):
        draft.given["count_padding"] = not ceil_is_exact
    return scope.result(shape, 4)


def globalpool(scope: Scope, node: Node) -> Value:
    return _global(scope, node, 4)


def reduce_mean(scope: Scope, node: Node) -> Value:
    axes = scope.integers(node, 1, "axes")
    if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise node.error(f"over axes {axes}", "only the mean over rows and cols is supported")
    return _global(scope, node, 4 if node.attributes.get("keepdims", 1) else 2)


def _global(scope: Scope, node: Node, rank: int) -> Value:
    x = scope.map(node, 0, 4)
    shape = (x.shape[0], 1, 1)
    scope.add(node, "globalpool", [x], shape)
    return scope.result(shape, rank)


def add(scope: Scope, node: Node) -> Value:
    values = [scope.value(node, 0), scope.value(node, 1)]
    if isinstance(values[1], Map) and isinstance(values[0], Constant):
        return _bias(scope, node, values[1], 0)
    if isinstance(values[0], Map) and isinstance(values[1], Constant):
        return _bias(scope, node, values[0], 1)
    one, other = scope.map(node, 0), scope.map(node, 1)
    if one.shape != other.shape or one.rank != other.rank:
        raise node.error(
            f"it adds {one.shape} and {other.shape}", "bring both to one shape before adding"
        )
    scope.add(node, "add", [one, other], one.shape)
    return scope.result(one.shape, one.rank)


def _bias(scope: Scope, node: Node, x: Map, slot: int) -> Value:
    """One value a channel, whatever axes of length 1 it is stored with."""
    stored = scope.constant(node, slot).values
    channels = x.shape[0]
    whole = [1] * (x.rank - 1) + [channels] if x.rank == 2 else [1, channels, 1, 1]
    flat = x.rank == 2 and x.shape[1:] == (1, 1)
    good = stored.size == channels and whole[len(whole) - stored.ndim :] == [*stored.shape]
    if not good or not (flat or x.rank == 4):
        raise node.error(
            f"it adds a constant {list(stored.shape)} to {x.shape}",
            "only a bias, one value for each channel, is supported",
        )
    draft = scope.add(node, "bias", [x], x.shape)
    draft.weights["bias"] = scope.weight(node, slot, [channels], reshaped=True)
    return scope.result(x.shape, x.rank)


def concat(scope: Scope, node: Node) -> Value:
    values = [scope.value(node, slot) for slot in range(len(node.inputs))]
    constants = [value.values for value in values if isinstance(value, Constant)]
    if values and len(constants) == len(values):
        return shapes.fold(node, constants)
    maps = [scope.map(node, slot) for slot in range(len(node.inputs))]
    rank, rows_cols = maps[0].rank, maps[0].shape[1:]
    axis = node.attributes.get("axis", 0)
    whole = all(m.rank == rank and m.shape[1:] == rows_cols for m in maps)
    if axis not in (1, 1 - rank) or not whole or (rank == 2 and rows_cols != (1, 1)):
        raise node.error(
            f"it joins {[m.shape for m in maps[:8]]} along axis {axis}",
            "only maps of one size, joined along the channels, are supported",
        )
    if len(maps) == 1:
        return maps[0]
    shape = (sum(m.shape[0] for m in maps), *rows_cols)
    scope.add(node, "concat", maps, shape)
    return scope.result(shape, rank)


def dropout(scope: Scope, node: Node) -> Value:
    x = scope.map(node)
    if scope.scalar(node, 2, 0.0):
        raise node.error("it is in training mode", "call model.eval() before exporting")
    scope.add(node, "dropout", [x], x.shape, rate=scope.scalar(node, 1, 0.5))
    return scope.result(x.shape, x.rank)


def softmax(scope: Scope, node: Node) -> Value:
    x = scope.map(node)
    if node.attributes.get("axis", -1) not in (1, 1 - x.rank) or x.shape[1:] != (1, 1):
        raise node.error("it is not over the classes", "use softmax(dim=1) on [N, classes]")
    scope.add(node, "softmax", [x], x.shape)
    return scope.result(x.shape, x.rank)


def _pair(node: Node, name: str, default: tuple[int, int]) -> tuple[int, int]:
    values = node.attributes.get(name, list(default))
    if len(values) != 2 or min(values) < 1 or max(values) > 4096:
        raise node.error(f"{name} is {values[:8]}", "only windows over rows and cols are supported")
    return (values[0], values[1])


def _expect(node: Node, name: str, value: Any) -> None:
    given = node.attributes.get(name, value)
    if given != value:
        raise node.error(f"{name} is {given}", f"only {value} is supported")


def _undilated(node: Node, kernel: tuple[int, int]) -> None:
    dilations = node.attributes.get("dilations", [1, 1])
    if len(dilations) != 2 or any(d != 1 and k > 1 for d, k in zip(dilations, kernel, strict=True)):
        raise node.error(f"dilations are {dilations[:8]}", "use a model without dilation")
