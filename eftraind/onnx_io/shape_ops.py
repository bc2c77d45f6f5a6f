"""Operators that compute nothing on maps: flattening, copies, constants, arithmetic on shapes."""

import numpy as np

from eftraind.onnx_io import shapes
from eftraind.onnx_io.draft import Constant, Map, Value
from eftraind.onnx_io.reading import Array, Node
from eftraind.onnx_io.scope import Scope


def flatten(scope: Scope, node: Node) -> Value:
    x = scope.map(node)
    if node.attributes.get("axis", 1) not in (1, 1 - x.rank):
        raise node.error("it mixes images", "flatten each image: torch.flatten(x, 1)")
    return Map(x.layer, x.shape, 2)


def reshape(scope: Scope, node: Node) -> Value:
    if isinstance(scope.value(node, 0), Constant):
        return arithmetic(scope, node)
    x = scope.map(node)
    sizes = shapes.target(node, scope.constant(node, 1).values, x, scope.batch)
    if len(sizes) == 1:
        return Map(x.layer, x.shape, 2)
    if sizes != x.shape:
        raise node.error(
            f"it turns {x.shape} into {sizes}", "only flattening to [N, -1] is supported"
        )
    return Map(x.layer, x.shape, 4)


def shape(scope: Scope, node: Node) -> Value:
    start, end = node.attributes.get("start", 0), node.attributes.get("end")
    x = scope.value(node, 0)
    sizes = shapes.dims(x) if isinstance(x, Map) else np.array(x.values.shape, dtype=np.int64)
    return Constant(sizes[start:end])


def squeeze(scope: Scope, node: Node) -> Value:
    return _resized(scope, node, rank=2)


def unsqueeze(scope: Scope, node: Node) -> Value:
    return _resized(scope, node, rank=4)


def _resized(scope: Scope, node: Node, rank: int) -> Value:
    """[N, C, 1, 1] to [N, C] and back; on constants, arithmetic."""
    x = scope.value(node, 0)
    if isinstance(x, Constant):
        return arithmetic(scope, node)
    axes = sorted(axis % 4 for axis in scope.integers(node, 1, "axes") or [])
    if axes != [2, 3] or x.shape[1:] != (1, 1) or x.rank == rank:
        raise node.error(f"axes {axes} of {x.shape}", "only [N, C, 1, 1] and [N, C] change")
    return Map(x.layer, x.shape, rank)


def transpose(scope: Scope, node: Node) -> Value:
    """Of a stored matrix, as exporters leave it before MatMul when they fold nothing."""
    x = scope.value(node, 0)
    if isinstance(x, Map) or x.values.ndim != 2 or node.attributes.get("perm", [1, 0]) != [1, 0]:
        raise node.error("it transposes a map", "export the network in NCHW order")
    return Constant(x.values.T, x.root)


def arithmetic(scope: Scope, node: Node) -> Value:
    constants = [scope.constant(node, slot).values for slot in range(len(node.inputs))]
    return shapes.fold(node, constants)


def cast(scope: Scope, node: Node) -> Value:
    if isinstance(scope.value(node, 0), Constant):
        return arithmetic(scope, node)
    if node.attributes.get("to") != 1:
        raise node.error("it converts a map to another type", "export in float32 throughout")
    return scope.value(node, 0)


def identity(scope: Scope, node: Node) -> Value:
    return scope.value(node, 0)


def constant(scope: Scope, node: Node) -> Value:
    names = ("value", "value_int", "value_ints", "value_float", "value_floats")
    found = [node.attributes[name] for name in names if name in node.attributes]
    if len(found) != 1:
        raise node.error("no value", "export the model again")
    values: Array = np.asarray(found[0])
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    return Constant(values, node.outputs[0])
