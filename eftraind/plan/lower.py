"""From a network to command programs: one for inference, one for a training step. Runs nothing.

A batch passes through all layers in chunks of a few images, so that activations stay in cache (or
on chip) and the arena holds one chunk, not one batch; gradients accumulate over the chunks and one
UPDATE ends the step. Batch normalisation in training mode couples the images of a batch: then the
whole batch goes layer by layer, and commands are split into parts of a chunk's size.
"""

from eftraind.graph import Graph
from eftraind.isa import Program, Slot
from eftraind.plan.draft import Draft
from eftraind.plan.forward import inference, latent, logits_words
from eftraind.plan.task import Plan
from eftraind.plan.train_backward import Pass
from eftraind.plan.update import update

__all__ = ["Plan", "inference", "latent", "logits_words", "training"]


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
        Pass(draft, plan, start, images).run()
    update(draft, plan)
    return draft.finish(f"train{plan.batch}")
