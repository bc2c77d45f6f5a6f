"""The kinds of layers a network description may name: what each needs, and the shapes it gives.

`KINDS` is the table. A layer that cannot be is a GraphError that names it, the cause and what to
change. Reads no files and knows no device.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from eftraind.errors import GraphError
from eftraind.graph import NO_ACTIVATION, Activation, Layer, Shape
from eftraind.graph_fields import MAX_CHANNELS, MAX_SIDE, flag, integer, pair, real, sides

ACTIVATIONS = ("none", "relu", "relu6", "leaky")


@dataclass(frozen=True)
class Entry:
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


def _activation(entry: Entry) -> Activation:
    """`relu: true`, or `activation: relu6`, or `activation: leaky` with `slope`."""
    given = entry.given
    if "relu" in given:
        if "activation" in given:
            raise GraphError(f"{entry.where}: relu and activation", remedy="give one of them")
        return Activation("relu") if flag(f"{entry.where}: relu", given["relu"]) else NO_ACTIVATION
    kind = given.get("activation", "none")
    if kind not in ACTIVATIONS:
        raise GraphError(
            f"{entry.where}: activation is {kind!r}", remedy=f"give one of {', '.join(ACTIVATIONS)}"
        )
    slope = real(f"{entry.where}: slope", given.get("slope", 0.01), 0.0, 1.0)
    return Activation(kind, slope if kind == "leaky" else 0.0)


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


def _conv(entry: Entry) -> Layer:
    where, given, shape = entry.where, entry.given, entry.shape
    groups = integer(f"{where}: groups", given.get("groups", 1), 1, MAX_CHANNELS)
    default = shape[0] if groups > 1 else None
    channels = integer(f"{where}: channels", given.get("channels", default), 1, MAX_CHANNELS)
    if groups > 1 and not groups == channels == shape[0]:
        raise GraphError(
            f"{where}: {groups} groups of {shape[0]} input and {channels} output channels",
            remedy="only 1 group or depthwise (groups = channels = input channels) is supported",
        )
    kernel = pair(f"{where}: kernel", given.get("kernel"), 1, 255)
    if "padding" not in given and (kernel[0] % 2 == 0 or kernel[1] % 2 == 0):
        raise GraphError(f"{where}: kernel {kernel} is even", remedy="state its padding")
    stride = pair(f"{where}: stride", given.get("stride", 1), 1, 255)
    padding = sides(f"{where}: padding", given.get("padding", [k // 2 for k in kernel]))
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
        flag(f"{where}: bias", given.get("bias", True)),
        _activation(entry),
    )


def _linear(entry: Entry) -> Layer:
    where, given, shape = entry.where, entry.given, entry.shape
    channels = integer(f"{where}: channels", given.get("channels"), 1, MAX_CHANNELS)
    return Layer(
        entry.name,
        "linear",
        entry.inputs,
        shape,
        (channels, 1, 1),
        shape[1:],
        bias=flag(f"{where}: bias", given.get("bias", True)),
        activation=_activation(entry),
    )


def _pool(entry: Entry) -> Layer:
    where, given, shape = entry.where, entry.given, entry.shape
    kind = str(given["kind"])
    window = pair(f"{where}: window", given.get("window"), 1, MAX_SIDE)
    stride = pair(f"{where}: stride", given.get("stride", list(window)), 1, 255)
    padding = sides(f"{where}: padding", given.get("padding", 0))
    if any(2 * p > k for p, k in zip(padding, (*window, *window), strict=True)):
        raise GraphError(
            f"{where}: padding {padding} is over half the window {window}",
            remedy="use at most half the window",
        )
    rows, cols = _swept(where, shape, window, stride, padding)
    counts = flag(f"{where}: count_padding", given.get("count_padding", True))
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


def _global_pool(entry: Entry) -> Layer:
    shape = entry.shape
    return Layer(entry.name, "avgpool", entry.inputs, shape, (shape[0], 1, 1), shape[1:], shape[1:])


def _batchnorm(entry: Entry) -> Layer:
    epsilon = real(f"{entry.where}: epsilon", entry.given.get("epsilon", 1e-5), 1e-12, 1.0)
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


def _add(entry: Entry) -> Layer:
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


def _concat(entry: Entry) -> Layer:
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


def _dropout(entry: Entry) -> Layer:
    rate = real(f"{entry.where}: rate", entry.given.get("rate"), 0.0, 1.0)
    return Layer(entry.name, "dropout", entry.inputs, entry.shape, entry.shape, rate=rate)


_ACT = {"relu", "activation", "slope"}
_POOL = {"window", "stride", "padding"}
KINDS: dict[str, tuple[Callable[[Entry], Layer], set[str]]] = {
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
