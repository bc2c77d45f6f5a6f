"""Finds which layer first gave NaN or Inf in a training step that failed.

Runs the step's commands again, one at a time, and looks at what each wrote. It may move running
statistics of the learner bank, whose weights are not to be trusted any more anyway. It decides
nothing.
"""

import numpy as np

from eftraind.accel.device import Device
from eftraind.errors import NonFiniteError
from eftraind.isa import Command, Op, Operand, Program, Slot
from eftraind.plan.bank import BankLayout
from eftraind.plan.tiles import extents

_WRITES_EXTRA = (Op.BN_STAT, Op.BN_SUM)
_PARTIAL = (Op.CONCAT_FP,)
"""Write only some channels of dst; the rest is whatever lay there before."""


def spoilt(device: Device, handle: int, program: Program, bank: BankLayout) -> str:
    """The layer and the command, in words."""
    names = program.layer_names
    for index, command in enumerate(program.commands):
        if command.op in (Op.NORM, Op.UPDATE):
            break
        if _spoils(device, handle, index, command, program.lanes):
            return f"layer {names[command.layer]} ({command.op.name})"
    return f"the update of layer {_steepest(device, program, bank)}"


def _spoils(device: Device, handle: int, index: int, command: Command, t: int) -> bool:
    try:
        device.run(handle, index, 1)
    except NonFiniteError:
        return True
    written = {"dst"} if command.op not in _PARTIAL else set()
    if command.op in _WRITES_EXTRA:
        written.add("extra")
    sizes = extents(command, t)
    places = ((getattr(command, name), sizes[name]) for name in written)
    return not all(_finite(device, place, words) for place, words in places if words)


def _finite(device: Device, place: Operand, words: int) -> bool:
    values = device.read(device.bound(place.slot), place.offset, words)
    return bool(np.isfinite(values).all())


def _steepest(device: Device, program: Program, bank: BankLayout) -> str:
    """The layer with the largest gradient: every gradient is finite, and the step leapt too far."""
    gradients = device.bound(Slot.GRADS)
    end = program.need_words.get(Slot.GRADS, 0)
    largest = {
        name: float(np.abs(device.read(gradients, block.offset, block.words)).max())
        for name, block in bank.blocks.items()
        if block.offset + block.words <= end
    }
    return max(largest, key=lambda name: largest[name])
