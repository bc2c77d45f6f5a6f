"""From a plain mapping (what YAML gives) to a `Graph`. No numerics, no files.

Whatever cannot be built is a GraphError that names the layer, the cause and what to change. The
kinds of layers are in `graph_layers`.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from eftraind.errors import GraphError
from eftraind.graph import INPUT, Graph, InputSpec, Layer
from eftraind.graph_fields import MAX_CHANNELS, MAX_SIDE, check_keys, floats, integer
from eftraind.graph_layers import KINDS, Entry

MAX_LAYERS = 1_024


def _input(given: Any) -> InputSpec:
    if not isinstance(given, Mapping):
        raise GraphError("network: no input section", remedy="add input: {shape: [rows, cols, ch]}")
    check_keys("input", given, {"shape", "dtype", "scale", "mean", "std"})
    shape = given.get("shape")
    if not isinstance(shape, list) or len(shape) != 3:
        raise GraphError(f"input.shape is {shape!r}", remedy="give [rows, cols, channels]")
    rows, cols = (integer("input.shape", side, 1, MAX_SIDE) for side in shape[:2])
    channels = integer("input.shape", shape[2], 1, MAX_CHANNELS)
    dtype = given.get("dtype", "uint8")
    if dtype not in ("uint8", "float32"):
        raise GraphError(f"input.dtype is {dtype!r}", remedy="give uint8 or float32")
    scale = floats("input.scale", given.get("scale", 1.0), 1)[0]
    mean = floats("input.mean", given.get("mean", 0.0), channels)
    std = floats("input.std", given.get("std", 1.0), channels)
    if min(std) <= 0:
        raise GraphError(f"input.std is {std}", remedy="give positive numbers")
    return InputSpec((rows, cols, channels), dtype, scale, mean, std)


def from_mapping(given: Any) -> Graph:
    """Resolve and check a network description. Raises GraphError."""
    if not isinstance(given, Mapping):
        raise GraphError("a network is a mapping", remedy="see docs/networks.md for an example")
    check_keys("network", given, {"name", "input", "classes", "layers"})
    name = given.get("name")
    if not isinstance(name, str) or not name:
        raise GraphError(f"network: name is {name!r}", remedy="give it a name")
    spec = _input(given.get("input"))
    classes = integer("network: classes", given.get("classes"), 2, MAX_CHANNELS)
    described = given.get("layers")
    if not isinstance(described, list) or not 1 <= len(described) <= MAX_LAYERS:
        raise GraphError("network: no layers", remedy=f"list 1 to {MAX_LAYERS} layers")
    layers: list[Layer] = []
    for index, entry in enumerate(described):
        layers.append(_layer(index, entry, spec, layers))
    graph = Graph(name, spec, classes, tuple(layers))
    check(graph)
    return graph


def check(graph: Graph) -> None:
    """Raise GraphError for what no device can run, however the graph was made."""
    last = graph.layers[-1]
    if last.output_shape != (graph.classes, 1, 1):
        raise GraphError(
            f"layer {last.name}: {last.output_shape} is not {graph.classes} classes of 1 x 1",
            remedy=f"end with a linear layer of {graph.classes} channels",
        )
    if last.activation or not last.convolves:
        raise GraphError(
            f"layer {last.name}: the last layer must give plain logits",
            remedy="end with a linear layer or 1x1 convolution without activation",
        )
    for index, layer in enumerate(graph.layers[:-1]):
        if not graph.readers(index):
            raise GraphError(f"layer {layer.name}: nobody reads it", remedy="remove or connect it")
    for index in graph.readers(INPUT):
        layer = graph.layers[index]
        if not (layer.convolves or layer.kind == "maxpool") or layer.depthwise:
            raise GraphError(
                f"layer {layer.name}: a {layer.kind} reads the network input",
                remedy="begin with an ordinary convolution or a linear layer",
            )


def _layer(index: int, given: Any, spec: InputSpec, before: Sequence[Layer]) -> Layer:
    if not isinstance(given, Mapping):
        raise GraphError(f"layer {index} is {given!r}", remedy="give {name, kind, ...}")
    name = given.get("name")
    if not isinstance(name, str) or not name.replace("_", "a").replace("-", "a").isalnum():
        raise GraphError(f"layer {index}: name is {name!r}", remedy="use letters, digits, - and _")
    names = [layer.name for layer in before]
    if name in names or name == "input":
        raise GraphError(f"layer {name}: the name is used twice", remedy="rename one of them")
    kind = given.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        near = difflib.get_close_matches(str(kind), KINDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(KINDS))}"
        raise GraphError(f"layer {name}: unknown kind {kind!r}", remedy=hint)
    build, keys = KINDS[kind]
    check_keys(f"layer {name}", given, keys | {"name", "kind", "from"})
    inputs = _inputs(name, given.get("from", names[-1] if names else "input"), names)
    if len(inputs) > 1 and kind not in ("add", "concat"):
        raise GraphError(f"layer {name}: a {kind} reads one layer", remedy="name one in from")
    rows, cols, channels = spec.shape
    shapes = tuple(
        (channels, rows, cols) if source == INPUT else before[source].output_shape
        for source in inputs
    )
    return build(Entry(name, given, inputs, shapes))


def _inputs(name: str, given: Any, names: Sequence[str]) -> tuple[int, ...]:
    """Indices of the layers named in `from`."""
    wanted = given if isinstance(given, list) else [given]
    if not wanted:
        raise GraphError(f"layer {name}: it reads nothing", remedy="name a layer in from")
    out = []
    for source in wanted:
        if source != "input" and source not in names:
            near = difflib.get_close_matches(str(source), [*names, "input"], n=1)
            hint = f"did you mean {near[0]!r}?" if near else "name a layer above it, or input"
            raise GraphError(f"layer {name}: it reads {source!r}, which is not there", remedy=hint)
        out.append(INPUT if source == "input" else names.index(source))
    return tuple(out)
