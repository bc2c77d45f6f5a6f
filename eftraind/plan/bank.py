"""Where each layer's weights lie in a weight bank, and the way in and out. Decides no schedule.

A bank holds, layer after layer, the weight tiles and then the bias (gamma and beta of a batch
normalisation); behind all of them the running statistics, which no gradient reaches. Gradients
and velocities lie as the first part does. One bank is one slot's buffer: a swap swaps all of it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eftraind.errors import WeightsError
from eftraind.graph import INPUT, Graph, Layer
from eftraind.params import STATISTICS, Params
from eftraind.plan.reshape import (
    pack_depthwise,
    pack_vector,
    pack_weights,
    unpack_depthwise,
    unpack_weights,
)
from eftraind.plan.tiles import bias_words, input_lanes, tiles, weight_words

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Block:
    """Words of one layer in a bank."""

    offset: int
    weight_words: int
    bias_words: int
    statistics: int
    """Offset of running mean and variance, or -1."""

    @property
    def words(self) -> int:
        """Trainable words."""
        return self.weight_words + self.bias_words


@dataclass(frozen=True)
class BankLayout:
    """The blocks of each layer with weights, for one T."""

    graph: Graph
    t: int
    blocks: dict[str, Block]
    trainable_words: int
    size_words: int

    @classmethod
    def of(cls, graph: Graph, t: int) -> "BankLayout":
        blocks: dict[str, Block] = {}
        offset = 0
        for layer in graph.layers:
            if layer.has_weights:
                weights = _weight_words(graph, layer, t)
                bias = bias_words(layer.output_shape[0], t) if layer.bias else 0
                blocks[layer.name] = Block(offset, weights, bias, -1)
                offset += weights + bias
        trainable = offset
        for layer in graph.layers:
            if layer.kind == "batchnorm":
                block = blocks[layer.name]
                blocks[layer.name] = Block(
                    block.offset, block.weight_words, block.bias_words, offset
                )
                offset += 2 * bias_words(layer.output_shape[0], t)
        return cls(graph, t, blocks, trainable, offset)

    def pack(self, params: Params) -> F32:
        """A bank image, float32 [size_words]. `params` must have been checked."""
        bank = np.zeros(self.size_words, dtype=np.float32)
        for layer in self.graph.layers:
            if not layer.has_weights:
                continue
            block = self.blocks[layer.name]
            weights = self._pack_weights(layer, params[f"{layer.name}.weight"])
            bank[block.offset : block.offset + weights.size] = weights
            if layer.bias:
                bias = pack_vector(params[f"{layer.name}.bias"], self.t)
                bank[block.offset + block.weight_words :][: bias.size] = bias
            if block.statistics >= 0:
                parts = [pack_vector(params[f"{layer.name}.{n}"], self.t) for n in STATISTICS]
                both = np.concatenate(parts)
                bank[block.statistics : block.statistics + both.size] = both
        return bank

    def _pack_weights(self, layer: Layer, weights: F32) -> F32:
        if layer.kind == "batchnorm":
            return pack_vector(weights, self.t)
        if layer.depthwise:
            return pack_depthwise(weights, self.t).ravel()
        lanes = layer_lanes(self.graph, layer, self.t)
        return pack_weights(weights.reshape(layer.weight_shape), self.t, lanes).ravel()

    def unpack(self, bank: F32) -> dict[str, F32]:
        """The inverse of `pack`. Raises WeightsError for a bank of another size."""
        if bank.shape != (self.size_words,):
            raise WeightsError(
                f"a bank of {bank.shape} words, network {self.graph.name} has {self.size_words}",
                remedy="read the bank with the layout it was written with",
            )
        out: dict[str, F32] = {}
        for layer in self.graph.layers:
            if not layer.has_weights:
                continue
            block = self.blocks[layer.name]
            channels = layer.output_shape[0]
            end = block.offset + block.weight_words
            out[f"{layer.name}.weight"] = self._unpack_weights(layer, bank[block.offset : end])
            if layer.bias:
                out[f"{layer.name}.bias"] = bank[end : end + channels].copy()
            if block.statistics >= 0:
                step = bias_words(channels, self.t)
                for index, name in enumerate(STATISTICS):
                    start = block.statistics + index * step
                    out[f"{layer.name}.{name}"] = bank[start : start + channels].copy()
        return out

    def _unpack_weights(self, layer: Layer, words: F32) -> F32:
        if layer.kind == "batchnorm":
            return words[: layer.output_shape[0]].copy()
        m, n, rows, cols = layer.weight_shape
        if layer.depthwise:
            return unpack_depthwise(words.reshape(tiles(m, self.t), rows, cols, self.t), m)
        lanes = layer_lanes(self.graph, layer, self.t)
        shape = (tiles(m, self.t), tiles(n, self.t), rows, cols, lanes, self.t)
        weights = unpack_weights(words.reshape(shape), m, n)
        return weights.reshape(m, -1) if layer.kind == "linear" else weights


def _weight_words(graph: Graph, layer: Layer, t: int) -> int:
    m, n, rows, cols = layer.weight_shape
    if layer.kind == "batchnorm":
        return bias_words(layer.output_shape[0], t)
    if layer.depthwise:
        return tiles(m, t) * rows * cols * t
    return weight_words(m, n, rows, cols, layer_lanes(graph, layer, t), t)


def layer_lanes(graph: Graph, layer: Layer, t: int) -> int:
    """Lanes per pixel of a layer's input: T, but fewer where it reads a narrow network input."""
    return input_lanes(graph.input.shape[2], t) if INPUT in layer.inputs else t
