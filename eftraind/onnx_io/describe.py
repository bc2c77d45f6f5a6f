"""A `Graph` as the plain mapping and the YAML text that `graph_build` turns back into it.

The inverse of `graph_build.from_mapping`: whatever is the default there is left out here.
"""

import json
import re
from typing import Any

from eftraind.graph import INPUT, Graph, Layer

Padding = tuple[int, int, int, int]
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_NOT_TEXT = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # to YAML 1.1


def padding(layer: Layer) -> Padding:
    """(top, left, bottom, right): the least that gives the layer's output size.

    >>> padding(Layer("c", "conv", (-1,), (1, 8, 8), (1, 4, 4), (3, 3), (2, 2), (1, 1)))
    (1, 1, 0, 0)
    """
    below = [
        max(0, (out - 1) * stride + kernel - size - before)
        for out, stride, kernel, size, before in zip(
            layer.output_shape[1:],
            layer.stride,
            layer.kernel,
            layer.input_shape[1:],
            layer.padding,
            strict=True,
        )
    ]
    return (*layer.padding, below[0], below[1])


def is_global_pool(layer: Layer) -> bool:
    whole = layer.input_shape[1:]
    return layer.kind == "avgpool" and layer.kernel == layer.stride == whole and layer.count_padding


def to_mapping(graph: Graph) -> dict[str, Any]:
    """Plain data that `graph_build.from_mapping` turns into the same graph."""
    spec = graph.input
    shown: dict[str, Any] = {"shape": list(spec.shape), "dtype": spec.dtype, "scale": spec.scale}
    shown |= {"mean": list(spec.mean), "std": list(spec.std)}
    layers = [_layer(graph, index, layer) for index, layer in enumerate(graph.layers)]
    return {"name": graph.name, "input": shown, "classes": graph.classes, "layers": layers}


def _layer(graph: Graph, index: int, layer: Layer) -> dict[str, Any]:
    kind = "globalpool" if is_global_pool(layer) else layer.kind
    out: dict[str, Any] = {"name": layer.name, "kind": kind}
    if layer.inputs != (index - 1,):
        names = ["input" if n == INPUT else graph.layers[n].name for n in layer.inputs]
        out["from"] = names if len(names) > 1 else names[0]
    out |= _window(layer, kind)
    if layer.convolves and not layer.bias:
        out["bias"] = False
    if layer.kind == "batchnorm" and layer.epsilon != 1e-5:
        out["epsilon"] = layer.epsilon
    if layer.kind == "dropout":
        out["rate"] = layer.rate
    if layer.activation.kind == "relu":
        out["relu"] = True
    elif layer.activation:
        out["activation"] = layer.activation.kind
    if layer.activation.kind == "leaky":
        out["slope"] = layer.activation.slope
    return out


def _window(layer: Layer, kind: str) -> dict[str, Any]:
    """Channels, kernel, stride and padding."""
    if kind == "linear":
        return {"channels": layer.output_shape[0]}
    if kind == "conv":
        grouped = {"groups": layer.groups} if layer.groups > 1 else {}
        sizes = {"channels": layer.output_shape[0], "kernel": _short(*layer.kernel)}
        return grouped | sizes | _stride(layer, (1, 1)) | {"padding": _sides(padding(layer))}
    if kind in ("maxpool", "avgpool"):
        out = {"window": _short(*layer.kernel), "stride": _short(*layer.stride)}
        sides = padding(layer)
        counts = {} if layer.count_padding else {"count_padding": False}
        return out | ({"padding": _sides(sides)} if any(sides) else {}) | counts
    return {}


def _stride(layer: Layer, default: tuple[int, int]) -> dict[str, Any]:
    return {} if layer.stride == default else {"stride": _short(*layer.stride)}


def _short(rows: int, cols: int) -> int | list[int]:
    return rows if rows == cols else [rows, cols]


def _sides(sides: Padding) -> int | list[int]:
    top, left, bottom, right = sides
    return _short(top, left) if (top, left) == (bottom, right) else list(sides)


def yaml_text(graph: Graph, heading: str) -> str:
    """The network's YAML file, one line a layer, `heading` as its comment."""
    given = to_mapping(graph)
    lines = [f"# {line}" for line in heading.splitlines()]
    lines += [f"name: {_value(given['name'])}", "input:"]
    lines += [f"  {key}: {_value(value)}" for key, value in given["input"].items()]
    lines += [f"classes: {given['classes']}", "layers:"]
    lines += [f"  - {_value(layer)}" for layer in given["layers"]]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """YAML 1.1 flow style, in which 1e-05 would be a text and needs a dot."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, float):
        digits, e, power = repr(value).partition("e")
        if not e:
            return digits
        sign = "" if power.startswith("-") else "+"
        return f"{digits}{'' if '.' in digits else '.0'}e{sign}{power.removeprefix('+')}"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    return json.dumps(value)
