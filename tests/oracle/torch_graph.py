"""The independent oracle: a Graph as a PyTorch computation, in double precision.

Takes parameters by the names of `params`; nothing here is shared with `nn` or `plan`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from eftraind.graph import INPUT, Graph, Layer


@dataclass
class Mode:
    """How batch normalisation and dropout behave in one pass."""

    batch_statistics: bool = False
    share: float = 0.1
    keeps: Mapping[int, np.ndarray] = field(default_factory=dict)
    """Dropout's masks by layer; a dropout without one passes all."""


def tensors(params: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in params.items()}


def normalised(graph: Graph, samples: np.ndarray) -> Tensor:
    """[count, rows, cols, channels] as the network sees them, NCHW."""
    spec = graph.input
    x = samples.astype(np.float64) * spec.scale
    x = (x - np.array(spec.mean)) / np.array(spec.std)
    return torch.tensor(x.transpose(0, 3, 1, 2).copy())


def _framed(layer: Layer, x: Tensor, fill: float) -> Tensor:
    """With the padding on all four sides that the output's size implies."""
    top, left = layer.padding
    rows = (layer.output_shape[1] - 1) * layer.stride[0] + layer.kernel[0]
    cols = (layer.output_shape[2] - 1) * layer.stride[1] + layer.kernel[1]
    bottom = max(0, rows - top - x.shape[2])
    right = max(0, cols - left - x.shape[3])
    return functional.pad(x, (left, right, top, bottom), value=fill)


def _activated(layer: Layer, x: Tensor) -> Tensor:
    kind = layer.activation.kind
    if kind == "relu":
        return torch.relu(x)
    if kind == "relu6":
        return functional.relu6(x)
    return functional.leaky_relu(x, layer.activation.slope) if kind == "leaky" else x


def _average(layer: Layer, x: Tensor) -> Tensor:
    mean = functional.avg_pool2d(_framed(layer, x, 0.0), layer.kernel, layer.stride)
    if layer.count_padding:
        return mean
    ones = _framed(layer, torch.ones_like(x), 0.0)
    return mean / functional.avg_pool2d(ones, layer.kernel, layer.stride)


def _layer(
    index: int, layer: Layer, sources: list[Tensor], params: Mapping[str, Tensor], mode: Mode
) -> Tensor:
    x = sources[0]
    weight, bias = (params.get(f"{layer.name}.{part}") for part in ("weight", "bias"))
    if layer.kind == "conv":
        return functional.conv2d(
            _framed(layer, x, 0.0), weight, bias, layer.stride, groups=layer.groups
        )
    if layer.kind == "linear":
        return functional.linear(x.flatten(1), weight, bias)[:, :, None, None]
    if layer.kind == "maxpool":
        return functional.max_pool2d(_framed(layer, x, -torch.inf), layer.kernel, layer.stride)
    if layer.kind == "avgpool":
        return _average(layer, x)
    if layer.kind == "batchnorm":
        mean, variance = (params[f"{layer.name}.running_{part}"] for part in ("mean", "var"))
        return functional.batch_norm(
            x, mean, variance, weight, bias, mode.batch_statistics, mode.share, layer.epsilon
        )
    if layer.kind == "dropout":
        keep = mode.keeps.get(index)
        return x if keep is None else x * torch.tensor(keep) / (1 - layer.rate)
    return torch.cat(sources, 1) if layer.kind == "concat" else sources[0] + sources[1]


def logits(graph: Graph, params: Mapping[str, Tensor], x: Tensor, mode: Mode) -> Tensor:
    """[count, classes]; running statistics in `params` follow if mode says so."""
    values = {INPUT: x}
    for index, layer in enumerate(graph.layers):
        sources = [values[n] for n in layer.inputs]
        values[index] = _activated(layer, _layer(index, layer, sources, params, mode))
        assert tuple(values[index].shape[1:]) == layer.output_shape, layer.name
    return values[len(graph.layers) - 1][:, :, 0, 0]
