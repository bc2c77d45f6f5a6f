"""From a network to command programs: one for inference, one for a training step. Runs nothing.

A batch passes through all layers in chunks of a few images, so that activations stay in cache (or
on chip) and the arena holds one chunk, not one batch; gradients accumulate over the chunks and one
UPDATE ends the step. Batch normalisation in training mode couples the images of a batch: then the
whole batch goes layer by layer, and commands are split into parts of a chunk's size.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from eftraind.graph import INPUT, Graph, Layer
from eftraind.isa import Command, Flag, Hyper, Op, Operand, Program, Slot
from eftraind.plan.draft import ACTIVATION_FLAGS, Draft, Map
from eftraind.plan.tiles import bias_words, map_words


@dataclass(frozen=True)
class Plan:
    """What a training program does; rates are not part of it, they may change at any step."""

    batch: int
    chunk: int
    trainable: frozenset[str] | None = None
    """Tensors that learn, as `params` names them; None: all."""
    frozen_norms: bool = False
    """Batch normalisation uses its running statistics and leaves them alone."""
    optimizer: str = "sgd"
    """sgd, nesterov or adam."""
    clip: bool = False
    smoothing: float = 0.0
    class_weights: bool = False
    keep_norms: bool = False
    """Outputs of batch normalisation stay for the way back, instead of being computed again: one
    map more in memory, one command less."""
    cut: int | None = None
    """Latent replay: POOL holds the output of this layer, and training begins behind it."""

    def learns(self, layer: Layer, part: str) -> bool:
        name = f"{layer.name}.{part}"
        return layer.has_weights and (self.trainable is None or name in self.trainable)

    def learns_any(self, layer: Layer) -> bool:
        return self.learns(layer, "weight") or (layer.bias and self.learns(layer, "bias"))

    def norm_trains(self, layer: Layer) -> bool:
        """Batch statistics are used and followed."""
        return layer.kind == "batchnorm" and not self.frozen_norms


def logits_words(graph: Graph, t: int) -> int:
    """Words of one image's logits."""
    return map_words(*graph.layers[-1].output_shape, t)


def inference(
    graph: Graph, t: int, *, images: int, chunk: int, weights: Slot = Slot.SERVING
) -> Program:
    """Logits of `images` samples: INFER_IN (by the indices in INFER_BATCH) -> INFER_OUT.

    INFER_OUT holds [images][tiles of classes][T] float32.
    """
    draft = Draft(graph, t, weights=weights, arena=Slot.INFER_ARENA)
    last = len(graph.layers) - 1
    for start in range(0, images, chunk):
        size = min(chunk, images - start)
        values = _loaded(draft, size, Slot.INFER_IN, Operand(Slot.INFER_BATCH, start))
        for index in range(last):
            _infer_layer(draft, index, size, values)
        out = Operand(Slot.INFER_OUT, start * logits_words(graph, t))
        sources = tuple(values[n] for n in graph.layers[last].inputs)
        draft.forward(last, size, sources, out)
    return draft.finish(f"infer{images}")


def _loaded(draft: Draft, size: int, samples: Slot, index: Operand) -> dict[int, Map]:
    values = {INPUT: draft.map_of(INPUT, size)}
    draft.load(size, samples, index, values[INPUT])
    return values


def _infer_layer(draft: Draft, index: int, size: int, values: dict[int, Map]) -> None:
    layer = draft.graph.layers[index]
    sources = tuple(values[n] for n in layer.inputs)
    if layer.kind == "dropout":
        values[index] = sources[0]
        return
    values[index] = draft.map_of(index, size)
    vectors = _running(draft, index) if layer.kind == "batchnorm" else None
    draft.forward(index, size, sources, values[index], vectors)


def _running(draft: Draft, index: int) -> Map:
    """Mean and inverse deviation from the running statistics."""
    layer = draft.graph.layers[index]
    vectors = draft.vectors(layer.output_shape[0], 4)
    command = replace(draft.flat(Op.BN_STAT, index, 1, Flag.FROZEN), scalar=layer.epsilon)
    share = draft.hyper(Hyper.BN_SHARE)
    draft.emit(command, dst=draft.statistics_of(layer), extra=vectors, aux=share)
    return vectors


def latent(graph: Graph, t: int, *, images: int, chunk: int, cut: int) -> Program:
    """Output of layer `cut` for samples in INFER_IN, by the LEARNER bank, to INFER_OUT."""
    draft = Draft(graph, t, weights=Slot.LEARNER, arena=Slot.INFER_ARENA)
    for start in range(0, images, chunk):
        size = min(chunk, images - start)
        values = _loaded(draft, size, Slot.INFER_IN, Operand(Slot.INFER_BATCH, start))
        for index in range(cut + 1):
            _infer_layer(draft, index, size, values)
        words = draft.map_words(cut)
        count = size * words
        out = Operand(Slot.INFER_OUT, start * words)
        draft.emit(Command(Op.COPY, layer=cut, count=count), src=values[cut], dst=out)
    return draft.finish(f"latent{images}")


def training(graph: Graph, t: int, plan: Plan) -> Program:
    """One step on `plan.batch` samples of POOL.

    TRAIN_BATCH holds int32 indices[batch] into POOL, then int32 labels[batch]. TRAIN_OUT receives,
    for each LOSS command, float32 losses and int32 predictions. Weights are the LEARNER bank.
    """
    draft = Draft(graph, t, weights=Slot.LEARNER, arena=Slot.TRAIN_ARENA)
    first = 0 if plan.cut is None else plan.cut + 1
    coupled = any(plan.norm_trains(layer) for layer in graph.layers[first:])
    size = plan.batch if coupled else plan.chunk
    for start in range(0, plan.batch, size):
        images = min(size, plan.batch - start)
        _Pass(draft, plan, start, images).run()
    _update(draft, plan)
    return draft.finish(f"train{plan.batch}")


class _Pass:
    """Forward, loss and backward of some images of the batch."""

    def __init__(self, draft: Draft, plan: Plan, start: int, images: int) -> None:
        self._draft = draft
        self._plan = plan
        self._start = start
        self._images = images
        self._layers = draft.graph.layers
        self._values: dict[int, Map] = {}
        self._again: dict[int, Map] = {}
        self._vectors: dict[int, Map] = {}
        self._gradients: dict[int, Map] = {}
        self._needs = self._needed()

    def _needed(self) -> dict[int, bool]:
        """Whether the gradient of a layer's output is needed: something at or before it learns."""
        needs = {INPUT: False}
        for index, layer in enumerate(self._layers):
            behind = self._plan.cut is None or index > self._plan.cut
            learns = self._plan.learns_any(layer) or any(needs[n] for n in layer.inputs)
            needs[index] = behind and learns
        return needs

    def _parts(self) -> Iterator[tuple[int, int]]:
        """(first image, images) of each command on a map."""
        for first in range(0, self._images, self._plan.chunk):
            yield first, min(self._plan.chunk, self._images - first)

    def run(self) -> None:
        self._begin()
        first = 0 if self._plan.cut is None else self._plan.cut + 1
        for index in range(first, len(self._layers)):
            self._forward(index)
        self._loss()
        for index in range(len(self._layers) - 1, first - 1, -1):
            if self._needs[index]:
                self._backward(index)

    def _begin(self) -> None:
        cut = self._plan.cut
        source = INPUT if cut is None else cut
        self._values[source] = self._draft.map_of(source, self._images)
        for first, count in self._parts():
            index = Operand(Slot.TRAIN_BATCH, self._start + first)
            dst = self._values[source].images(first)
            if cut is None:
                self._draft.load(count, Slot.POOL, index, dst)
            else:
                self._draft.load_latent(cut, count, index, dst)

    def _forward(self, index: int) -> None:
        layer, draft = self._layers[index], self._draft
        self._values[index] = draft.map_of(index, self._images)
        if layer.kind == "batchnorm":
            self._vectors[index] = self._statistics(index)
        self._map_forward(index, self._values[index])

    def _map_forward(self, index: int, dst: Map) -> None:
        layer, draft = self._layers[index], self._draft
        sources = tuple(self._values[n] for n in layer.inputs)
        for first, count in self._parts():
            parts = tuple(source.images(first) for source in sources)
            if layer.kind == "dropout":
                command = self._dropout(Op.DROP_FP, index, first, count)
                seed = draft.hyper(Hyper.SEED)
                draft.emit(command, src=parts[0], aux=seed, dst=dst.images(first))
            else:
                draft.forward(index, count, parts, dst.images(first), self._vectors.get(index))

    def _dropout(self, op: Op, index: int, first: int, count: int) -> Command:
        command = self._draft.flat(op, index, count)
        return replace(command, axis=self._start + first, scalar=self._layers[index].rate)

    def _statistics(self, index: int) -> Map:
        layer, draft = self._layers[index], self._draft
        if not self._plan.norm_trains(layer):
            return _running(draft, index)
        vectors = draft.vectors(layer.output_shape[0], 4)
        command = replace(draft.flat(Op.BN_STAT, index, self._images), scalar=layer.epsilon)
        draft.emit(
            command,
            src=self._values[layer.inputs[0]],
            dst=draft.statistics_of(layer),
            extra=vectors,
            aux=draft.hyper(Hyper.BN_SHARE),
        )
        return vectors

    def _loss(self) -> None:
        last, plan = len(self._layers) - 1, self._plan
        if self._needs[last]:
            self._gradients[last] = self._draft.map_of(last, self._images)
        gradient = self._gradients.get(last) or self._draft.map_of(last, self._images)
        consts = Operand(Slot.CONSTS, self._draft.consts.class_weights)
        for first, count in self._parts():
            at = self._start + first
            command = Command(
                Op.LOSS, layer=last, images=count, m=self._draft.graph.classes, count=plan.batch,
                scalar=plan.smoothing,
            )  # fmt: skip
            self._draft.emit(
                command,
                src=self._values[last].images(first),
                weights=consts if plan.class_weights else None,
                dst=gradient.images(first),
                aux=Operand(Slot.TRAIN_BATCH, plan.batch + at),
                extra=Operand(Slot.TRAIN_OUT, 2 * at),
            )

    # backward

    def _value(self, index: int) -> Map:
        """A layer's output, for the way back. That of a batch normalisation is computed again from
        its input, which is kept anyway, unless the plan keeps both."""
        loaded = index in (INPUT, self._plan.cut) or self._plan.keep_norms
        if loaded or self._layers[index].kind != "batchnorm":
            return self._values[index]
        if index not in self._again:
            self._again[index] = self._draft.map_of(index, self._images)
            self._map_forward(index, self._again[index])
        return self._again[index]

    def _backward(self, index: int) -> None:
        layer = self._layers[index]
        dy = self._gradients[index]
        if layer.convolves:
            self._weight_gradient(index, dy)
        if layer.kind == "batchnorm":
            self._norm_sums(index, dy)
        if layer.kind == "concat":
            self._concat_backward(index, dy)
            return
        for source in layer.inputs:
            if self._needs[source]:
                self._input_gradient(index, source, dy)

    def _weight_gradient(self, index: int, dy: Map) -> None:
        layer, draft, plan = self._layers[index], self._draft, self._plan
        block = draft.bank.blocks[layer.name]
        whole = plan.learns(layer, "weight")
        for first, count in self._parts():
            again = Flag.ACCUMULATE if self._start + first > 0 else Flag.NONE
            if whole:
                flags = again | (Flag.BIAS if layer.bias else Flag.NONE)
                command = draft.shape(Op.CONV_WU, index, count, flags)
                x = self._value(layer.inputs[0]).images(first)
                dst = Operand(Slot.GRADS, block.offset)
                draft.emit(command, src=x, aux=dy.images(first), dst=dst)
            elif layer.bias and plan.learns(layer, "bias"):
                command = draft.flat(Op.BIAS_WU, index, count, again)
                dst = Operand(Slot.GRADS, block.offset + block.weight_words)
                draft.emit(command, src=dy.images(first), dst=dst)

    def _norm_sums(self, index: int, dy: Map) -> None:
        """Gradients of gamma and beta; the way back through batch statistics needs them too."""
        layer, draft = self._layers[index], self._draft
        learns = self._plan.learns_any(layer)
        if not learns and not self._plan.norm_trains(layer):
            return
        again = Flag.ACCUMULATE if self._start > 0 else Flag.NONE
        dst = Operand(Slot.GRADS, draft.bank.blocks[layer.name].offset) if learns else None
        command = draft.flat(Op.BN_SUM, index, self._images, again)
        x = self._value(layer.inputs[0])
        draft.emit(command, src=x, aux=dy, extra=self._vectors[index], dst=dst)

    def _target(self, source: int) -> tuple[Map, Flag, float]:
        """Where a gradient goes, whether it is added there, and the activation to be undone."""
        flags = Flag.ACCUMULATE if source in self._gradients else Flag.NONE
        if source not in self._gradients:
            self._gradients[source] = self._draft.map_of(source, self._images)
        activation = self._layers[source].activation
        if activation:
            flags |= Flag.MASK | ACTIVATION_FLAGS[activation.kind]
        return self._gradients[source], flags, activation.slope

    def _input_gradient(self, index: int, source: int, dy: Map) -> None:
        layer, draft = self._layers[index], self._draft
        target, flags, slope = self._target(source)
        dropped = layer.kind == "dropout"
        if dropped and flags & Flag.LEAKY:
            self._dropout_then_leaky(index, source, dy, target, flags, slope)
            return
        x = (
            self._value(source)
            if flags & Flag.MASK or layer.kind in ("maxpool", "batchnorm")
            else None
        )
        for first, count in self._parts():
            command, extra = self._gradient_command(index, first, count)
            scalar = command.scalar if dropped else slope
            draft.emit(
                replace(command, flags=command.flags | flags, scalar=scalar),
                src=dy.images(first),
                weights=draft.weights_of(layer) if layer.has_weights else None,
                dst=target.images(first),
                aux=x.images(first) if x else None,
                extra=extra,
            )

    def _gradient_command(
        self, index: int, first: int, count: int
    ) -> "tuple[Command, Map | Operand | None]":
        """The BP command of a layer for some images, and its `extra` operand."""
        layer, draft = self._layers[index], self._draft
        if layer.convolves:
            return draft.shape(Op.CONV_BP, index, count), None
        if layer.kind in ("maxpool", "avgpool"):
            return draft.pool(index, count, Op.POOL_BP, Op.AVG_BP), None
        if layer.kind == "dropout":
            return self._dropout(Op.DROP_BP, index, first, count), draft.hyper(Hyper.SEED)
        if layer.kind == "batchnorm":
            trains = self._plan.norm_trains(layer)
            flags = Flag.NONE if trains else Flag.FROZEN
            per_channel = self._images * layer.output_shape[1] * layer.output_shape[2]
            command = draft.flat(Op.BN_BP, index, count, flags)
            return replace(command, count=per_channel), self._vectors[index]
        return draft.flat(Op.PASS_BP, index, count), None

    def _dropout_then_leaky(
        self, index: int, source: int, dy: Map, target: Map, flags: Flag, slope: float
    ) -> None:
        """DROP_BP's scalar is its rate, so the slope needs a command of its own."""
        draft = self._draft
        between = draft.map_of(index, self._images)
        x = self._value(source)
        for first, count in self._parts():
            command = self._dropout(Op.DROP_BP, index, first, count)
            seed = draft.hyper(Hyper.SEED)
            draft.emit(command, src=dy.images(first), extra=seed, dst=between.images(first))
            undo = replace(draft.flat(Op.PASS_BP, index, count, flags), scalar=slope)
            draft.emit(
                undo, src=between.images(first), aux=x.images(first), dst=target.images(first)
            )

    def _concat_backward(self, index: int, dy: Map) -> None:
        layer, draft = self._layers[index], self._draft
        channel = 0
        for source in layer.inputs:
            channels = self._layers[source].output_shape[0]
            if self._needs[source]:
                target, flags, slope = self._target(source)
                x = self._value(source) if flags & Flag.MASK else None
                for first, count in self._parts():
                    command = draft.flat(Op.CONCAT_BP, index, count, flags)
                    draft.emit(
                        replace(command, n=channels, axis=channel, scalar=slope),
                        src=dy.images(first),
                        dst=target.images(first),
                        aux=x.images(first) if x else None,
                    )
            channel += channels


def _update(draft: Draft, plan: Plan) -> None:
    """Clip, then step, on the words that learn."""
    ranges = _trainable_ranges(draft, plan)
    norm = Operand(Slot.CONSTS, draft.consts.norm)
    if plan.clip:
        for number, (offset, words) in enumerate(ranges):
            flags = Flag.ACCUMULATE if number else Flag.NONE
            command = Command(Op.NORM, flags, count=words)
            draft.emit(command, src=Operand(Slot.GRADS, offset), dst=norm)
    kinds = {"sgd": Flag.NONE, "nesterov": Flag.NESTEROV, "adam": Flag.ADAM}
    distance = draft.bank.trainable_words if plan.optimizer == "adam" else 0
    for offset, words in ranges:
        draft.emit(
            Command(Op.UPDATE, kinds[plan.optimizer], count=words, axis=distance),
            src=Operand(Slot.GRADS, offset),
            dst=Operand(Slot.LEARNER, offset),
            extra=Operand(Slot.MOMENTUM, offset),
            aux=draft.hyper(Hyper.RATE),
            weights=norm if plan.clip else None,
        )


def _trainable_ranges(draft: Draft, plan: Plan) -> list[tuple[int, int]]:
    """(offset, words) of what learns, neighbours joined."""
    ranges: list[tuple[int, int]] = []
    for index, layer in enumerate(draft.graph.layers):
        if not layer.has_weights or (plan.cut is not None and index <= plan.cut):
            continue
        block = draft.bank.blocks[layer.name]
        pieces = [("weight", block.offset, block.weight_words)]
        if layer.bias:
            start = block.offset + block.weight_words
            pieces.append(("bias", start, bias_words(layer.output_shape[0], draft.t)))
        for part, offset, words in pieces:
            if not plan.learns(layer, part):
                continue
            if ranges and sum(ranges[-1]) == offset:
                ranges[-1] = (ranges[-1][0], ranges[-1][1] + words)
            else:
                ranges.append((offset, words))
    return ranges
