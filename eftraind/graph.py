"""The network: named layers in order, every shape resolved and checked. No numerics, no files.

A `Graph` comes from a plain mapping (what YAML gives). Whatever cannot be built is a GraphError
that names the layer, the cause and what to change. Shapes are (channels, rows, cols).
"""

import difflib
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from eftraind.errors import GraphError

Shape = tuple[int, int, int]

MAX_CHANNELS = 16_383
MAX_SIDE = 4_096
MAX_LAYERS = 1_024


@dataclass(frozen=True)
class Layer:
    """One resolved layer. A linear layer is a convolution whose kernel is the whole input map."""

    name: str
    kind: str
    """conv, linear or maxpool."""
    input_shape: Shape
    output_shape: Shape
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    bias: bool = False
    relu: bool = False

    @property
    def has_weights(self) -> bool:
        return self.kind in ("conv", "linear")

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(output channels, input channels, kernel rows, kernel cols)."""
        return (self.output_shape[0], self.input_shape[0], *self.kernel)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image's forward pass."""
        return math.prod(self.weight_shape) * math.prod(self.output_shape[1:])


@dataclass(frozen=True)
class InputSpec:
    """What a sample is: [rows, cols, channels] of dtype, normalised as (x*scale - mean) / std."""

    shape: tuple[int, int, int]
    dtype: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Graph:
    name: str
    input: InputSpec
    classes: int
    layers: tuple[Layer, ...]

    @property
    def digest(self) -> str:
        """Hex digest of the structure; weights of another structure do not fit."""
        text = repr([(f.name, getattr(self, f.name)) for f in fields(self) if f.name != "name"])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image's forward pass."""
        return sum(layer.macs for layer in self.layers if layer.has_weights)


_COMMON = {"name", "kind"}
_KEYS = {
    "conv": _COMMON | {"channels", "kernel", "padding", "stride", "bias", "relu"},
    "linear": _COMMON | {"channels", "bias", "relu"},
    "maxpool": _COMMON | {"window", "stride"},
}


def _check_keys(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), sorted(known), n=1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
            )
            raise GraphError(f"{where}: unknown key {key!r}", remedy=hint)


def _integer(where: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise GraphError(
            f"{where} is {value!r}", remedy=f"give a whole number from {low} to {high}"
        )
    return value


def _flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise GraphError(f"{where} is {value!r}", remedy="give true or false")
    return value


def _pair(where: str, value: Any, low: int, high: int) -> tuple[int, int]:
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value] * 2
    if len(values) != 2:
        raise GraphError(f"{where} is {value!r}", remedy="give one number or [rows, cols]")
    return _integer(where, values[0], low, high), _integer(where, values[1], low, high)


def _floats(where: str, value: Any, channels: int) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value] * channels
    good = all(isinstance(v, (int, float)) and math.isfinite(v) for v in values)
    if len(values) != channels or not good:
        raise GraphError(f"{where} is {value!r}", remedy=f"give {channels} finite number(s)")
    return tuple(float(v) for v in values)


def _input(given: Any) -> InputSpec:
    if not isinstance(given, Mapping):
        raise GraphError("network: no input section", remedy="add input: {shape: [rows, cols, ch]}")
    _check_keys("input", given, {"shape", "dtype", "scale", "mean", "std"})
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


def _conv(name: str, given: Mapping[str, Any], shape: Shape) -> Layer:
    where = f"layer {name}"
    channels = _integer(f"{where}: channels", given.get("channels"), 1, MAX_CHANNELS)
    kernel = _pair(f"{where}: kernel", given.get("kernel"), 1, 255)
    if kernel[0] % 2 == 0 or kernel[1] % 2 == 0:
        raise GraphError(f"{where}: kernel {kernel} is even", remedy="use an odd kernel side")
    padding = _pair(f"{where}: padding", given.get("padding", [k // 2 for k in kernel]), 0, 255)
    if padding[0] >= kernel[0] or padding[1] >= kernel[1]:
        raise GraphError(
            f"{where}: padding {padding} is not below the kernel {kernel}",
            remedy="use at most kernel - 1",
        )
    if given.get("stride", 1) != 1:
        raise GraphError(
            f"{where}: stride {given['stride']} is not supported for conv yet",
            remedy="use stride 1 and a maxpool",
        )
    rows = shape[1] + 2 * padding[0] - kernel[0] + 1
    cols = shape[2] + 2 * padding[1] - kernel[1] + 1
    if rows < 1 or cols < 1:
        raise GraphError(
            f"{where}: kernel {kernel} does not fit a map of {shape[1]} x {shape[2]}",
            remedy="use a smaller kernel, more padding or fewer pools before it",
        )
    return Layer(
        name,
        "conv",
        shape,
        (channels, rows, cols),
        kernel,
        (1, 1),
        padding,
        _flag(f"{where}: bias", given.get("bias", True)),
        _flag(f"{where}: relu", given.get("relu", False)),
    )


def _linear(name: str, given: Mapping[str, Any], shape: Shape) -> Layer:
    where = f"layer {name}"
    channels = _integer(f"{where}: channels", given.get("channels"), 1, MAX_CHANNELS)
    return Layer(
        name,
        "linear",
        shape,
        (channels, 1, 1),
        shape[1:],
        bias=_flag(f"{where}: bias", given.get("bias", True)),
        relu=_flag(f"{where}: relu", given.get("relu", False)),
    )


def _maxpool(name: str, given: Mapping[str, Any], shape: Shape) -> Layer:
    where = f"layer {name}"
    window = _pair(f"{where}: window", given.get("window"), 1, 255)
    stride = _pair(f"{where}: stride", given.get("stride", list(window)), 1, 255)
    rows, cols = ((side - k) // s + 1 for side, k, s in zip(shape[1:], window, stride, strict=True))
    if rows < 1 or cols < 1:
        raise GraphError(
            f"{where}: window {window} does not fit a map of {shape[1]} x {shape[2]}",
            remedy="use a smaller window",
        )
    return Layer(name, "maxpool", shape, (shape[0], rows, cols), window, stride)


_BUILDERS = {"conv": _conv, "linear": _linear, "maxpool": _maxpool}


def from_mapping(given: Any) -> Graph:
    """Resolve and check a network description. Raises GraphError."""
    if not isinstance(given, Mapping):
        raise GraphError("a network is a mapping", remedy="see docs/config.md for an example")
    _check_keys("network", given, {"name", "input", "classes", "layers"})
    name = given.get("name")
    if not isinstance(name, str) or not name:
        raise GraphError(f"network: name is {name!r}", remedy="give it a name")
    spec = _input(given.get("input"))
    classes = _integer("network: classes", given.get("classes"), 2, MAX_CHANNELS)
    described = given.get("layers")
    if not isinstance(described, list) or not 1 <= len(described) <= MAX_LAYERS:
        raise GraphError("network: no layers", remedy=f"list 1 to {MAX_LAYERS} layers")
    shape: Shape = (spec.shape[2], spec.shape[0], spec.shape[1])
    layers: list[Layer] = []
    for index, entry in enumerate(described):
        layers.append(_layer(index, entry, shape, {layer.name for layer in layers}))
        shape = layers[-1].output_shape
    if shape != (classes, 1, 1):
        raise GraphError(
            f"layer {layers[-1].name}: output {shape} is not {classes} classes of 1 x 1",
            remedy=f"end with a linear layer of {classes} channels",
        )
    if layers[-1].relu or not layers[-1].has_weights:
        raise GraphError(
            f"layer {layers[-1].name}: the last layer must give plain logits",
            remedy="end with a linear layer without relu",
        )
    return Graph(name, spec, classes, tuple(layers))


def _layer(index: int, entry: Any, shape: Shape, taken: set[str]) -> Layer:
    if not isinstance(entry, Mapping):
        raise GraphError(f"layer {index} is {entry!r}", remedy="give {name, kind, ...}")
    name = entry.get("name")
    if not isinstance(name, str) or not name.replace("_", "a").replace("-", "a").isalnum():
        raise GraphError(f"layer {index}: name is {name!r}", remedy="use letters, digits, - and _")
    if name in taken:
        raise GraphError(f"layer {name}: the name is used twice", remedy="rename one of them")
    kind = entry.get("kind")
    if kind not in _BUILDERS:
        near = difflib.get_close_matches(str(kind), _BUILDERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(_BUILDERS))}"
        raise GraphError(f"layer {name}: unknown kind {kind!r}", remedy=hint)
    _check_keys(f"layer {name}", entry, _KEYS[kind])
    return _BUILDERS[kind](name, entry, shape)
