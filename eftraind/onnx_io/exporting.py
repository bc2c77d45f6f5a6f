"""`eftraind export`: adapted weights go back into the ONNX file they came from, or into a new one.

Whatever is written was read back first and found to be the same network with the same weights.
"""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from eftraind import networks, params
from eftraind.errors import ConfigError, GraphError
from eftraind.fsio import FileOps, atomic_write
from eftraind.graph import Graph, Layer
from eftraind.onnx_io import building, describe, importing, reading
from eftraind.onnx_io.draft import F32, Origin
from eftraind.store import weights


def like(original: bytes, label: str, graph: Graph, tensors: Mapping[str, F32]) -> bytes:
    """The original file with new weights and statistics; raises GraphError, WeightsError."""
    proto = reading.parse(original, label)
    found = importing.from_proto(proto, label, graph.name, _samples(graph))
    _check_same(graph, found.graph, label)
    params.check(graph, tensors)
    model = _Surgery(proto)
    for name, origin in found.origins.items():
        model.put(name, origin, tensors[name])
    model.clear()
    return _proven(proto, graph, tensors)


def fresh(graph: Graph, tensors: Mapping[str, F32]) -> bytes:
    """A new ONNX file of a network; raises GraphError, WeightsError."""
    params.check(graph, tensors)
    proto = building.build(graph, tensors)
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = reading.shown(str(error).strip().partition("\n")[0])
        message = f"network {graph.name} makes no valid ONNX model: {reason}"
        raise GraphError(message, remedy="rename its layers, or report this") from error
    return _proven(proto, graph, tensors)


def _samples(graph: Graph) -> dict[str, Any]:
    spec = graph.input
    return {
        "dtype": spec.dtype,
        "scale": spec.scale,
        "mean": [*spec.mean],
        "std": [*spec.std],
    }


def _check_same(graph: Graph, found: Graph, label: str) -> None:
    """Raise GraphError, with the first difference, unless `found` is the network `graph`."""
    if graph.digest == found.digest:
        return
    remedy = "give the file that the network was imported from, and its unchanged description"
    if len(graph.layers) != len(found.layers):
        raise GraphError(
            f"network {graph.name} has {len(graph.layers)} layers, {label} has {len(found.layers)}",
            remedy=remedy,
        )
    for ours, theirs in zip(graph.layers, found.layers, strict=True):
        if ours != theirs:
            raise GraphError(
                f"layer {ours.name} of network {graph.name} differs from {theirs.name} of {label}",
                remedy=remedy,
            )
    raise GraphError(f"network {graph.name} and {label} take different images", remedy=remedy)


class _Surgery:
    """Replaces what nodes read, in place."""

    def __init__(self, proto: Any) -> None:
        self._graph = proto.graph
        self._stored = {tensor.name: tensor for tensor in self._graph.initializer}
        self._uses = Counter(name for node in self._graph.node for name in node.input)
        self._uses.update(entry.name for entry in self._graph.output)
        self._taken = {*self._stored, *self._uses, *(entry.name for entry in self._graph.input)}
        self._taken.update(name for node in self._graph.node for name in node.output)
        self._left: set[str] = set()

    def put(self, name: str, origin: Origin, values: F32) -> None:
        """Store one tensor where it came from; a shared initialiser is left to the others."""
        stored = (values.T if origin.transposed else values).reshape(origin.shape)
        node = self._graph.node[origin.node]
        old = node.input[origin.slot]
        data = np.ascontiguousarray(stored, dtype="<f4").tobytes()
        if old in self._stored and self._uses[old] == 1:
            self._stored[old].ClearField("float_data")
            self._stored[old].raw_data = data
            return
        tensor = onnx.TensorProto(
            name=self._new_name(name), data_type=onnx.TensorProto.FLOAT, dims=stored.shape
        )
        tensor.raw_data = data
        self._graph.initializer.append(tensor)
        node.input[origin.slot] = tensor.name
        self._uses[old] -= 1
        self._left.add(old)

    def _new_name(self, name: str) -> str:
        unique, number = name, 2
        while unique in self._taken:
            unique, number = f"{name}_{number}", number + 1
        self._taken.add(unique)
        return unique

    def clear(self) -> None:
        """Remove the stores, copies and constants that nobody reads any more."""
        makers = {name: node for node in self._graph.node for name in node.output}
        waiting = [name for name in self._left if self._uses[name] == 0]
        dead: set[str] = set()
        while waiting:
            name = waiting.pop()
            dead.add(name)
            for source in makers[name].input if name in makers else ():
                self._uses[source] -= 1
                waiting += [source] if self._uses[source] == 0 else []
        _drop(
            self._graph.node, [node.output and node.output[0] in dead for node in self._graph.node]
        )
        _drop(self._graph.initializer, [t.name in dead for t in self._graph.initializer])
        _drop(self._graph.input, [entry.name in dead for entry in self._graph.input])


def _drop(entries: Any, is_dead: Sequence[bool]) -> None:
    for position in reversed(range(len(is_dead))):
        if is_dead[position]:
            del entries[position]


def _proven(proto: Any, graph: Graph, tensors: Mapping[str, F32]) -> bytes:
    """The file's bytes, after reading them back."""
    data: bytes = proto.SerializeToString()
    back = importing.read_model(data, "the exported model", graph.name, _samples(graph))
    names = params.shapes(graph)
    pairs = zip(back.params.values(), (tensors[name] for name in names), strict=True)
    if _essence(back.graph) != _essence(graph) or not all(
        np.array_equal(one, other) for one, other in pairs
    ):
        raise GraphError("the exported model reads back differently", remedy="report it")
    return data


def _essence(graph: Graph) -> list[Layer]:
    """The layers with what ONNX keeps of them: no names, float32 numbers, one pool of one value."""
    out = []
    for layer in graph.layers:
        pool = layer.kind in ("maxpool", "avgpool")
        whole = pool and layer.kernel == (1, 1)
        known = replace(
            layer,
            name="",
            kind="maxpool" if whole else layer.kind,
            activation=replace(layer.activation, slope=reading.rounded(layer.activation.slope)),
            epsilon=reading.rounded(layer.epsilon),
            rate=reading.rounded(layer.rate),
            count_padding=layer.count_padding or whole or not any(describe.padding(layer)),
        )
        out.append(known)
    return out


# The command


def run(given: argparse.Namespace) -> str:
    """`eftraind export --network NET --weights FILE --output OUT.onnx`; says what it wrote."""
    output = Path(given.output)
    if output.exists() and not given.force:
        raise ConfigError(f"{output} exists", remedy="choose another --output, or give --force")
    graph = networks.load(given.network)
    tensors = weights.read_weights(FileOps(), Path(given.weights))
    if given.like is None:
        data = fresh(graph, tensors)
    else:
        source = Path(given.like)
        data = like(importing.load(source), source.name, graph, tensors)
    atomic_write(FileOps(), output, [data])
    return f"wrote {output}: {len(graph.layers)} layers, {len(tensors)} tensors"
