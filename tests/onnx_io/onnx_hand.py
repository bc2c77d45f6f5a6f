"""ONNX models made by hand, node by node."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def stored(name: str, values: Any) -> Any:
    return numpy_helper.from_array(np.asarray(values), name)


def draw(*shape: int) -> np.ndarray:
    """Seeded numbers, the same for the same shape."""
    rng = np.random.default_rng([7, *shape])
    return rng.standard_normal(shape).astype(np.float32) / np.float32(3)


def node(operator: str, inputs: str, output: str, **attributes: Any) -> Any:
    """`inputs` are names with blanks between; the node is called after its output."""
    return helper.make_node(operator, inputs.split(" "), [output], f"n_{output}", **attributes)


def message(
    nodes: Sequence[Any],
    tensors: Mapping[str, Any],
    shape: Sequence[Any] = ("N", 3, 8, 6),
    *,
    output: str = "y",
    opset: int = 13,
) -> Any:
    """The protobuf message of a model from image `x` to `output`."""
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    arrays = [stored(name, values) for name, values in tensors.items()]
    body = helper.make_graph(list(nodes), "hand", [image], [result], initializer=arrays)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def model(*args: Any, **kwargs: Any) -> bytes:
    data: bytes = message(*args, **kwargs).SerializeToString()
    return data


def headed(
    middle: Sequence[Any], tensors: Mapping[str, Any], channels: int, opset: int = 13
) -> bytes:
    """conv `a` (3 to 4 channels, 8 x 6), then `middle` from `a` to `m`, then mean and Gemm."""
    nodes = [
        node("Conv", "x aw ab", "a", pads=[1, 1, 1, 1]),
        *middle,
        node("GlobalAveragePool", "m", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f hw hb", "y", transB=1),
    ]
    given = {"aw": draw(4, 3, 3, 3), "ab": draw(4), "hw": draw(5, channels), "hb": draw(5)}
    return model(nodes, given | tensors, opset=opset)
