"""A training step forwards: samples, layers with batch statistics, the loss.

Owns which maps a pass has and which gradients it needs; the way back is `train_backward`.
"""

from collections.abc import Iterator
from dataclasses import replace

from eftraind.graph import INPUT
from eftraind.isa import Command, Hyper, Op, Operand, Slot
from eftraind.plan.draft import Draft, Map
from eftraind.plan.forward import running
from eftraind.plan.task import Plan


class Forward:
    """The way forward and the loss, on some images of the batch."""

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
            return running(draft, index)
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
