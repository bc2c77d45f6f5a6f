"""Which commands of a program take sums for others, in a kernel as specified. Counts nothing.

That kernel would be told by flags of the commands; here they follow from the program, since no
device takes such flags yet.
"""

from collections.abc import Sequence
from dataclasses import replace

from eftraind.isa import Command, Flag, Op, Operand, Program
from eftraind.plan.design import Traits
from eftraind.plan.job import Job
from eftraind.plan.tiles import extents


def jobs(program: Program, traits: Traits) -> list[Job]:
    """The program's commands in order, each with what it does for others."""
    out = [Job(c) for c in program.commands]
    if traits.gathers:
        _gather(out, program.lanes)
    return out


def _gather(out: list[Job], t: int) -> None:
    """Sums for a BN_STAT or BN_SUM are taken by the commands that write the map it reads, if these
    come right before it (gradients of weights may come between: they leave the sums alone)."""
    for place, job in enumerate(out):
        c = job.command
        if c.op is Op.BN_STAT and not c.flags & Flag.FROZEN:
            writers = _writers(out, place, c.src, extents(c, t)["src"], (Op.CONV_FP,))
        elif c.op is Op.BN_SUM:
            backwards = (Op.CONV_BP, Op.POOL_BP)
            writers = _writers(out, place, c.aux, extents(c, t)["aux"], backwards)
        else:
            continue
        if sum(out[n].command.images for n in writers) == c.images:
            out[place] = replace(job, gathered=True)
            for n in writers:
                out[n] = replace(out[n], gathers=True)


def _writers(
    out: Sequence[Job], place: int, read: Operand, words: int, ops: tuple[Op, ...]
) -> list[int]:
    """The run of commands before `place` that write into the map and add nothing, no bias either:
    the vector unit has three adders."""
    found = []
    for number in range(place - 1, -1, -1):
        c = out[number].command
        if c.op in (Op.CONV_WU, Op.BIAS_WU):
            continue
        if (
            c.op not in ops
            or c.flags & (Flag.ACCUMULATE | Flag.BIAS)
            or not _within(c, read, words)
        ):
            break
        found.append(number)
    return found


def _within(c: Command, read: Operand, words: int) -> bool:
    return c.dst.slot is read.slot and read.offset <= c.dst.offset < read.offset + words
