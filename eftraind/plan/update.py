"""The end of a training step: clip, then step, on the words that learn. Knows no maps."""

from eftraind.isa import Command, Flag, Hyper, Op, Operand, Slot
from eftraind.plan.draft import Draft
from eftraind.plan.task import RULES, Plan
from eftraind.plan.tiles import bias_words


def update(draft: Draft, plan: Plan) -> None:
    """Clip, then step, on the words that learn and have not stepped with their gradient."""
    ranges = _trainable_ranges(draft, plan)
    norm = Operand(Slot.CONSTS, draft.consts.norm)
    if plan.clip:
        for number, (offset, words) in enumerate(ranges):
            flags = Flag.ACCUMULATE if number else Flag.NONE
            command = Command(Op.NORM, flags, count=words)
            draft.emit(command, src=Operand(Slot.GRADS, offset), dst=norm)
    distance = draft.bank.trainable_words if plan.optimizer == "adam" else 0
    for offset, words in ranges:
        draft.emit(
            Command(Op.UPDATE, RULES[plan.optimizer], count=words, axis=distance),
            src=Operand(Slot.GRADS, offset),
            dst=Operand(Slot.LEARNER, offset),
            extra=Operand(Slot.MOMENTUM, offset),
            aux=draft.hyper(Hyper.RATE),
            weights=norm if plan.clip else None,
        )


def _trainable_ranges(draft: Draft, plan: Plan) -> list[tuple[int, int]]:
    """(offset, words) of what is left to learn, neighbours joined."""
    ranges: list[tuple[int, int]] = []
    for index, layer in enumerate(draft.graph.layers):
        if not layer.has_weights or (plan.cut is not None and index <= plan.cut):
            continue
        if plan.steps_at_once(layer):
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
