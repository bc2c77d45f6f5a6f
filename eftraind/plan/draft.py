"""A program while it is written: commands whose maps have no address yet, and the shapes they
share.

Owns the words of a command for each layer, and the final placing of maps in the arena. Knows
neither training nor inference.
"""

from dataclasses import dataclass, replace
from typing import Any

from eftraind.graph import INPUT, Graph, Layer
from eftraind.isa import Command, Flag, Hyper, Op, Operand, Program, Slot
from eftraind.plan.arena import Arena
from eftraind.plan.bank import BankLayout, layer_lanes
from eftraind.plan.tiles import bias_words, input_lanes, map_words, slot_needs, tiles

ACTIVATION_FLAGS = {
    "none": Flag.NONE,
    "relu": Flag.RELU,
    "relu6": Flag.RELU6,
    "leaky": Flag.LEAKY,
}


@dataclass(frozen=True)
class Map:
    """A tensor of the arena, from one of its images on."""

    tensor: int
    words: int
    """Per image."""
    first: int = 0

    def images(self, first: int) -> "Map":
        return replace(self, first=self.first + first)


@dataclass(frozen=True)
class ConstsLayout:
    """Words of the CONSTS slot: input scale and shift, the words of `Hyper`, NORM's sum, weights
    per class and their divisor, scale and shift that change nothing (for latent replay)."""

    lanes: int
    class_lanes: int
    identity_lanes: int

    @classmethod
    def of(cls, graph: Graph, t: int) -> "ConstsLayout":
        channels = graph.input.shape[2]
        widest = max(layer.output_shape[0] for layer in graph.layers)
        lanes = tiles(channels, t) * input_lanes(channels, t)
        return cls(lanes, bias_words(graph.classes, t), bias_words(widest, t))

    @property
    def hypers(self) -> int:
        return 2 * self.lanes

    @property
    def norm(self) -> int:
        return self.hypers + len(Hyper)

    @property
    def class_weights(self) -> int:
        return self.norm + 1

    def identity(self) -> int:
        return self.class_weights + self.class_lanes + 1

    @property
    def size_words(self) -> int:
        return self.identity() + 2 * self.identity_lanes


class Draft:
    """Collects commands; `finish` gives every map its address."""

    def __init__(self, graph: Graph, t: int, *, weights: Slot, arena: Slot) -> None:
        self.graph = graph
        self.t = t
        self.bank = BankLayout.of(graph, t)
        self.consts = ConstsLayout.of(graph, t)
        self.weights = weights
        self._arena_slot = arena
        self._arena = Arena()
        self._commands: list[tuple[Command, dict[str, Map]]] = []

    def map_of(self, index: int, images: int) -> Map:
        """A new tensor for the output of a layer, or for the network input."""
        words = self.map_words(index)
        return Map(self._arena.tensor(images * words), words)

    def map_words(self, index: int) -> int:
        if index == INPUT:
            rows, cols, channels = self.graph.input.shape
            return map_words(channels, rows, cols, self.t, input_lanes(channels, self.t))
        return map_words(*self.graph.layers[index].output_shape, self.t)

    def vectors(self, channels: int, count: int) -> Map:
        """A new tensor of `count` vectors of one lane a channel."""
        words = count * bias_words(channels, self.t)
        return Map(self._arena.tensor(words), words)

    def emit(self, command: Command, **operands: "Map | Operand | None") -> None:
        """Add a command; operands are maps of the arena or places in other slots."""
        maps = {name: place for name, place in operands.items() if isinstance(place, Map)}
        fixed: dict[str, Any] = {
            name: place for name, place in operands.items() if isinstance(place, Operand)
        }
        for place in maps.values():
            self._arena.touch(place.tensor, len(self._commands))
        self._commands.append((replace(command, **fixed), maps))

    def shape(self, op: Op, index: int, images: int, flags: Flag = Flag.NONE) -> Command:
        """A command with the geometry of a layer."""
        layer = self.graph.layers[index]
        return Command(
            op,
            flags,
            layer=index,
            images=images,
            m=layer.output_shape[0],
            n=layer.input_shape[0],
            rows_in=layer.input_shape[1],
            cols_in=layer.input_shape[2],
            rows_out=layer.output_shape[1],
            cols_out=layer.output_shape[2],
            kernel_rows=layer.kernel[0],
            kernel_cols=layer.kernel[1],
            stride_rows=layer.stride[0],
            stride_cols=layer.stride[1],
            pad_top=layer.padding[0],
            pad_left=layer.padding[1],
            groups=layer.groups,
            lanes=layer_lanes(self.graph, layer, self.t),
        )

    def flat(self, op: Op, index: int, images: int, flags: Flag = Flag.NONE) -> Command:
        """A command on one map that it does not resize: the output of a layer."""
        channels, rows, cols = self.graph.layers[index].output_shape
        return Command(
            op, flags, layer=index, images=images, m=channels, n=channels, rows_in=rows,
            cols_in=cols, rows_out=rows, cols_out=cols, lanes=self.t,
        )  # fmt: skip

    def activated(self, command: Command, layer: Layer) -> Command:
        """With the layer's activation on its output."""
        flags = command.flags | ACTIVATION_FLAGS[layer.activation.kind]
        return replace(command, flags=flags, scalar=layer.activation.slope)

    def weights_of(self, layer: Layer) -> Operand:
        return Operand(self.weights, self.bank.blocks[layer.name].offset)

    def statistics_of(self, layer: Layer) -> Operand:
        return Operand(self.weights, self.bank.blocks[layer.name].statistics)

    def hyper(self, which: Hyper) -> Operand:
        return Operand(Slot.CONSTS, self.consts.hypers + which)

    def load(self, images: int, samples: Slot, index: Operand, dst: Map) -> None:
        """Gather samples of the network's input."""
        rows, cols, channels = self.graph.input.shape
        command = Command(
            Op.LOAD,
            Flag.U8 if self.graph.input.dtype == "uint8" else Flag.NONE,
            images=images, m=channels, n=channels, rows_in=rows, cols_in=cols,
            lanes=input_lanes(channels, self.t),
        )  # fmt: skip
        constants = Operand(Slot.CONSTS)
        self.emit(command, src=Operand(samples), weights=constants, dst=dst, aux=index)

    def load_latent(self, cut: int, images: int, index: Operand, dst: Map) -> None:
        """Gather kept activations: the output of layer `cut`."""
        command = self.flat(Op.LOAD, cut, images)
        # The map's scale ends where the zeros begin, so that its shift is 0.
        lanes = bias_words(self.graph.layers[cut].output_shape[0], self.t)
        spare = self.consts.identity_lanes - lanes
        identity = Operand(Slot.CONSTS, self.consts.identity() + spare)
        self.emit(command, src=Operand(Slot.POOL), weights=identity, dst=dst, aux=index)

    def forward(
        self,
        index: int,
        images: int,
        sources: tuple[Map, ...],
        dst: "Map | Operand",
        vectors: Map | None = None,
    ) -> None:
        """One layer on some images. `vectors`: mean and inverse deviation of a batchnorm."""
        layer = self.graph.layers[index]
        if layer.kind == "concat":
            self._concat(index, images, sources, dst)
            return
        if layer.convolves:
            flags = Flag.BIAS if layer.bias else Flag.NONE
            command = self.activated(self.shape(Op.CONV_FP, index, images, flags), layer)
            self.emit(command, src=sources[0], weights=self.weights_of(layer), dst=dst)
        elif layer.kind in ("maxpool", "avgpool"):
            command = self.pool(index, images, Op.POOL_FP, Op.AVG_FP)
            self.emit(command, src=sources[0], dst=dst)
        elif layer.kind == "batchnorm":
            command = self.activated(self.flat(Op.BN_FP, index, images), layer)
            weights = self.weights_of(layer)
            self.emit(command, src=sources[0], weights=weights, aux=vectors, dst=dst)
        else:
            command = self.activated(self.flat(Op.ADD_FP, index, images), layer)
            self.emit(command, src=sources[0], aux=sources[1], dst=dst)

    def pool(self, index: int, images: int, maximum: Op, average: Op) -> Command:
        layer = self.graph.layers[index]
        if layer.kind == "maxpool":
            return self.shape(maximum, index, images)
        flags = Flag.NONE if layer.count_padding else Flag.EXCLUDE_PAD
        return self.shape(average, index, images, flags)

    def _concat(
        self, index: int, images: int, sources: tuple[Map, ...], dst: "Map | Operand"
    ) -> None:
        channel = 0
        for source, number in zip(sources, self.graph.layers[index].inputs, strict=True):
            channels = self.graph.layers[number].output_shape[0]
            command = replace(self.flat(Op.CONCAT_FP, index, images), n=channels, axis=channel)
            self.emit(command, src=source, dst=dst)
            channel += channels

    def finish(self, name: str) -> Program:
        offsets, size = self._arena.place()
        commands = tuple(
            self._addressed(command, maps, offsets) for command, maps in self._commands
        )
        needs = slot_needs(commands, self.t) | {self._arena_slot: size}
        names = tuple(layer.name for layer in self.graph.layers)
        return Program(name, self.t, commands, needs, names)

    def _addressed(self, command: Command, maps: dict[str, Map], offsets: list[int]) -> Command:
        places: dict[str, Any] = {}
        for name, place in maps.items():
            offset = offsets[place.tensor] + place.first * place.words
            places[name] = Operand(self._arena_slot, offset)
        return replace(command, **places)
