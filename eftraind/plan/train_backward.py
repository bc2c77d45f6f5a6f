"""A training step backwards: gradients of weights and of maps, layer by layer from the loss.

Owns where a gradient goes, what it is added to and which activation it undoes. Changes no weights.
"""

from dataclasses import replace

from eftraind.graph import INPUT
from eftraind.isa import Command, Flag, Hyper, Op, Operand, Slot
from eftraind.plan.draft import ACTIVATION_FLAGS, Map
from eftraind.plan.task import RULES
from eftraind.plan.train_forward import Forward


class Pass(Forward):
    """Forward, loss and backward of some images of the batch."""

    def run(self) -> None:
        self._begin()
        first = 0 if self._plan.cut is None else self._plan.cut + 1
        for index in range(first, len(self._layers)):
            self._forward(index)
        self._loss()
        for index in range(len(self._layers) - 1, first - 1, -1):
            if self._needs[index]:
                self._backward(index)

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
        steps = self._plan.steps_at_once(layer)
        if layer.convolves and not steps:
            self._weight_gradient(index, dy)
        if layer.kind == "batchnorm":
            self._norm_sums(index, dy)
        if layer.kind == "concat":
            self._concat_backward(index, dy)
            return
        for source in layer.inputs:
            if self._needs[source]:
                self._input_gradient(index, source, dy)
        if steps:  # the way back had to see the weights of before
            self._step(index, dy)

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

    def _step(self, index: int, dy: Map) -> None:
        layer, draft = self._layers[index], self._draft
        offset = draft.bank.blocks[layer.name].offset
        flags = Flag.STEP | (Flag.BIAS if layer.bias else Flag.NONE) | RULES[self._plan.optimizer]
        draft.emit(
            draft.shape(Op.CONV_WU, index, self._images, flags),
            src=self._value(layer.inputs[0]),
            aux=dy,
            dst=Operand(Slot.LEARNER, offset),
            extra=Operand(Slot.MOMENTUM, offset),
            weights=draft.hyper(Hyper.RATE),
        )

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
