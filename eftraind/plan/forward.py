"""Inference and frozen layers, one layer after another, with running statistics.

Owns the commands of a layer that nobody learns from; keeps nothing for a way back.
"""

from dataclasses import replace

from eftraind.graph import INPUT, Graph
from eftraind.isa import Command, Flag, Hyper, Op, Operand, Program, Slot
from eftraind.plan.draft import Draft, Map
from eftraind.plan.tiles import map_words


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
    vectors = running(draft, index) if layer.kind == "batchnorm" else None
    draft.forward(index, size, sources, values[index], vectors)


def running(draft: Draft, index: int) -> Map:
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
