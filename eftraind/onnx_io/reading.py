"""From the bytes of an ONNX file to plain nodes and arrays. Judges the file, not the network.

Everything is checked against what the file holds before an array is made of it: opset, types,
sizes, external data. What the nodes mean is decided in `translate`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError

from eftraind.errors import GraphError
from eftraind.onnx_io import limits

Array = npt.NDArray[Any]
FIRST_OPSET = 13
STANDARD = ("", "ai.onnx")
_TENSOR = onnx.TensorProto
_STORED = {  # data type -> (numpy type, the field that holds it when raw_data does not)
    _TENSOR.FLOAT: ("<f4", "float_data"),
    _TENSOR.INT64: ("<i8", "int64_data"),
    _TENSOR.INT32: ("<i4", "int32_data"),
    _TENSOR.BOOL: ("?", "int32_data"),
}


@dataclass(frozen=True)
class Node:
    """One operator with its attributes as plain Python values."""

    index: int
    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def where(self) -> str:
        named = self.name or (self.outputs[0] if self.outputs else "")
        return f"node {shown(named)} ({shown(self.operator)[1:-1]})"

    def error(self, problem: str, remedy: str) -> GraphError:
        return GraphError(f"{self.where}: {problem}", remedy=remedy)


@dataclass(frozen=True)
class Model:
    """A classifier's graph: one image input, one output, everything the nodes need as arrays."""

    label: str
    input: str
    shape: tuple[int, int, int]
    """(channels, rows, cols) of one image."""
    batch: int | None
    """None if the file leaves it open."""
    output: str
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]


def shown(name: Any) -> str:
    """A name from the file, safe to print."""
    text = name if isinstance(name, str) else repr(name)
    return ascii(text if len(text) <= 80 else text[:77] + "...")


def _text(name: Any) -> str:
    """A name; protobuf gives one that is not UTF-8 as bytes, or raises."""
    return name if isinstance(name, str) else str(name, "utf-8")


def parse(data: bytes, label: str) -> Any:
    """The checked protobuf message. Raises GraphError."""
    limits.check(onnx.ModelProto.DESCRIPTOR, data, label)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        raise limits.not_onnx(label, shown(str(error))) from error
    return proto


def model(proto: Any, label: str) -> Model:
    """The plain model. Raises GraphError, which names `label` or the node."""
    try:
        return _model(proto, label)
    except UnicodeDecodeError as error:
        raise limits.not_onnx(label, "a name is not UTF-8") from error
    except GraphError as error:
        if error.message.startswith(label):
            raise
        raise GraphError(f"{label}: {error.message}", remedy=error.remedy) from error


def _model(proto: Any, label: str) -> Model:
    if not proto.graph.node:
        raise limits.not_onnx(label, "it has no nodes")
    _check_versions(proto, label)
    graph = proto.graph
    if graph.sparse_initializer:
        raise GraphError(f"{label}: sparse weights", remedy="export dense ones")
    if len(graph.node) > limits.NODE_LIMIT:
        raise GraphError(
            f"{label} has {len(graph.node)} nodes", remedy=f"at most {limits.NODE_LIMIT} are read"
        )
    constants = {_text(tensor.name): array(tensor) for tensor in graph.initializer}
    if len(constants) < len(graph.initializer):
        raise GraphError(f"{label}: an initialiser's name is used twice", remedy="export it again")
    inputs = [entry for entry in graph.input if entry.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        names = ", ".join([shown(entry.name) for entry in (*inputs, *graph.output)][:8])
        raise GraphError(
            f"{label} has {len(inputs)} inputs and {len(graph.output)} outputs ({names})",
            remedy="export a model with one image input that returns only the logits",
        )
    batch, shape = _image(inputs[0])
    nodes = tuple(_node(index, node) for index, node in enumerate(graph.node))
    return Model(
        label, _text(inputs[0].name), shape, batch, _text(graph.output[0].name), nodes, constants
    )


def _check_versions(proto: Any, label: str) -> None:
    versions = [entry.version for entry in proto.opset_import if entry.domain in STANDARD]
    newest = onnx.defs.onnx_opset_version()
    if not versions or max(versions) < FIRST_OPSET:
        raise GraphError(
            f"{label} is of opset {max(versions, default='unknown')}",
            remedy=f"export it with opset_version={FIRST_OPSET} or later",
        )
    if max(versions) > newest:
        raise GraphError(
            f"{label} is of opset {max(versions)}, the installed onnx knows {newest}",
            remedy=f"export it with opset_version={newest}, or: pip install -U onnx",
        )


def _image(entry: Any) -> tuple[int | None, tuple[int, int, int]]:
    """Batch size, if fixed, and (channels, rows, cols)."""
    where = f"input {shown(entry.name)}"
    tensor = entry.type.tensor_type
    if tensor.elem_type != _TENSOR.FLOAT:
        raise GraphError(
            f"{where} is {_type_name(tensor.elem_type)}, not float32",
            remedy="export the float32 model; --dtype says what the samples will be",
        )
    sizes = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    if len(sizes) != 4:
        raise GraphError(
            f"{where} has {len(sizes)} dimensions", remedy="export with images [N, C, H, W]"
        )
    channels, rows, cols = (size or 0 for size in sizes[1:])
    if min(channels, rows, cols) < 1:
        raise GraphError(
            f"{where} leaves channels, rows or cols open: {sizes}",
            remedy="export with a fixed image size; only the batch may be dynamic",
        )
    batch = sizes[0]
    if batch is not None and batch < 1:
        raise GraphError(f"{where} has batch {batch}", remedy="export with one image, or dynamic")
    return batch, (channels, rows, cols)


def _node(index: int, proto: Any) -> Node:
    reads, makes = (tuple(_text(name) for name in names) for names in (proto.input, proto.output))
    bare = Node(index, _text(proto.name), _text(proto.op_type), reads, makes, {})
    if proto.domain not in STANDARD:
        raise bare.error(
            f"operator of domain {shown(proto.domain)}",
            "export with standard operators only (and inline local functions)",
        )
    attributes: dict[str, Any] = {}
    for entry in proto.attribute:
        name = _text(entry.name)
        if name in attributes:
            raise bare.error(f"attribute {shown(name)} twice", "export it again")
        attributes[name] = _attribute(bare, entry)
    return Node(index, bare.name, bare.operator, bare.inputs, bare.outputs, attributes)


def _attribute(node: Node, entry: Any) -> Any:
    kinds = onnx.AttributeProto
    if entry.type == kinds.FLOAT:
        return rounded(entry.f)
    if entry.type == kinds.INT:
        return int(entry.i)
    if entry.type == kinds.STRING:
        return entry.s.decode("utf-8")
    if entry.type == kinds.INTS:
        return [int(value) for value in entry.ints]
    if entry.type == kinds.FLOATS:
        return [rounded(value) for value in entry.floats]
    if entry.type == kinds.TENSOR:
        return array(entry.t)
    if entry.type in (kinds.GRAPH, kinds.GRAPHS):
        raise node.error("it holds a subgraph", "export a model without branches or loops")
    raise node.error(
        f"attribute {shown(entry.name)} is of an unsupported type", "export it with torch.onnx"
    )


def rounded(value: float) -> float:
    """The shortest number that is the same float32.

    >>> rounded(9.999999747378752e-06)
    1e-05
    """
    return float(str(np.float32(value)))


def _type_name(number: int) -> str:
    known = _TENSOR.DataType.values()
    return str(_TENSOR.DataType.Name(number)).lower() if number in known else f"type {number}"


def array(tensor: Any) -> Array:
    """A tensor's values, after its declared size was held against what the file holds."""
    where = f"tensor {shown(tensor.name)}"
    if tensor.data_location == _TENSOR.EXTERNAL or tensor.external_data:
        raise GraphError(
            f"{where} lies in another file (external data)",
            remedy="export with external_data=False, or onnx.save(onnx.load(path), new_path)",
        )
    if tensor.data_type not in _STORED:
        raise GraphError(
            f"{where} is {_type_name(tensor.data_type)}",
            remedy="export the model in float32, not quantised and not in half precision",
        )
    dtype, field = _STORED[tensor.data_type]
    shape = tuple(int(side) for side in tensor.dims)
    count = math.prod(shape)
    listed = getattr(tensor, field)
    held = len(tensor.raw_data) / np.dtype(dtype).itemsize if tensor.raw_data else len(listed)
    if min(shape, default=0) < 0 or len(shape) > 8 or held != count or tensor.HasField("segment"):
        raise GraphError(
            f"{where} declares shape {list(shape[:8])} but holds {held:g} values",
            remedy="the file is damaged; export it again",
        )
    if tensor.raw_data:
        return np.frombuffer(tensor.raw_data, dtype).reshape(shape)
    return np.array(listed, dtype).reshape(shape)
