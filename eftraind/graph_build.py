"""From a plain mapping (what YAML gives) to a `Graph`. No numerics, no files.

Whatever cannot be built is a GraphError that names the layer, the cause and what to change.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eftraind.errors import GraphError
from eftraind.graph import INPUT, NO_ACTIVATION, Activation, Graph, InputSpec, Layer, Shape

MAX_CHANNELS = 16_383
MAX_SIDE = 4_096
MAX_LAYERS = 1_024
ACTIVATIONS = ("none", "relu", "relu6", "leaky")


@dataclass(frozen=True)
class _Entry:
    """One layer's description with its inputs resolved."""

    name: str
    given: Mapping[str, Any]
    inputs: tuple[int, ...]
    shapes: tuple[Shape, ...]

    @property
    def where(self) -> str:
        return f"layer {self.name}"

    @property
    def shape(self) -> Shape:
        return self.shapes[0]


def check_keys(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), sorted(known), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
            raise GraphError(f"{where}: unknown key {key!r}", remedy=hint)


def _integer(where: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise GraphError(
            f"{where} is {value!r}", remedy=f"give a whole number from {low} to {high}"
        )
    return value


def _real(where: str, value: Any, low: float, high: float) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not low <= value < high:
        raise GraphError(f"{where} is {value!r}", remedy=f"give a number from {low} to {high}")
    return float(value)


def _flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise GraphError(f"{where} is {value!r}", remedy="give true or false")
    return value


def _pair(where: str, value: Any, low: int, high: int) -> tuple[int, int]:
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value] * 2
    if len(values) != 2:
        raise GraphError(f"{where} is {value!r}", remedy="give one number or [rows, cols]")
    return _integer(where, values[0], low, high), _integer(where, values[1], low, high)


def _padding(where: str, value: Any) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) from one number, [rows, cols] or all four."""
    if isinstance(value, list) and len(value) == 4:
        top, left, bottom, right = (_integer(where, v, 0, 255) for v in value)
        return top, left, bottom, right
    rows, cols = _pair(where, value, 0, 255)
    return rows, cols, rows, cols


def _floats(where: str, value: Any, channels: int) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value] * channels
    good = all(isinstance(v, (int, float)) and math.isfinite(v) for v in values)
    if len(values) != channels or not good:
        raise GraphError(f"{where} is {value!r}", remedy=f"give {channels} finite number(s)")
    return tuple(float(v) for v in values)


def _activation(entry: _Entry) -> Activation:
    """`relu: true`, or `activation: relu6`, or `activation: leaky` with `slope`."""
    given = entry.given
    if "relu" in given:
        if "activation" in given:
            raise GraphError(f"{entry.where}: relu and activation", remedy="give one of them")
        return Activation("relu") if _flag(f"{entry.where}: relu", given["relu"]) else NO_ACTIVATION
    kind = given.get("activation", "none")
    if kind not in ACTIVATIONS:
        raise GraphError(
            f"{entry.where}: activation is {kind!r}", remedy=f"give one of {', '.join(ACTIVATIONS)}"
        )
    slope = _real(f"{entry.where}: slope", given.get("slope", 0.01), 0.0, 1.0)
    return Activation(kind, slope if kind == "leaky" else 0.0)


def _input(given: Any) -> InputSpec:
    if not isinstance(given, Mapping):
        raise GraphError("network: no input section", remedy="add input: {shape: [rows, cols, ch]}")
    check_keys("input", given, {"shape", "dtype", "scale", "mean", "std"})
    shape = given.get("shape")
    if not isinstance(shape, list) or len(shape) != 3:
        raise GraphError(f"input.shape is {shape!r}", remedy="give [rows, cols, channels]")
    rows, cols = (_integer("input.shape", side, 1, MAX_SIDE) for side in shape[:2])
    channels = _integer("input.shape", shape[2], 1, MAX_CHANNELS)
    dtype = given.get("dtype", "uint8")
    if dtype not in ("uint8", "float32"):
        raise GraphError(f"input.dtype is {dtype!r}", remedy="give uint8 or float32")
    scale = _floats("input.scale", given.get("scale", 1.0), 1)[0]
    mean = _floats("input.mean", given.get("mean", 0.0), channels)
    std = _floats("input.std", given.get("std", 1.0), channels)
    if min(std) <= 0:
        raise GraphError(f"input.std is {std}", remedy="give positive numbers")
    return InputSpec((rows, cols, channels), dtype, scale, mean, std)


def _swept(
    where: str,
    shape: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> tuple[int, int]:
    """Rows and columns of a window's sweep over a map. Raises GraphError if it does not fit."""
    top, left, bottom, right = padding
    if max(top, bottom) >= kernel[0] or max(left, right) >= kernel[1]:
        raise GraphError(
            f"{where}: padding {padding} is not below the kernel {kernel}",
            remedy="use at most kernel - 1",
        )
    rows = (shape[1] + top + bottom - kernel[0]) // stride[0] + 1
    cols = (shape[2] + left + right - kernel[1]) // stride[1] + 1
    if shape[1] + top + bottom < kernel[0] or shape[2] + left + right < kernel[1]:
        raise GraphError(
            f"{where}: kernel {kernel} does not fit a map of {shape[1]} x {shape[2]}",
            remedy="use a smaller one, more padding or fewer pools before it",
        )
    return rows, cols


def _conv(entry: _Entry) -> Layer:
    where, given, shape = entry.where, entry.given, entry.shape
    groups = _integer(f"{where}: groups", given.get("groups", 1), 1, MAX_CHANNELS)
    default = shape[0] if groups > 1 else None
    channels = _integer(f"{where}: channels", given.get("channels", default), 1, MAX_CHANNELS)
    if groups > 1 and not groups == channels == shape[0]:
        raise GraphError(
            f"{where}: {groups} groups of {shape[0]} input and {channels} output channels",
            remedy="only 1 group or depthwise (groups = channels = input channels) is supported",
        )
    kernel = _pair(f"{where}: kernel", given.get("kernel"), 1, 255)
    if "padding" not in given and (kernel[0] % 2 == 0 or kernel[1] % 2 == 0):
        raise GraphError(f"{where}: kernel {kernel} is even", remedy="state its padding")
    stride = _pair(f"{where}: stride", given.get("stride", 1), 1, 255)
    padding = _padding(f"{where}: padding", given.get("padding", [k // 2 for k in kernel]))
    rows, cols = _swept(where, shape, kernel, stride, padding)
    return Layer(
        entry.name,
        "conv",
        entry.inputs,
        shape,
        (channels, rows, cols),
        kernel,
        stride,
        padding[:2],
        groups,
        _flag(f"{where}: bias", given.get("bias", True)),
        _activation(entry),
    )


def _linear(entry: _Entry) -> Layer:
    where, given, shape = entry.where, entry.given, entry.shape
    channels = _integer(f"{where}: channels", given.get("channels"), 1, MAX_CHANNELS)
    return Layer(
        entry.name,
        "linear",
        entry.inputs,
        shape,
        (channels, 1, 1),
        shape[1:],
        bias=_flag(f"{where}: bias", given.get("bias", True)),
        activation=_activation(entry),
    )


def _pool(entry: _Entry) -> Layer:
    where, given, shape = entry.where, entry.given, entry.shape
    kind = str(given["kind"])
    window = _pair(f"{where}: window", given.get("window"), 1, MAX_SIDE)
    stride = _pair(f"{where}: stride", given.get("stride", list(window)), 1, 255)
    padding = _padding(f"{where}: padding", given.get("padding", 0))
    if any(2 * p > k for p, k in zip(padding, (*window, *window), strict=True)):
        raise GraphError(
            f"{where}: padding {padding} is over half the window {window}",
            remedy="use at most half the window",
        )
    rows, cols = _swept(where, shape, window, stride, padding)
    counts = _flag(f"{where}: count_padding", given.get("count_padding", True))
    return Layer(
        entry.name,
        kind,
        entry.inputs,
        shape,
        (shape[0], rows, cols),
        window,
        stride,
        padding[:2],
        count_padding=counts,
    )


def _global_pool(entry: _Entry) -> Layer:
    shape = entry.shape
    return Layer(entry.name, "avgpool", entry.inputs, shape, (shape[0], 1, 1), shape[1:], shape[1:])


def _batchnorm(entry: _Entry) -> Layer:
    epsilon = _real(f"{entry.where}: epsilon", entry.given.get("epsilon", 1e-5), 1e-12, 1.0)
    return Layer(
        entry.name,
        "batchnorm",
        entry.inputs,
        entry.shape,
        entry.shape,
        bias=True,
        activation=_activation(entry),
        epsilon=epsilon,
    )


def _add(entry: _Entry) -> Layer:
    if len(entry.inputs) != 2 or entry.inputs[0] == entry.inputs[1]:
        raise GraphError(
            f"{entry.where}: an add reads two different layers", remedy="give from: [one, other]"
        )
    if entry.shapes[0] != entry.shapes[1]:
        raise GraphError(
            f"{entry.where}: shapes {entry.shapes[0]} and {entry.shapes[1]} differ",
            remedy="bring both to one shape, for example by a 1x1 convolution",
        )
    return Layer(
        entry.name, "add", entry.inputs, entry.shape, entry.shape, activation=_activation(entry)
    )


def _concat(entry: _Entry) -> Layer:
    if len(entry.inputs) < 2 or len(set(entry.inputs)) != len(entry.inputs):
        raise GraphError(
            f"{entry.where}: a concat reads two or more different layers",
            remedy="give from: [one, other]",
        )
    if len({shape[1:] for shape in entry.shapes}) != 1:
        raise GraphError(
            f"{entry.where}: maps {[s[1:] for s in entry.shapes]} differ",
            remedy="bring all to the same rows and columns",
        )
    channels = sum(shape[0] for shape in entry.shapes)
    if channels > MAX_CHANNELS:
        raise GraphError(f"{entry.where}: {channels} channels", remedy=f"at most {MAX_CHANNELS}")
    return Layer(entry.name, "concat", entry.inputs, entry.shape, (channels, *entry.shape[1:]))


def _dropout(entry: _Entry) -> Layer:
    rate = _real(f"{entry.where}: rate", entry.given.get("rate"), 0.0, 1.0)
    return Layer(entry.name, "dropout", entry.inputs, entry.shape, entry.shape, rate=rate)


_ACT = {"relu", "activation", "slope"}
_POOL = {"window", "stride", "padding"}
_KINDS: dict[str, tuple[Callable[[_Entry], Layer], set[str]]] = {
    "conv": (_conv, {"channels", "kernel", "padding", "stride", "groups", "bias"} | _ACT),
    "linear": (_linear, {"channels", "bias"} | _ACT),
    "maxpool": (_pool, _POOL),
    "avgpool": (_pool, _POOL | {"count_padding"}),
    "globalpool": (_global_pool, set()),
    "batchnorm": (_batchnorm, {"epsilon"} | _ACT),
    "add": (_add, _ACT),
    "concat": (_concat, set()),
    "dropout": (_dropout, {"rate"}),
}


def from_mapping(given: Any) -> Graph:
    """Resolve and check a network description. Raises GraphError."""
    if not isinstance(given, Mapping):
        raise GraphError("a network is a mapping", remedy="see docs/networks.md for an example")
    check_keys("network", given, {"name", "input", "classes", "layers"})
    name = given.get("name")
    if not isinstance(name, str) or not name:
        raise GraphError(f"network: name is {name!r}", remedy="give it a name")
    spec = _input(given.get("input"))
    classes = _integer("network: classes", given.get("classes"), 2, MAX_CHANNELS)
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
        if not layer.convolves or layer.depthwise:
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
    if kind not in _KINDS:
        near = difflib.get_close_matches(str(kind), _KINDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(_KINDS))}"
        raise GraphError(f"layer {name}: unknown kind {kind!r}", remedy=hint)
    build, keys = _KINDS[kind]
    check_keys(f"layer {name}", given, keys | {"name", "kind", "from"})
    inputs = _inputs(name, given.get("from", names[-1] if names else "input"), names)
    if len(inputs) > 1 and kind not in ("add", "concat"):
        raise GraphError(f"layer {name}: a {kind} reads one layer", remedy="name one in from")
    rows, cols, channels = spec.shape
    shapes = tuple(
        (channels, rows, cols) if source == INPUT else before[source].output_shape
        for source in inputs
    )
    return build(_Entry(name, given, inputs, shapes))


def _inputs(name: str, given: Any, names: Sequence[str]) -> tuple[int, ...]:
    """Indices of the layers named in `from`."""
    wanted = given if isinstance(given, list) else [given]
    out = []
    for source in wanted:
        if source != "input" and source not in names:
            near = difflib.get_close_matches(str(source), [*names, "input"], n=1)
            hint = f"did you mean {near[0]!r}?" if near else "name a layer above it, or input"
            raise GraphError(f"layer {name}: it reads {source!r}, which is not there", remedy=hint)
        out.append(INPUT if source == "input" else names.index(source))
    return tuple(out)
