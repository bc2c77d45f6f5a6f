"""Every operator with the attributes exporters give it: imported, it computes what onnxruntime
does."""

from typing import Any

import need_onnx  # noqa: F401
import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_hand import draw, headed, model, node
from onnx_rig import assert_close, images, judge, perturbed, read, run

from eftraind.onnx_io import exporting

K3 = {"kernel_shape": [3, 3]}
BN = {"s": np.abs(draw(4)), "t": draw(4), "u": draw(4), "v": np.abs(draw(4)) + np.float32(0.1)}
LIMITS = {"zero": np.float32(0), "six": np.float32(6), "big": np.finfo(np.float32).max}
SHAPE_OF_X = [
    node("Shape", "a", "s"),
    node("Gather", "s i", "n"),
    node("Unsqueeze", "n i1", "n1"),
    node("Concat", "n1 minus", "t", axis=0),
]
INDICES: dict[str, Any] = {
    "i": np.int64(0),
    "i1": np.array([0]),
    "minus": np.array([-1]),
    "w": draw(5, 192),
}

MIDDLES: dict[str, tuple[list[Any], dict[str, Any], int]] = {
    "conv, asymmetric pads": (
        [node("Conv", "a w", "m", pads=[2, 0, 1, 2], strides=[2, 1])], {"w": draw(6, 4, 3, 3)}, 6,
    ),
    "conv, same upper": (
        [node("Conv", "a w b", "m", auto_pad="SAME_UPPER", strides=[2, 2])],
        {"w": draw(6, 4, 4, 3), "b": draw(6)}, 6,
    ),
    "conv, same lower": (
        [node("Conv", "a w b", "m", auto_pad="SAME_LOWER")],
        {"w": draw(6, 4, 2, 4), "b": draw(6)}, 6,
    ),
    "conv, valid": (
        [node("Conv", "a w", "m", auto_pad="VALID", **K3)], {"w": draw(2, 4, 3, 3)}, 2,
    ),
    "conv, depthwise": (
        [node("Conv", "a w b", "m", group=4, strides=[1, 2], pads=[1, 0, 1, 1])],
        {"w": draw(4, 1, 3, 3), "b": draw(4)}, 4,
    ),
    "conv, bias added after": (
        [node("Conv", "a w", "c"), node("Add", "b c", "m")],
        {"w": draw(2, 4, 1, 1), "b": draw(2, 1, 1)}, 2,
    ),
    "batch normalisation with ReLU6": (
        [node("BatchNormalization", "a s t u v", "b", epsilon=1e-3),
         node("Clip", "b zero six", "m")], BN | LIMITS, 4,
    ),
    "clip from zero only is ReLU": ([node("Clip", "a zero", "m")], LIMITS, 4),
    "clip to the largest number is ReLU": ([node("Clip", "a zero big", "m")], LIMITS, 4),
    "leaky ReLU": ([node("LeakyRelu", "a", "m", alpha=0.3)], {}, 4),
    "leaky ReLU, default": ([node("LeakyRelu", "a", "m")], {}, 4),
    "relu twice, then relu6": (
        [node("Relu", "a", "b"), node("Relu", "b", "c"), node("Clip", "c zero six", "m")],
        LIMITS, 4,
    ),
    "relu of what is already relu, read twice": (
        [node("Relu", "a", "b"), node("Relu", "b", "c"),
         node("MaxPool", "c", "d", **K3, pads=[1, 1, 1, 1]),
         node("Concat", "b d", "m", axis=-3)], {}, 8,
    ),
    "maxpool, ceil": ([node("MaxPool", "a", "m", **K3, strides=[2, 3], ceil_mode=1)], {}, 4),
    "maxpool, ceil that would begin in the padding": (
        [node("MaxPool", "a", "m", kernel_shape=[2, 2], strides=[3, 3], pads=[1, 1, 1, 1],
              ceil_mode=1)], {}, 4,
    ),
    "maxpool, asymmetric": (
        [node("MaxPool", "a", "m", **K3, strides=[2, 2], pads=[0, 1, 1, 0])], {}, 4,
    ),
    "relu behind maxpool and dropout": (
        [node("Dropout", "a rate", "d"), node("MaxPool", "d", "p", **K3), node("Relu", "p", "m")],
        {"rate": np.float32(0.25)}, 4,
    ),
    "avgpool, padding counted": (
        [node("AveragePool", "a", "m", **K3, pads=[1, 0, 1, 1], count_include_pad=1)], {}, 4,
    ),
    "avgpool, padding not counted": (
        [node("AveragePool", "a", "m", **K3, pads=[1, 0, 1, 1], strides=[2, 1])], {}, 4,
    ),
    "avgpool, ceil": ([node("AveragePool", "a", "m", **K3, strides=[2, 2], ceil_mode=1)], {}, 4),
    "avgpool of one element": ([node("AveragePool", "a", "m", kernel_shape=[1, 1])], {}, 4),
    "add of two convolutions, cast and identity": (
        [node("Conv", "a w", "c"), node("Identity", "c", "d"), node("Cast", "d", "e", to=1),
         node("Add", "e a", "m")], {"w": draw(4, 4, 1, 1)}, 4,
    ),
    "concat of three": (
        [node("Conv", "a w", "c"), node("MaxPool", "a", "p", **K3, pads=[1, 1, 1, 1]),
         node("Concat", "c a p", "d", axis=1), node("Concat", "d", "m", axis=1)],
        {"w": draw(2, 4, 1, 1)}, 10,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MIDDLES)
def test_operators_between_layers(case: str) -> None:
    check(headed(*MIDDLES[case]))


def check(data: bytes) -> None:
    """In, judged; back with other weights, judged; as a new file, judged."""
    x = images((3, 8, 6))
    found = read(data)
    assert_close(judge(found.graph, found.params, x), run(data, x).reshape(len(x), -1))
    adapted = perturbed(found.params)
    expected = judge(found.graph, adapted, x)
    home = exporting.like(data, "model.onnx", found.graph, adapted)
    assert_close(run(home, x).reshape(len(x), -1), expected)
    assert_close(run(exporting.fresh(found.graph, adapted), x), expected)


ENDS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "matmul and bias": (
        [node("Flatten", "a", "f"), node("MatMul", "f w", "g"), node("Add", "g b", "y")],
        {"w": draw(192, 5), "b": draw(5)},
    ),
    "bias and matmul, stored as a row": (
        [node("Flatten", "a", "f", axis=-3), node("MatMul", "f w", "g"), node("Add", "b g", "y")],
        {"w": draw(192, 5), "b": draw(1, 5)},
    ),
    "gemm without transposition or bias": (
        [node("Flatten", "a", "f"), node("Gemm", "f w", "y")], {"w": draw(192, 5)},
    ),
    "gemm with a transposed constant": (
        [node("Flatten", "a", "f"), node("Transpose", "w", "t", perm=[1, 0]),
         node("MatMul", "f t", "y")], {"w": draw(5, 192)},
    ),
    "gemm with its bias as a row": (
        [node("Flatten", "a", "f"), node("Gemm", "f w b", "y", transB=1, alpha=1.0)],
        {"w": draw(5, 192), "b": draw(1, 5)},
    ),
    "reshape to [0, -1]": (
        [node("Reshape", "a r", "f"), node("Gemm", "f w", "y", transB=1)],
        {"w": draw(5, 192), "r": np.array([0, -1])},
    ),
    "reshape to [-1, all]": (
        [node("Reshape", "a r", "f"), node("Gemm", "f w", "y", transB=1)],
        {"w": draw(5, 192), "r": np.array([-1, 192])},
    ),
    "reshape by arithmetic on shapes": (
        [*SHAPE_OF_X, node("Reshape", "a t", "f"), node("Gemm", "f w", "y", transB=1)], INDICES,
    ),
    "mean over rows and cols": (
        [node("ReduceMean", "a", "f", axes=[-1, -2], keepdims=0),
         node("Gemm", "f w", "y", transB=1)], {"w": draw(5, 4)},
    ),
    "squeeze": (
        [node("GlobalAveragePool", "a", "g"), node("Squeeze", "g i", "f"),
         node("Gemm", "f w", "y", transB=1)],
        {"w": draw(5, 4), "i": np.array([2, 3])},
    ),
    "back to images for a convolution": (
        [node("GlobalAveragePool", "a", "g"), node("Flatten", "g", "f"),
         node("Gemm", "f v", "h", transB=1), node("Relu", "h", "r"),
         node("Unsqueeze", "r i", "u"), node("Conv", "u w", "y")],
        {"v": draw(6, 4), "w": draw(5, 6, 1, 1), "i": np.array([2, 3])},
    ),
    "normalised and joined after flattening": (
        [node("GlobalAveragePool", "a", "g"), node("Flatten", "g", "f"),
         node("BatchNormalization", "f s t u v", "b"), node("Relu", "b", "r"),
         node("Concat", "r f", "c", axis=-1), node("Gemm", "c w", "y", transB=1)],
        BN | {"w": draw(5, 8)},
    ),
    "a convolution at the end": (
        [node("Conv", "a w", "y")], {"w": draw(5, 4, 8, 6)},
    ),
    "weights shared by two layers": (
        [node("Conv", "a w", "c"), node("Relu", "c", "r"), node("Identity", "w", "w2"),
         node("Conv", "r w2", "d"), node("Flatten", "d", "f"), node("Gemm", "f v", "y")],
        {"w": draw(4, 4, 1, 1), "v": draw(192, 5)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ENDS)
def test_operators_at_the_end(case: str) -> None:
    nodes, tensors = ENDS[case]
    first = node("Conv", "x aw ab", "a", pads=[1, 1, 1, 1])
    check(model([first, *nodes], tensors | {"aw": draw(4, 3, 3, 3), "ab": draw(4)}))


def test_a_fixed_batch_may_be_written_into_reshape() -> None:
    nodes = [node("Reshape", "x r", "f"), node("Gemm", "f w", "y", transB=1)]
    check(model(nodes, {"w": draw(5, 144), "r": np.array([2, -1])}, [2, 3, 8, 6]))


def test_shared_weights_part_and_the_user_is_told() -> None:
    nodes, tensors = ENDS["weights shared by two layers"]
    first = node("Conv", "x aw ab", "a", pads=[1, 1, 1, 1])
    data = model([first, *nodes], tensors | {"aw": draw(4, 3, 3, 3), "ab": draw(4)})
    assert any("'w'" in note and "copy" in note for note in read(data).notes)


def test_weights_in_a_constant_node_and_in_float_data() -> None:
    flat = [float(v) for v in draw(5, 144).ravel()]
    value = helper.make_tensor("", onnx.TensorProto.FLOAT, [5, 144], flat)
    constant = helper.make_node("Constant", [], ["w"], "n_w", value=value)
    nodes = [constant, node("Flatten", "x", "f"), node("Gemm", "f w", "y", transB=1)]
    check(model(nodes, {}))


def test_what_the_output_does_not_need_is_left_out() -> None:
    nodes = [
        node("Erf", "x", "unused"),
        node("Flatten", "x", "f"),
        node("Gemm", "f w", "y", transB=1),
    ]
    found = read(model(nodes, {"w": draw(5, 144)}))
    assert [layer.kind for layer in found.graph.layers] == ["linear"]
