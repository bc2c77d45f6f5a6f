"""From the nodes of an ONNX model to draft layers: which operators there are, in `_OPERATORS`.

What an operator means is in `layer_ops` and `shape_ops`. Anything else is refused here, naming
node, operator and what to do.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from eftraind.onnx_io import layer_ops, shape_ops
from eftraind.onnx_io.draft import Draft, Value
from eftraind.onnx_io.reading import Model, Node, shown
from eftraind.onnx_io.scope import Scope

_NORMALISES = "if it normalises the input, export without it and give --scale, --mean and --std"
_FLOAT = "export the float32 model, not a quantised one"
_ACTIVATIONS = "use ReLU, ReLU6 or LeakyReLU and train again"
REMEDIES = {
    **dict.fromkeys(("Sub", "Mul", "Div"), _NORMALISES),
    **dict.fromkeys(("If", "Loop", "Scan"), "export a model without branches or loops"),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger"), _FLOAT),
    **dict.fromkeys(
        ("HardSwish", "Sigmoid", "HardSigmoid", "Tanh", "Elu", "Selu", "Gelu", "PRelu", "Mish"),
        _ACTIVATIONS,
    ),
    "Pad": "put the padding into the convolution or pool",
}


_WINDOW = "auto_pad dilations kernel_shape pads strides"
_OPERATORS: dict[str, tuple[Callable[[Scope, Node], Value], str]] = {
    "Conv": (layer_ops.conv, f"{_WINDOW} group"),
    "BatchNormalization": (layer_ops.batchnorm, "epsilon momentum training_mode"),
    "Relu": (layer_ops.relu, ""),
    "Clip": (layer_ops.clip, ""),
    "LeakyRelu": (layer_ops.leaky, "alpha"),
    "MaxPool": (layer_ops.maxpool, f"{_WINDOW} ceil_mode storage_order"),
    "AveragePool": (layer_ops.avgpool, f"{_WINDOW} ceil_mode count_include_pad"),
    "GlobalAveragePool": (layer_ops.globalpool, ""),
    "ReduceMean": (layer_ops.reduce_mean, "axes keepdims noop_with_empty_axes"),
    "Add": (layer_ops.add, ""),
    "Concat": (layer_ops.concat, "axis"),
    "Gemm": (layer_ops.gemm, "alpha beta transA transB"),
    "MatMul": (layer_ops.matmul, ""),
    "Dropout": (layer_ops.dropout, "seed"),
    "Softmax": (layer_ops.softmax, "axis"),
    "LogSoftmax": (layer_ops.softmax, "axis"),
    "Flatten": (shape_ops.flatten, "axis"),
    "Reshape": (shape_ops.reshape, "allowzero"),
    "Squeeze": (shape_ops.squeeze, ""),
    "Unsqueeze": (shape_ops.unsqueeze, ""),
    "Transpose": (shape_ops.transpose, "perm"),
    "Shape": (shape_ops.shape, "end start"),
    "Gather": (shape_ops.arithmetic, "axis"),
    "Cast": (shape_ops.cast, "to saturate"),
    "Identity": (shape_ops.identity, ""),
    "Constant": (shape_ops.constant, "value value_int value_ints value_float value_floats"),
}
_INTS = "dilations kernel_shape pads strides axes perm value_ints".split()
_TYPES: dict[str, type] = {
    **dict.fromkeys(("epsilon", "momentum", "alpha", "beta", "value_float"), float),
    **dict.fromkeys((*_INTS, "value_floats"), list),
    "auto_pad": str,
    "value": np.ndarray,
}
"""Of attributes; what is not here is a whole number."""


def translate(model: Model) -> tuple[list[Draft], int, Node | None]:
    """Draft layers, the index of the one that gives the output, and the softmax dropped after it.

    Raises GraphError.
    """
    scope = Scope(model)
    for node in _needed(model):
        scope.let(node, _value(scope, node))
    return (*scope.finish(), scope.dropped)


def _needed(model: Model) -> list[Node]:
    """The nodes that the output depends on, in the file's order."""
    wanted = {model.output}
    out = []
    for node in reversed(model.nodes):
        if wanted & set(node.outputs) - {""}:
            wanted |= set(node.inputs)
            out.append(node)
    return out[::-1]


def _value(scope: Scope, node: Node) -> Value:
    """What a node makes."""
    if node.operator not in _OPERATORS:
        default = f"supported are: {', '.join(_OPERATORS)}"
        raise node.error("the operator is not supported", REMEDIES.get(node.operator, default))
    handler, known = _OPERATORS[node.operator]
    for name, value in node.attributes.items():
        if name not in known.split():
            raise node.error(f"attribute {shown(name)} is not supported", "export without it")
        if not _well_typed(name, value):
            raise node.error(
                f"attribute {name} is {shown(str(value))[1:-1]}", "export the model again"
            )
    if not node.outputs or any(node.outputs[1:]):
        raise node.error(f"{len(node.outputs)} outputs", "call model.eval() before exporting it")
    return handler(scope, node)


def _well_typed(name: str, value: Any) -> bool:
    expected: Any = _TYPES.get(name, int)
    if not isinstance(value, expected):
        return False
    return name not in _INTS or all(isinstance(item, int) for item in value)
