"""A network of ours as a PyTorch module, and its steps as a PyTorch user would write them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from eftraind.graph import INPUT, Graph, Layer

Step = Callable[[], Any]


def _padded(layer: Layer) -> bool:
    """The same padding on opposite sides, which torch's layers know themselves."""
    for side in (0, 1):
        reach = (layer.output_shape[1 + side] - 1) * layer.stride[side] + layer.kernel[side]
        behind = reach - layer.padding[side] - layer.input_shape[1 + side]
        if max(behind, 0) > layer.padding[side]:
            return False
    return True


def _module(layer: Layer) -> nn.Module:
    window = (layer.kernel, layer.stride, layer.padding)
    channels = layer.input_shape[0], layer.output_shape[0]
    if not _padded(layer):
        raise SystemExit(f"layer {layer.name}: padding that torch's layers do not offer")
    if layer.kind == "conv":
        return nn.Conv2d(*channels, *window, groups=layer.groups, bias=layer.bias)
    if layer.kind == "linear":
        features = channels[0] * layer.input_shape[1] * layer.input_shape[2]
        return nn.Sequential(nn.Flatten(), nn.Linear(features, channels[1], bias=layer.bias))
    if layer.kind == "maxpool":
        return nn.MaxPool2d(*window)
    if layer.kind == "avgpool":
        return nn.AvgPool2d(*window, count_include_pad=layer.count_padding)
    if layer.kind == "batchnorm":
        return nn.BatchNorm2d(channels[1], layer.epsilon)
    return nn.Dropout(layer.rate) if layer.kind == "dropout" else nn.Identity()


def _activation(layer: Layer) -> nn.Module:
    kinds = {
        "none": nn.Identity,
        "relu": lambda: nn.ReLU(inplace=True),
        "relu6": lambda: nn.ReLU6(inplace=True),
        "leaky": lambda: nn.LeakyReLU(layer.activation.slope, inplace=True),
    }
    return kinds[layer.activation.kind]()


class Network(nn.Module):
    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.layers = graph.layers
        self.modules_of = nn.ModuleList(_module(layer) for layer in graph.layers)
        self.activations = nn.ModuleList(_activation(layer) for layer in graph.layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {INPUT: x}
        for index, layer in enumerate(self.layers):
            sources = [values[n] for n in layer.inputs]
            if layer.kind == "add":
                y = sources[0] + sources[1]
            elif layer.kind == "concat":
                y = torch.cat(sources, 1)
            else:
                y = self.modules_of[index](sources[0])
            values[index] = self.activations[index](y)
        return values[len(self.layers) - 1].flatten(1)


def _network(graph: Graph, form: str) -> tuple[Any, torch.memory_format]:
    """`form`: a memory format, or "compiled": channels last through torch.compile."""
    memory_format = getattr(torch, "channels_last" if form == "compiled" else form)
    model: Any = Network(graph).to(memory_format=memory_format)
    return (torch.compile(model) if form == "compiled" else model), memory_format


def _input(graph: Graph, batch: int, memory_format: torch.memory_format) -> torch.Tensor:
    rows, cols, channels = graph.input.shape
    return torch.randn(batch, channels, rows, cols).to(memory_format=memory_format)


def training(
    graph: Graph, batch: int, threads: int, form: str, rates: tuple[float, float, float]
) -> Step:
    torch.set_num_threads(threads)
    model, memory_format = _network(graph, form)
    x = _input(graph, batch, memory_format)
    labels = torch.arange(batch) % graph.classes
    rate, momentum, decay = rates
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum, weight_decay=decay)
    loss = torch.nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss(model(x), labels).backward()
        optimizer.step()

    return step


def inference(graph: Graph, batch: int, threads: int, form: str) -> Step:
    torch.set_num_threads(threads)
    model, memory_format = _network(graph, form)
    model.eval()
    x = _input(graph, batch, memory_format)

    def step() -> None:
        with torch.inference_mode():
            model(x)

    return step
