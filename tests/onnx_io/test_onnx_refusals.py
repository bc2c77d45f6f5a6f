"""What is not supported is refused by one GraphError that names the node and says what to do."""

import re
from collections.abc import Callable
from typing import Any

import need_onnx  # noqa: F401
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_hand import draw, headed, message, model, node
from onnx_rig import read

from eftraind.errors import EftraindError, GraphError, WeightsError
from eftraind.onnx_io import limits
from eftraind.store import weights

W = {"w": draw(4, 4, 3, 3)}
NODES: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "unknown operator": ([node("Erf", "a", "m")], {}, r"'n_m' \(Erf\).*not supported.*Conv"),
    "sigmoid": ([node("HardSwish", "a", "m")], {}, r"HardSwish.*use ReLU"),
    "normalisation of the input": ([node("Mul", "a two", "m")], {"two": np.float32(2)}, "--mean"),
    "padding": ([node("Pad", "a p", "m")], {"p": np.zeros(8, int)}, "into the convolution"),
    "transposed map": ([node("Transpose", "a", "m", perm=[0, 2, 3, 1])], {}, "NCHW"),
    "groups": (
        [node("Conv", "a w", "m", group=2)], {"w": draw(4, 2, 3, 3)}, "only 1 group or depthwise",
    ),
    "depthwise of several outputs": (
        [node("Conv", "a w", "m", group=4)], {"w": draw(8, 1, 3, 3)}, "only 1 group or depthwise",
    ),
    "channels that do not chain": (
        [node("Conv", "a w", "m")], {"w": draw(4, 3, 3, 3)}, "over 4 channels",
    ),
    "dilation": ([node("Conv", "a w", "m", dilations=[2, 2])], W, "without dilation"),
    "kernel_shape of another kernel": (
        [node("Conv", "a w", "m", kernel_shape=[5, 5])], W, r"kernel_shape is \[5, 5\]",
    ),
    "one-dimensional convolution": ([node("Conv", "a w", "m")], {"w": draw(4, 4, 3)}, "of images"),
    "negative pads": ([node("Conv", "a w", "m", pads=[-1, 0, 0, 0])], W, "pads are"),
    "padding over the kernel": (
        [node("Conv", "a w", "m", pads=[3, 3, 3, 3])], W, r"'n_m' \(Conv\).*padding.*kernel - 1",
    ),
    "unknown auto_pad": ([node("Conv", "a w", "m", auto_pad="SOME")], W, "auto_pad is 'SOME'"),
    "attribute of the wrong type": ([node("Conv", "a w", "m", strides=2)], W, "strides is 2"),
    "stride of zero": ([node("Conv", "a w", "m", strides=[0, 1])], W, r"strides is \[0, 1\]"),
    "unknown attribute": ([node("Conv", "a w", "m", speed=9)], W, "'speed' is not supported"),
    "computed weights": (
        [node("Conv", "a w", "c"), node("Conv", "a c", "m")], W, "computed, not stored",
    ),
    "weights of another type": (
        [node("Conv", "a w", "m")], {"w": np.ones((4, 4, 1, 1), int)}, "int64.*not float32",
    ),
    "weights in half precision": (
        [node("Conv", "a w", "m")], {"w": np.ones((4, 4, 1, 1), np.float16)}, "float16.*float32",
    ),
    "weights that are not numbers": (
        [node("Conv", "a w", "m")], {"w": np.full((4, 4, 1, 1), np.nan, np.float32)}, "NaN",
    ),
    "bias of another size": (
        [node("Conv", "a w b", "m")], W | {"b": draw(3)}, r"float32\[3\], not float32\[4\]",
    ),
    "window larger than the map": (
        [node("MaxPool", "a", "m", kernel_shape=[9, 9])], {}, "does not fit 8",
    ),
    "maxpool by columns": (
        [node("MaxPool", "a", "m", kernel_shape=[2, 2], storage_order=1)], {}, "storage_order",
    ),
    "average that counts what it rounds up": (
        [node("AveragePool", "a", "m", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1,
              count_include_pad=1)], {}, "count_include_pad=False",
    ),
    "mean over channels": ([node("ReduceMean", "a", "m", axes=[1])], {}, "rows and cols"),
    "normalisation in training": (
        [node("BatchNormalization", "a s s s s", "m", training_mode=1)],
        {"s": np.ones(4, np.float32)}, r"model.eval\(\)",
    ),
    "dropout in training": (
        [node("Dropout", "a r t", "m")], {"r": np.float32(0.5), "t": np.bool_(True)}, "eval",
    ),
    "dropout of all": ([node("Dropout", "a r", "m")], {"r": np.float32(1)}, "rate is 1"),
    "clip to other bounds": (
        [node("Clip", "a l h", "m")], {"l": np.float32(-1), "h": np.float32(1)}, "-1..1.*ReLU6",
    ),
    "slope over one": ([node("LeakyRelu", "a", "m", alpha=2.0)], {}, "from 0 to 1"),
    "activation beside another reader": (
        [node("Relu", "a", "r"), node("Add", "r a", "m")], {},
        r"'n_r' \(Relu\).*'n_m' \(Add\) also reads.*batch normalisation",
    ),
    "activation after a pool": (
        [node("GlobalAveragePool", "a", "p"), node("Relu", "p", "m")], {},
        r"cannot become part of node 'n_p' \(GlobalAveragePool\)",
    ),
    "relu6 after dropout": (
        [node("Dropout", "a", "d"), node("Clip", "d l h", "m")],
        {"l": np.float32(0), "h": np.float32(6)}, "cannot become part of node 'n_d'",
    ),
    "two activations": (
        [node("Relu", "a", "r"), node("LeakyRelu", "r", "m", alpha=0.1)], {}, "one activation",
    ),
    "softmax in the middle": (
        [node("GlobalAveragePool", "a", "p"), node("Softmax", "p", "m", axis=1)], {},
        "not the last operator",
    ),
    "softmax over pixels": ([node("Softmax", "a", "m", axis=3)], {}, "over the classes"),
    "sum of shapes that differ": (
        [node("MaxPool", "a", "p", kernel_shape=[2, 2]), node("Add", "p a", "m")], {}, "one shape",
    ),
    "sum of one": ([node("Add", "a a", "m")], {}, "'n_m'.*two different layers"),
    "sum with a map of constants": (
        [node("Add", "a c", "m")], {"c": draw(4, 8, 6)}, "only a bias",
    ),
    "bias of a pool": (
        [node("MaxPool", "a", "p", kernel_shape=[2, 2]), node("Add", "p b", "m")],
        {"b": draw(4, 1, 1)}, "only to a MatMul or Conv",
    ),
    "concatenation along rows": ([node("Concat", "a a", "m", axis=2)], {}, "along the channels"),
    "reshape that mixes images": (
        [node("Reshape", "a r", "m")], {"r": np.array([-1, 4])}, "mixes images",
    ),
    "reshape to other maps": (
        [node("Reshape", "a r", "m")], {"r": np.array([0, 8, 4, 6])}, "only flattening",
    ),
    "reshape to nonsense": (
        [node("Reshape", "a r", "m")], {"r": np.array([-1, -1, 0])}, "mixes images",
    ),
    "reshape by numbers with fractions": (
        [node("Reshape", "a r", "m")], {"r": np.array([np.nan], np.float32)}, "flatten",
    ),
    "cast": ([node("Cast", "a", "m", to=TensorProto.FLOAT16)], {}, "float32 throughout"),
    "reads nothing": ([node("Relu", "nowhere", "m")], {}, "reads 'nowhere'"),
    "made twice": ([node("Relu", "a", "m"), node("Relu", "a", "m")], {}, "made twice"),
    "output of the convolution made again": (
        [node("Relu", "x", "a"), node("Relu", "a", "m")], {}, "'a' is made twice",
    ),
}  # fmt: skip


def refused(data: bytes, pattern: str, error: type[EftraindError] = GraphError) -> None:
    with pytest.raises(error) as caught:
        read(data)
    text = str(caught.value)
    assert text.startswith("model.onnx") and caught.value.remedy
    assert re.search(pattern, text, re.DOTALL), text


@pytest.mark.parametrize("case", NODES)
def test_nodes(case: str) -> None:
    nodes, tensors, pattern = NODES[case]
    refused(headed(nodes, tensors, 4), pattern)


def test_a_concatenation_with_itself() -> None:
    twice = [node("Concat", "a a", "m", axis=1)]
    refused(headed(twice, {}, 8), "'n_m'.*two or more different")


ENDS: dict[str, tuple[list[Any], str]] = {
    "features, no classes": ([node("Relu", "x", "y")], "cannot become part of the network input"),
    "an activation on the logits": (
        [node("Flatten", "x", "f"), node("Gemm", "f w", "g", transB=1), node("Relu", "g", "y")],
        r"Gemm.*plain logits",
    ),
    "not flattened": ([node("Gemm", "x w", "y", transB=1)], "4 dimensions, not 2"),
    "a pool first": (
        [node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "f"),
         node("Gemm", "f v", "y")], r"'n_p' \(GlobalAveragePool\).*begin with",
    ),
    "a pool last": (
        [node("Conv", "x c", "a"), node("GlobalAveragePool", "a", "y")], "plain logits",
    ),
    "alpha": (
        [node("Flatten", "x", "f"), node("Gemm", "f w", "y", transB=1, alpha=0.5)], "alpha is 0.5",
    ),
    "transposed images": (
        [node("Flatten", "x", "f"), node("Gemm", "f w", "y", transB=1, transA=1)], "transA is 1",
    ),
    "another image size": (
        [node("Flatten", "x", "f"), node("Gemm", "f v", "y", transB=1)], "over 144 values",
    ),
    "an output from nowhere": ([node("Relu", "x", "z")], "does not depend on the input"),
    "the input itself": ([node("Identity", "x", "y")], "does not depend on the input"),
    "only softmax": (
        [node("GlobalAveragePool", "x", "p"), node("Softmax", "p", "y", axis=1)], "plain logits",
    ),
    "a constant": ([node("Identity", "w", "y")], "does not depend on the input"),
}  # fmt: skip


@pytest.mark.parametrize("case", ENDS)
def test_ends(case: str) -> None:
    nodes, pattern = ENDS[case]
    tensors = {"w": draw(5, 144), "v": draw(3, 5), "c": draw(5, 3, 1, 1)}
    refused(model(nodes, tensors), pattern)


def classifier(**kwargs: Any) -> Any:
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f w", "y", transB=1)]
    return message(nodes, {"w": draw(5, 144)}, **kwargs)


def external(proto: Any) -> None:
    tensor = proto.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")


def too_small(proto: Any) -> None:
    proto.graph.initializer[0].dims[:] = [5, 10**12]


def negative(proto: Any) -> None:
    proto.graph.initializer[0].dims[:] = [-5, -144]


def twice(proto: Any) -> None:
    proto.graph.initializer.append(proto.graph.initializer[0])


def second_output(proto: Any) -> None:
    proto.graph.output.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, None))


def other_domain(proto: Any) -> None:
    proto.graph.node[0].domain = "com.microsoft"


def subgraph(proto: Any) -> None:
    attribute = proto.graph.node[0].attribute.add(name="body", type=onnx.AttributeProto.GRAPH)
    attribute.g.name = "inner"


def mask(proto: Any) -> None:
    proto.graph.node[0].output.append("mask")


def old(proto: Any) -> None:
    proto.opset_import[0].version = 12


def new(proto: Any) -> None:
    proto.opset_import[0].version = 999


def no_opset(proto: Any) -> None:
    del proto.opset_import[:]


def doubles(proto: Any) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def open_rows(proto: Any) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"


def vectors(proto: Any) -> None:
    del proto.graph.input[0].type.tensor_type.shape.dim[2:]


def no_shape(proto: Any) -> None:
    proto.graph.input[0].type.tensor_type.ClearField("shape")


def no_nodes(proto: Any) -> None:
    del proto.graph.node[:]


def sparse(proto: Any) -> None:
    proto.graph.sparse_initializer.add()


FILES: dict[Callable[[Any], None], str] = {
    external: r"'w' lies in another file.*external_data=False",
    too_small: r"'w' declares shape \[5, 1000000000000\] but holds 720",
    negative: "declares shape",
    twice: "used twice",
    second_output: "1 inputs and 2 outputs.*only the logits",
    other_domain: "domain 'com.microsoft'",
    subgraph: "'n_f'.*subgraph",
    mask: r"2 outputs.*eval\(\)",
    old: "opset 12.*opset_version=13",
    new: "opset 999.*pip install -U onnx",
    no_opset: "opset unknown",
    doubles: "input 'x' is double",
    open_rows: "leaves channels, rows or cols open.*fixed image size",
    vectors: "2 dimensions",
    no_shape: "0 dimensions",
    no_nodes: "no nodes",
    sparse: "sparse",
}


@pytest.mark.parametrize("change", FILES, ids=lambda change: change.__name__)
def test_files(change: Callable[[Any], None]) -> None:
    proto = classifier()
    change(proto)
    refused(proto.SerializeToString(), FILES[change])


def test_the_unchanged_classifier_is_good() -> None:
    assert read(classifier().SerializeToString()).graph.classes == 5


def test_reshape_to_another_fixed_batch() -> None:
    nodes = [node("Reshape", "x r", "f"), node("Gemm", "f w", "y", transB=1)]
    tensors = {"w": draw(5, 144), "r": np.array([4, -1])}
    refused(model(nodes, tensors, [2, 3, 8, 6]), "mixes images")
    refused(model(nodes, tensors, ["N", 3, 8, 6]), "mixes images")


def test_impossible_statistics_are_a_weights_error() -> None:
    norm = {name: np.ones(4, np.float32) for name in "stu"} | {"v": -np.ones(4, np.float32)}
    nodes = [node("BatchNormalization", "a s t u v", "m")]
    refused(headed(nodes, norm, 4), "running_var is negative", WeightsError)


@pytest.mark.parametrize("data", [b"", b"not a model", bytes(1000), b"\x08" * 40, b"\xff" * 64])
def test_other_files(data: bytes) -> None:
    refused(data, "not an ONNX model")


def test_bombs_are_refused_before_they_are_parsed() -> None:
    nested = b""
    for _ in range(limits.DEPTH_LIMIT):  # GraphProto.node.attribute.g, without end
        for tag in (0x32, 0x2A, 0x0A):
            nested = bytes([tag]) + _varint(len(nested)) + nested
    refused(b"\x3a" + _varint(len(nested)) + nested, "nested over")
    nodes = b"\x0a\x00" * (limits.FIELD_LIMIT + 1)  # empty nodes, two bytes each
    refused(b"\x3a" + _varint(len(nodes)) + nodes, "fields that are not weights")
    integers = b"\x3a" + _varint(limits.FIELD_LIMIT + 1) + bytes(limits.FIELD_LIMIT + 1)
    tensor = b"\x2a" + _varint(len(integers)) + integers
    refused(b"\x3a" + _varint(len(tensor)) + tensor, "fields that are not weights")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def test_too_many_nodes() -> None:
    chain = [node("Identity", f"v{n}", f"v{n + 1}") for n in range(limits.NODE_LIMIT + 1)]
    refused(model(chain, {}), f"at most {limits.NODE_LIMIT}")


def test_too_many_layers() -> None:
    chain = [node("MaxPool", f"v{n}", f"v{n + 1}", kernel_shape=[1, 2]) for n in range(1200)]
    nodes = [node("Conv", "x c", "v0"), *chain, node("Relu", "v1200", "r")]
    ends = [node("GlobalAveragePool", "r", "g"), node("Flatten", "g", "f")]
    tensors = {"c": draw(4, 3, 1, 1), "w": draw(5, 4)}
    shape = ["N", 3, 1, 4000]
    nodes += [*ends, node("Gemm", "f w", "y", transB=1)]
    refused(model(nodes, tensors, shape), "1 to 1024 layers")


def test_constants_that_double_and_double() -> None:
    doubles = [node("Concat", f"v{n} v{n}", f"v{n + 1}", axis=0) for n in range(60)]
    nodes = [*doubles, node("Reshape", "x v60", "f"), node("Gemm", "f w", "y")]
    refused(model(nodes, {"v0": np.array([1]), "w": draw(144, 5)}), "large constants")


def test_one_tensor_in_many_layers_is_counted_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "LIMIT_BYTES", 2000)
    chain = [node("Conv", f"v{n} c", f"v{n + 1}") for n in range(20)]
    nodes = [node("Conv", "x a", "v0"), *chain, node("GlobalAveragePool", "v20", "g")]
    nodes += [node("Flatten", "g", "f"), node("Gemm", "f w", "y", transB=1)]
    tensors = {"a": draw(8, 3, 1, 1), "c": draw(8, 8, 1, 1), "w": draw(5, 8)}
    refused(model(nodes, tensors), "its weights need 5376 bytes")
