"""A `Graph` as a new ONNX model of opset 13: images in as the first layer takes them, logits out.

The input is the normalised float32 image [N, C, H, W], as models exported by torch have it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from eftraind.graph import INPUT, Graph, Layer
from eftraind.onnx_io import describe
from eftraind.onnx_io.draft import F32

OPSET = 13
IR_VERSION = 7  # what came with opset 13, so that old runtimes read it


def build(graph: Graph, tensors: Mapping[str, F32]) -> Any:
    """The ONNX message; `tensors` were checked."""
    work = _Builder(graph, tensors)
    for index in range(len(graph.layers)):
        work.layer(index)
    return work.finish()


class _Builder:
    """Nodes so far, and what each layer's output is called."""

    def __init__(self, graph: Graph, tensors: Mapping[str, F32]) -> None:
        self._graph = graph
        self._tensors = tensors
        self._nodes: list[Any] = []
        self._stored: list[Any] = []
        self._outputs: dict[int, tuple[str, int]] = {INPUT: ("input", 4)}
        """Name and number of dimensions."""

    def finish(self) -> Any:
        name = self._read(len(self._graph.layers) - 1, 2)
        self._nodes.append(helper.make_node("Identity", [name], ["logits"], "/Identity"))
        rows, cols, channels = self._graph.input.shape
        real = onnx.TensorProto.FLOAT
        image = helper.make_tensor_value_info("input", real, ["N", channels, rows, cols])
        logits = helper.make_tensor_value_info("logits", real, ["N", self._graph.classes])
        body = helper.make_graph(
            self._nodes, self._graph.name, [image], [logits], initializer=self._stored
        )
        return helper.make_model(
            body,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="eftraind",
        )

    def layer(self, index: int) -> None:
        layer = self._graph.layers[index]
        if layer.kind == "linear":
            self._linear(index, layer)
        elif layer.kind in ("batchnorm", "dropout"):
            _, rank = self._outputs[layer.inputs[0]]
            self._simple(index, layer, rank)
        else:
            self._simple(index, layer, 4)
        if layer.activation:
            self._activation(index, layer)

    def _node(self, layer: Layer, operator: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{layer.name}/{operator}"
        name = f"/{layer.name}/{operator}"
        self._nodes.append(helper.make_node(operator, inputs, [output], name, **attributes))
        return output

    def _store(self, name: str, values: Any) -> str:
        if all(tensor.name != name for tensor in self._stored):
            self._stored.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def _weights(self, layer: Layer, *parts: str) -> list[str]:
        names = [f"{layer.name}.{part}" for part in parts]
        return [self._store(name, self._tensors[name]) for name in names]

    def _read(self, index: int, rank: int) -> str:
        """The output of a layer with that many dimensions."""
        name, has = self._outputs[index]
        if has == rank:
            return name
        operator = "Flatten" if rank == 2 else "Unsqueeze"
        made = f"{name}/{operator}"
        if not any(made in node.output for node in self._nodes):
            axes = [] if rank == 2 else [self._store("rows_cols", np.array([2, 3], np.int64))]
            given = {"axis": 1} if rank == 2 else {}
            self._nodes.append(helper.make_node(operator, [name, *axes], [made], **given))
        return made

    def _linear(self, index: int, layer: Layer) -> None:
        parts = ("weight", "bias") if layer.bias else ("weight",)
        inputs = [self._read(layer.inputs[0], 2), *self._weights(layer, *parts)]
        self._outputs[index] = (self._node(layer, "Gemm", inputs, transB=1), 2)

    def _simple(self, index: int, layer: Layer, rank: int) -> None:
        inputs = [self._read(source, rank) for source in layer.inputs]
        operator, attributes = _operator(layer)
        if layer.kind == "conv":
            inputs += self._weights(layer, *(("weight", "bias") if layer.bias else ("weight",)))
        elif layer.kind == "batchnorm":
            inputs += self._weights(layer, "weight", "bias", "running_mean", "running_var")
        elif layer.kind == "dropout":
            inputs.append(self._store(f"{layer.name}.rate", np.float32(layer.rate)))
        self._outputs[index] = (self._node(layer, operator, inputs, **attributes), rank)

    def _activation(self, index: int, layer: Layer) -> None:
        name, rank = self._outputs[index]
        kind = layer.activation.kind
        if kind == "relu6":
            bounds = [self._store(key, np.float32(v)) for key, v in (("zero", 0), ("six", 6))]
            made = self._node(layer, "Clip", [name, *bounds])
        elif kind == "leaky":
            made = self._node(layer, "LeakyRelu", [name], alpha=layer.activation.slope)
        else:
            made = self._node(layer, "Relu", [name])
        self._outputs[index] = (made, rank)


def _operator(layer: Layer) -> tuple[str, dict[str, Any]]:
    """Of a layer that is not linear: the operator and its attributes."""
    if layer.kind == "batchnorm":
        return "BatchNormalization", {"epsilon": layer.epsilon}
    if layer.kind == "concat":
        return "Concat", {"axis": 1}
    if layer.kind in ("add", "dropout"):
        return layer.kind.capitalize(), {}
    if describe.is_global_pool(layer):
        return "GlobalAveragePool", {}
    window = {
        "kernel_shape": [*layer.kernel],
        "strides": [*layer.stride],
        "pads": [*describe.padding(layer)],
    }
    if layer.kind == "conv":
        return "Conv", window | {"group": layer.groups}
    if layer.kind == "maxpool" or layer.kernel == (1, 1):
        return "MaxPool", window  # an average of one value is what import leaves out
    return "AveragePool", window | {"count_include_pad": int(layer.count_padding)}
