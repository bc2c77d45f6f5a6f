"""What translation builds: layers to be, the values between nodes, and where weights came from."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from eftraind.graph import Shape
from eftraind.onnx_io.reading import Array, Node

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Map:
    """The output of a draft layer (or the network input) as a node sees it."""

    layer: int
    shape: Shape
    rank: int
    """4 for images [N, C, H, W]; 2 once flattened to [N, C*H*W], in that order."""


@dataclass(frozen=True)
class Constant:
    """A value known now. Shapes hold `BATCH` for the number of images."""

    values: Array
    root: str = ""
    """The initialiser or Constant output it came from, unchanged."""


BATCH = "batch"
"""Stands for the number of images among a shape's integers."""
Value = Map | Constant


@dataclass(frozen=True)
class Origin:
    """The place in the ONNX file that a tensor of ours came from, and goes back to."""

    node: int
    slot: int
    shape: tuple[int, ...]
    """As stored there."""
    transposed: bool = False


@dataclass(frozen=True)
class Weight:
    """One tensor of a layer in our shape, its origin, and the initialiser it was read from."""

    values: F32
    origin: Origin
    root: str


@dataclass
class Draft:
    """One layer to be; `act`, `bias` and `softmax` are fused into or dropped behind another."""

    node: Node
    kind: str
    reads: tuple[int, ...]
    shape: Shape
    name: str
    given: dict[str, Any] = field(default_factory=dict)
    """Further keys of the layer's description."""
    weights: dict[str, Weight] = field(default_factory=dict)
