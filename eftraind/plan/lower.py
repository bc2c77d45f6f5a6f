"""From a network to command programs: one for inference, one for a training step. Runs nothing.

A batch passes through all layers in chunks of a few images, so that activations stay in cache (or
on chip) and the arena holds one chunk, not one batch; gradients accumulate over the chunks and one
UPDATE ends the step. That changes no result beyond the order of summation.
"""

from dataclasses import dataclass, field, replace

from eftraind.graph import Graph, Layer
from eftraind.isa import NOWHERE, Command, Flag, Op, Operand, Program, Slot
from eftraind.plan.bank import BankLayout, layer_lanes
from eftraind.plan.tiles import input_lanes, map_words, slot_needs, tiles


@dataclass(frozen=True)
class ConstsLayout:
    """Words of the CONSTS slot: input scale, input shift, then the rates that UPDATE reads."""

    lanes: int

    @classmethod
    def of(cls, graph: Graph, t: int) -> "ConstsLayout":
        channels = graph.input.shape[2]
        return cls(tiles(channels, t) * input_lanes(channels, t))

    @property
    def hypers(self) -> int:
        return 2 * self.lanes

    @property
    def size_words(self) -> int:
        return self.hypers + 3


@dataclass
class _Builder:
    """Collects commands of one program over one chunk of images."""

    graph: Graph
    t: int
    weights: Slot
    arena: Slot
    bank: BankLayout
    commands: list[Command] = field(default_factory=list)

    def _lanes(self, index: int) -> int:
        return layer_lanes(self.graph, index, self.t)

    def _input_words(self, index: int) -> int:
        """Words of one image's input map of layer `index`; index len(layers) is the logits."""
        if index == len(self.graph.layers):
            return map_words(*self.graph.layers[-1].output_shape, self.t)
        layer = self.graph.layers[index]
        return map_words(*layer.input_shape, self.t, self._lanes(index))

    def offsets(self, chunk: int) -> list[int]:
        """Arena offset of every layer's input map, then of the logits, all kept (training)."""
        out = [0]
        for index in range(len(self.graph.layers) + 1):
            out.append(out[-1] + chunk * self._input_words(index))
        return out

    def ping_pong(self, chunk: int) -> list[int]:
        """Arena offsets that alternate between two regions (inference)."""
        words = [self._input_words(index) for index in range(len(self.graph.layers) + 1)]
        return [0 if index % 2 == 0 else chunk * max(words[::2]) for index in range(len(words))]

    def load(self, samples: Slot, index: Operand, chunk: int, dst: int) -> None:
        rows, cols, channels = self.graph.input.shape
        self.commands.append(
            Command(
                Op.LOAD,
                Flag.U8 if self.graph.input.dtype == "uint8" else Flag.NONE,
                images=chunk,
                n=channels,
                rows_in=rows,
                cols_in=cols,
                lanes=self._lanes(0),
                src=Operand(samples),
                weights=Operand(Slot.CONSTS),
                dst=Operand(self.arena, dst),
                aux=index,
            )
        )

    def _shape(self, op: Op, index: int, images: int, flags: Flag) -> Command:
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
            lanes=self._lanes(index),
        )

    def _weights_of(self, layer: Layer) -> Operand:
        return Operand(self.weights, self.bank.offsets[layer.name])

    def forward(self, index: int, images: int, src: int, dst: Operand) -> None:
        layer = self.graph.layers[index]
        source = Operand(self.arena, src)
        if not layer.has_weights:
            command = self._shape(Op.POOL_FP, index, images, Flag.NONE)
            self.commands.append(replace(command, src=source, dst=dst))
            return
        flags = Flag.BIAS if layer.bias else Flag.NONE
        flags |= Flag.RELU if layer.relu else Flag.NONE
        command = self._shape(Op.CONV_FP, index, images, flags)
        weights = self._weights_of(layer)
        self.commands.append(replace(command, src=source, weights=weights, dst=dst))

    def weight_gradient(self, index: int, images: int, x: int, dy: int, accumulate: bool) -> None:
        layer = self.graph.layers[index]
        flags = Flag.BIAS if layer.bias else Flag.NONE
        flags |= Flag.ACCUMULATE if accumulate else Flag.NONE
        command = self._shape(Op.CONV_WU, index, images, flags)
        dst = Operand(Slot.GRADS, self.bank.offsets[layer.name])
        source, loss = Operand(self.arena, x), Operand(self.arena, dy)
        self.commands.append(replace(command, src=source, aux=loss, dst=dst))

    def backward(self, index: int, images: int, x: int, dy: int, dx: int) -> None:
        """Gradient of a layer's input map; the ReLU before it is undone by the mask."""
        layer = self.graph.layers[index]
        op = Op.CONV_BP if layer.has_weights else Op.POOL_BP
        masked = self.graph.layers[index - 1].relu
        command = self._shape(op, index, images, Flag.MASK if masked else Flag.NONE)
        needs_x = masked or op is Op.POOL_BP
        self.commands.append(
            replace(
                command,
                src=Operand(self.arena, dy),
                weights=self._weights_of(layer) if layer.has_weights else NOWHERE,
                dst=Operand(self.arena, dx),
                aux=Operand(self.arena, x) if needs_x else NOWHERE,
            )
        )

    def finish(self, name: str) -> Program:
        needs = slot_needs(self.commands, self.t)
        names = tuple(layer.name for layer in self.graph.layers)
        whole = ((0, len(self.commands)),)
        return Program(name, self.t, tuple(self.commands), whole, needs, names)


def logits_words(graph: Graph, t: int) -> int:
    """Words of one image's logits."""
    return map_words(*graph.layers[-1].output_shape, t)


def inference(
    graph: Graph, t: int, *, images: int, chunk: int, weights: Slot = Slot.SERVING
) -> Program:
    """Logits of `images` samples: INFER_IN (by the indices in INFER_BATCH) -> INFER_OUT.

    INFER_OUT holds [images][tiles of classes][T] float32.
    """
    builder = _Builder(graph, t, weights, Slot.INFER_ARENA, BankLayout.of(graph, t))
    offsets = builder.ping_pong(chunk)
    last = len(graph.layers) - 1
    for start in range(0, images, chunk):
        size = min(chunk, images - start)
        builder.load(Slot.INFER_IN, Operand(Slot.INFER_BATCH, start), size, offsets[0])
        for index in range(last):
            builder.forward(index, size, offsets[index], Operand(builder.arena, offsets[index + 1]))
        out = Operand(Slot.INFER_OUT, start * logits_words(graph, t))
        builder.forward(last, size, offsets[last], out)
    return builder.finish(f"infer{images}")


def training(graph: Graph, t: int, *, batch: int, chunk: int) -> Program:
    """One SGD step on `batch` samples of POOL.

    TRAIN_BATCH holds int32 indices[batch] into POOL, then int32 labels[batch]. TRAIN_OUT receives,
    a chunk after the other, float32 losses and int32 predictions. Weights are the LEARNER bank.
    """
    builder = _Builder(graph, t, Slot.LEARNER, Slot.TRAIN_ARENA, BankLayout.of(graph, t))
    for start in range(0, batch, chunk):
        _training_chunk(builder, batch, start, min(chunk, batch - start), chunk)
    consts = ConstsLayout.of(graph, t)
    builder.commands.append(
        Command(
            Op.UPDATE,
            count=builder.bank.size_words,
            src=Operand(Slot.GRADS),
            dst=Operand(Slot.LEARNER),
            aux=Operand(Slot.CONSTS, consts.hypers),
            extra=Operand(Slot.MOMENTUM),
        )
    )
    return builder.finish(f"train{batch}")


def _training_chunk(builder: _Builder, batch: int, start: int, size: int, chunk: int) -> None:
    graph, arena = builder.graph, builder.arena
    maps = builder.offsets(chunk)
    count = len(graph.layers)
    # Gradients alternate between two regions behind the activations.
    widest = chunk * max(builder._input_words(index) for index in range(1, count + 1))
    gradients = [maps[-1], maps[-1] + widest]
    builder.load(Slot.POOL, Operand(Slot.TRAIN_BATCH, start), size, maps[0])
    for index in range(count):
        builder.forward(index, size, maps[index], Operand(arena, maps[index + 1]))
    builder.commands.append(
        Command(
            Op.LOSS,
            layer=count - 1,
            images=size,
            m=graph.classes,
            count=batch,
            src=Operand(arena, maps[count]),
            dst=Operand(arena, gradients[0]),
            aux=Operand(Slot.TRAIN_BATCH, batch + start),
            extra=Operand(Slot.TRAIN_OUT, 2 * start),
        )
    )
    for index in reversed(range(count)):
        dy, dx = gradients
        if graph.layers[index].has_weights:
            builder.weight_gradient(index, size, maps[index], dy, accumulate=start > 0)
        if index > 0:
            builder.backward(index, size, maps[index], dy, dx)
            gradients = [dx, dy]
