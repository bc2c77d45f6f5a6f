"""Which commands of a program a kernel as specified runs together. Counts nothing.

The kernel is told by flags of the commands; here they follow from the program, since no device
takes such flags yet.
"""

from collections import Counter
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
    if traits.fuses:
        _way_back_first(out)
        out = _update(out, program.lanes)
    return out


def _way_back_first(out: list[Job]) -> None:
    """CONV_BP of a layer before its CONV_WU, which neither reads what the other writes: it must
    see the weights before they step."""
    start = 0
    while start < len(out):
        ends = start
        for op in (Op.CONV_WU, Op.CONV_BP):
            first = ends
            while ends < len(out) and _is(out[ends], op, out[start].command.layer):
                ends += 1
            if op is Op.CONV_WU:
                middle = ends
            elif middle > start and ends > first:
                out[start:ends] = [*out[middle:ends], *out[start:middle]]
        start = max(ends, start + 1)


def _is(job: Job, op: Op, layer: int) -> bool:
    return job.command.op is op and job.command.layer == layer


def _update(out: list[Job], t: int) -> list[Job]:
    """CONV_WU steps the weights of its gradient, if no other command adds to it, the step needs no
    norm of all gradients, and each word has one velocity. UPDATE keeps what is left."""
    steps = [job.command for job in out if job.command.op is Op.UPDATE]
    if any(job.command.op is Op.NORM for job in out) or any(c.flags & Flag.ADAM for c in steps):
        return out
    whole = Counter(job.command.dst.offset for job in out if job.command.op is Op.CONV_WU)
    fused: list[Job] = []
    for job in out:
        c = job.command
        if c.op is Op.CONV_WU:
            words = extents(c, t)["dst"]
            steps_here = any(_covers(step, c.dst, words) for step in steps)
            job = replace(job, updates=whole[c.dst.offset] == 1 and steps_here)
        if c.op is Op.UPDATE:
            stepped = [j.command for j in fused if j.updates]
            done = [extents(w, t)["dst"] for w in stepped if _covers(c, w.dst, 1)]
            left = c.count - sum(done)
            job = replace(job, command=replace(c, count=left))
            if not left:
                continue
        fused.append(job)
    return fused


def _covers(step: Command, place: Operand, words: int) -> bool:
    start, end = step.src.offset, step.src.offset + step.count
    return step.src.slot is place.slot and start <= place.offset and place.offset + words <= end


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
    """The run of commands before `place` that write into the map and add to nothing."""
    found = []
    for number in range(place - 1, -1, -1):
        c = out[number].command
        if c.op in (Op.CONV_WU, Op.BIAS_WU):
            continue
        if c.op not in ops or c.flags & Flag.ACCUMULATE or not _within(c, read, words):
            break
        found.append(number)
    return found


def _within(c: Command, read: Operand, words: int) -> bool:
    return c.dst.slot is read.slot and read.offset <= c.dst.offset < read.offset + words
