"""The network: named layers, every shape resolved and checked. No numerics, no files.

A `Graph` is made by `graph_build` from a plain mapping, or by an importer. Layers are in an order
in which each reads only earlier ones. Shapes are (channels, rows, cols).
"""

import hashlib
import math
from dataclasses import dataclass, fields

Shape = tuple[int, int, int]

INPUT = -1
"""Index that stands for the network input among a layer's inputs."""


@dataclass(frozen=True)
class Activation:
    """Applied to a layer's output, fused into it."""

    kind: str = "none"
    """none, relu, relu6 or leaky."""
    slope: float = 0.0
    """Of leaky, for negative values."""

    def __bool__(self) -> bool:
        return self.kind != "none"


NO_ACTIVATION = Activation()


@dataclass(frozen=True)
class Layer:
    """One resolved layer. A linear layer is a convolution whose kernel is the whole input map."""

    name: str
    kind: str
    """conv, linear, maxpool, avgpool, batchnorm, add, concat or dropout."""
    inputs: tuple[int, ...]
    """Indices of the layers read; INPUT is the network input."""
    input_shape: Shape
    """Of the first input."""
    output_shape: Shape
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    """Above and left; what lies below and right follows from the output's size."""
    groups: int = 1
    bias: bool = False
    activation: Activation = NO_ACTIVATION
    epsilon: float = 0.0
    """Of batchnorm."""
    rate: float = 0.0
    """Of dropout."""
    count_padding: bool = True
    """Of avgpool: padding counts as zeros in the mean."""

    @property
    def convolves(self) -> bool:
        return self.kind in ("conv", "linear")

    @property
    def has_weights(self) -> bool:
        return self.convolves or self.kind == "batchnorm"

    @property
    def depthwise(self) -> bool:
        return self.groups > 1

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(output channels, input channels of a group, kernel rows, kernel cols)."""
        return (self.output_shape[0], self.input_shape[0] // self.groups, *self.kernel)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image's forward convolution; 0 for other layers."""
        if not self.convolves:
            return 0
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
        return sum(layer.macs for layer in self.layers)

    def readers(self, index: int) -> tuple[int, ...]:
        """Layers that read the output of layer `index` (or INPUT)."""
        return tuple(n for n, layer in enumerate(self.layers) if index in layer.inputs)
