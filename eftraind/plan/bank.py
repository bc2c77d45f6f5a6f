"""Where each layer's weights lie in a weight bank, and the way in and out. Decides no schedule.

A bank holds, layer after layer, the weight tiles and then the bias; gradients and velocities have
the same shape. One bank is one slot's buffer: a swap of banks swaps the whole network.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eftraind.errors import WeightsError
from eftraind.graph import Graph, Layer
from eftraind.params import Params
from eftraind.plan.reshape import pack_vector, pack_weights, unpack_weights
from eftraind.plan.tiles import bias_words, input_lanes, tiles, weight_words

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BankLayout:
    """Offsets in words of each layer with weights, for one T."""

    graph: Graph
    t: int
    offsets: dict[str, int]
    size_words: int

    @classmethod
    def of(cls, graph: Graph, t: int) -> "BankLayout":
        offsets: dict[str, int] = {}
        size = 0
        for index, layer in enumerate(graph.layers):
            if layer.has_weights:
                offsets[layer.name] = size
                size += weight_words(*layer.weight_shape, layer_lanes(graph, index, t), t)
                size += bias_words(layer.output_shape[0], t) if layer.bias else 0
        return cls(graph, t, offsets, size)

    def pack(self, params: Params) -> F32:
        """A bank image, float32 [size_words]. `params` must have been checked."""
        bank = np.zeros(self.size_words, dtype=np.float32)
        for index, layer in enumerate(self.graph.layers):
            if not layer.has_weights:
                continue
            lanes = layer_lanes(self.graph, index, self.t)
            weights = params[f"{layer.name}.weight"].reshape(layer.weight_shape)
            parts = [pack_weights(weights, self.t, lanes).ravel()]
            if layer.bias:
                parts.append(pack_vector(params[f"{layer.name}.bias"], self.t))
            block = np.concatenate(parts)
            start = self.offsets[layer.name]
            bank[start : start + block.size] = block
        return bank

    def unpack(self, bank: F32) -> dict[str, F32]:
        """The inverse of `pack`. Raises WeightsError for a bank of another size."""
        if bank.shape != (self.size_words,):
            raise WeightsError(
                f"a bank of {bank.shape} words, network {self.graph.name} has {self.size_words}",
                remedy="read the bank with the layout it was written with",
            )
        out: dict[str, F32] = {}
        for index, layer in enumerate(self.graph.layers):
            if layer.has_weights:
                out.update(self._unpack_layer(layer, index, bank))
        return out

    def _unpack_layer(self, layer: Layer, index: int, bank: F32) -> dict[str, F32]:
        m, n, rows, cols = layer.weight_shape
        lanes = layer_lanes(self.graph, index, self.t)
        start = self.offsets[layer.name]
        end = start + weight_words(m, n, rows, cols, lanes, self.t)
        shape = (tiles(m, self.t), tiles(n, self.t), rows, cols, lanes, self.t)
        weights = unpack_weights(bank[start:end].reshape(shape), m, n)
        flat = layer.kind == "linear"
        out = {f"{layer.name}.weight": weights.reshape(m, -1) if flat else weights}
        if layer.bias:
            out[f"{layer.name}.bias"] = bank[end : end + m].copy()
        return out


def layer_lanes(graph: Graph, index: int, t: int) -> int:
    """Lanes per pixel of a layer's input: T, but fewer at a narrow network input."""
    return input_lanes(graph.layers[0].input_shape[0], t) if index == 0 else t
