"""What the paper's kernel has to do: each phase of each convolution in the paper's symbols.

Refuses layers that neither the paper's equations nor its released kernel know. Costs nothing here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from eftraind.errors import GraphError
from eftraind.graph import Graph, Layer
from eftraind.plan.outcome import Phase

KINDS = ("conv", "linear", "maxpool", "avgpool", "batchnorm")


@dataclass(frozen=True)
class Work:
    """One phase of one convolution. M, N, R, C, K, S as seen by the kernel in that phase: in BP
    it computes the layer's input channels from its output channels."""

    layer: str
    phase: Phase
    m: int
    n: int
    r: int
    c: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    source: tuple[int, int]
    """Rows and columns of the map it reads, without padding."""
    padding: int
    """Rows of zeros above that map; they are made on the chip."""
    macs: int
    """Of one image."""
    first: bool = False
    """The network's first convolution: it reads only as many channels as there are."""
    masked: bool = False
    """BP: the activation in front of the layer is a ReLU, whose output masks the loss."""

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    def rows_in(self, rows: int) -> int:
        """Input rows under `rows` output rows, padding included."""
        return (rows - 1) * self.stride[0] + self.kernel[0]

    @property
    def cols_in(self) -> int:
        """Input columns under a whole output row, padding included (Tc = C)."""
        return (self.c - 1) * self.stride[1] + self.kernel[1]

    def rows_read(self, tile_rows: int) -> int:
        """Input rows of all row tiles together: those under two of them count twice."""
        total = 0
        for row in range(0, self.r, tile_rows):
            low = row * self.stride[0] - self.padding
            high = low + self.rows_in(min(tile_rows, self.r - row))
            total += max(0, min(high, self.source[0]) - max(low, 0))
        return total


def check(graph: Graph) -> None:
    """Raise GraphError for the first layer that this kernel has no formula for."""
    for index, layer in enumerate(graph.layers):
        cause = _fault(graph, index, layer)
        if cause:
            raise GraphError(
                f"layer {layer.name}: kernel ef_train has no {cause}",
                remedy="take --kernel eftraind, or a network without it",
            )


def _fault(graph: Graph, index: int, layer: Layer) -> str:
    if layer.kind not in KINDS:
        return layer.kind
    if layer.groups > 1:
        return "convolution in groups"
    if layer.activation and layer.activation.kind != "relu":
        return f"activation {layer.activation.kind}"
    if layer.inputs != (index - 1,):
        return "branches"
    if layer.kind == "conv" and layer.stride != (1, 1) and needs_bp(graph, index):
        return "back-propagation through a strided convolution (equation 2 is wrong for it)"
    return ""


def first_trained(graph: Graph) -> int:
    """Index of the first layer with weights; nothing is propagated back beyond it."""
    return next((n for n, layer in enumerate(graph.layers) if layer.has_weights), 0)


def needs_bp(graph: Graph, index: int) -> bool:
    return index > first_trained(graph)


def masked(graph: Graph, index: int) -> bool:
    """Whether the map in front of a layer came out of a ReLU (through pools, too)."""
    while index > 0:
        index -= 1
        layer = graph.layers[index]
        if layer.kind not in ("maxpool", "avgpool"):
            return bool(layer.activation)
    return False


def of_layer(graph: Graph, index: int) -> Iterator[Work]:
    """FP, BP (unless it is the first to be trained) and WU of one convolution."""
    layer = graph.layers[index]
    (outs, rows, cols), (ins, rows_in, cols_in) = layer.output_shape, layer.input_shape
    first = index == first_trained(graph)
    size = (layer.kernel, layer.stride)
    read, loss, above = layer.input_shape[1:], layer.output_shape[1:], layer.padding[0]
    forward = (rows, cols, *size, read, above, layer.macs, first)
    yield Work(layer.name, Phase.FP, outs, ins, *forward)
    if needs_bp(graph, index):
        mask = masked(graph, index)
        back = (rows_in, cols_in, *size, loss, layer.kernel[0] - 1 - above, layer.macs, first, mask)
        yield Work(layer.name, Phase.BP, ins, outs, *back)
    yield Work(layer.name, Phase.WU, outs, ins, *forward)


def convolutions(graph: Graph) -> tuple[Work, ...]:
    """All phases of all convolutions, fully connected layers not among them."""
    return tuple(
        work
        for index, layer in enumerate(graph.layers)
        if layer.kind == "conv"
        for work in of_layer(graph, index)
    )


def counted_operations(graph: Graph) -> int:
    """Operations of one image as the paper counts them (p. 27): 2 (3 all - first) MACs."""
    macs = [layer.macs for layer in graph.layers if layer.convolves]
    return 2 * (3 * sum(macs) - macs[0]) if macs else 0
