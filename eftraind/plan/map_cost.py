"""Closed-form cost of the commands that only stream: load, pool, BN, add, loss, update, copy.

Their operands pass in blocks that fit the buffers, with the same ping-pong of load, compute and
store as convolutions; those that only need the vector unit pass it as they are stored. Which
operand takes which channel is a table here; how many words it has is `plan.tiles`' business. An
operation without an entry is an error.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from eftraind.errors import ProgramError
from eftraind.isa import Command, Flag, Op, Slot
from eftraind.plan.design import PASSES, RUN, Design
from eftraind.plan.job import Job
from eftraind.plan.machine import Channel, Machine
from eftraind.plan.rounds import Round, Total
from eftraind.plan.shape import row_words
from eftraind.plan.tiles import bias_words, extents

SOFTMAX_CLASS_CYCLES = 80
"""Comparison, exponential, product and division of one class, one after another: the loss is not
pipelined. An estimate from the operators' latencies."""
SOFTMAX_CYCLES = 80
"""Logarithm and the ends of four loops, for each image."""

FINISH_CYCLES = 60
"""Square root, division and what goes with them, of one channel of a batch normalisation."""

TWO_SHAPES = (Op.POOL_BP,)
"""Commands that read two maps of different shapes."""

ELEMENTS = (
    Op.BN_FP, Op.BN_BP, Op.ADD_FP, Op.PASS_BP, Op.CONCAT_FP, Op.CONCAT_BP, Op.DROP_FP, Op.DROP_BP,
)  # fmt: skip
"""Commands that nothing computes but the vector unit, between loading and storing."""

Words = dict[Channel, int]
Extents = dict[str, int]


@dataclass(frozen=True)
class Traffic:
    """Words that a command loads and stores on each channel, and cycles it computes."""

    loads: Words
    stores: Words
    work: int


def traffic(job: Job, design: Design) -> Traffic:
    """Raises ProgramError for an operation without a formula: it never counts as zero."""
    c = job.command
    formula = _FORMULAS.get(c.op)
    if formula is None:
        raise ProgramError(f"no cost formula for {c.op!r}", remedy="extend plan.map_cost")
    moved = _summed(formula(c, design, extents(c, design.t)), job, design)
    loads = dict(moved.loads)
    if c.op in TWO_SHAPES and not design.traits.beside:
        loads[Channel.IN] += loads.pop(Channel.WEIGHTS)
    return Traffic(_named(loads), _named(moved.stores), moved.work)


def _summed(moved: Traffic, job: Job, design: Design) -> Traffic:
    """With sums for batch normalisation taken beside, or found ready: then only vectors move, and
    a square root and a division of each channel follow one another."""
    c, e = job.command, extents(job.command, design.t)
    if job.gathers:
        joined = moved.stores.get(Channel.JOINED, 0) + e["dst"]
        return replace(moved, stores=moved.stores | {Channel.JOINED: joined})
    if job.gathered:
        vectors = moved.loads[Channel.IN] - (2 if c.op is Op.BN_STAT else 1) * e["src"]
        return Traffic({Channel.IN: vectors}, moved.stores, FINISH_CYCLES * c.n)
    return moved


def _named(words: Words) -> Words:
    return {channel: count for channel, count in words.items() if count}


def blocks(job: Job, moved: Traffic, design: Design) -> int:
    """Blocks that fit half a feature buffer (the other half is for a second operand) and an output
    buffer, T lanes wide; moments of Adam take one bank of that. What is loaded to be stored takes
    an output buffer, two operands a half each."""
    long = moved.work > 4 * PASSES * design.pipeline_cycles
    need = [PASSES if design.traits.splits and long else 1]
    if at_once(job):
        operands = 1 + _two_operands(job.command, design.t)
        words = job.command.count if job.steps else moved.stores[Channel.OUT]
        room = design.output_words // operands * design.pixels * design.t
        return max(*need, math.ceil(words / room))
    room_in = design.feature_depth // 2 * design.t
    adam = job.command.op is Op.UPDATE
    room_out = (design.output_words if adam else design.output_depth) * design.t
    need += [math.ceil(words / room_in) for words in moved.loads.values()]
    need += [math.ceil(words / room_out) for words in moved.stores.values()]
    return max(need)


def cost(job: Job, design: Design, machine: Machine) -> Total:
    """Cycles, words and what holds the command up."""
    moved = traffic(job, design)
    number = blocks(job, moved, design)
    load = tuple((channel, math.ceil(words / number)) for channel, words in moved.loads.items())
    store = tuple((channel, math.ceil(words / number)) for channel, words in moved.stores.items())
    compute = 0 if at_once(job) else math.ceil(moved.work / number) + design.pipeline_cycles
    total = Total()
    total.command(machine)
    if not overlaps(job):
        total.alone(machine, Round(0, load=load), number)
        total.add(machine, Round(compute), number)
        total.alone(machine, Round(0, store=store), number)
        return total
    runs = _runs(job, number, design)
    total.alone(machine, Round(0, load=load))
    if at_once(job):
        total.add(machine, Round(0, load, store, 0, runs), number - 1)
    elif number == 1:
        total.add(machine, Round(compute))
    else:
        total.add(machine, Round(compute, load=load))
        total.add(machine, Round(compute, load, store, 0, runs), number - 2)
        total.add(machine, Round(compute, (), store, 0, runs))
    total.alone(machine, Round(0, (), store, 0, runs))
    moves = (*moved.loads.items(), *moved.stores.items())
    total.read_words = sum(words for channel, words in moves if not channel.writes)
    total.written_words = sum(words for channel, words in moves if channel.writes)
    return total


def overlaps(job: Job) -> bool:
    """Blocks are loaded, computed and stored at once. Adam's needs all buffers for one block."""
    return job.command.op is not Op.UPDATE or job.steps


def at_once(job: Job) -> bool:
    """Blocks are stored as soon as they are loaded: the vector unit is all they need."""
    steps = job.command.op is Op.UPDATE and job.steps
    return steps or job.command.op in ELEMENTS


def _two_operands(c: Command, t: int) -> bool:
    turned = c.op in (Op.CONCAT_FP, Op.CONCAT_BP) and c.axis % t != 0
    return turned or c.op is Op.ADD_FP or (c.op is Op.BN_BP and not c.flags & Flag.FROZEN)


def _runs(job: Job, number: int, design: Design) -> int:
    """Of an UPDATE's block: runs of weights and of velocities that are read before they are
    written."""
    words = math.ceil(job.command.count / number) if job.steps else 0
    return 0 if design.traits.streams else 2 * math.ceil(words / (RUN * design.t))


def _old_sums(c: Command, words: int) -> Words:
    """BP commands with ACCUMULATE read what they add to, on the port for results."""
    return {Channel.JOINED: words if c.flags & Flag.ACCUMULATE else 0}


def _lanes(words: int, design: Design) -> int:
    return math.ceil(words / design.vector_lanes)


def _load(c: Command, design: Design, e: Extents) -> Traffic:
    loads = {Channel.IN: c.images * e["src"] + e["aux"], Channel.WEIGHTS: e["weights"]}
    return Traffic(loads, {Channel.OUT: e["dst"]}, _lanes(e["dst"], design))


def _window(c: Command, design: Design, e: Extents) -> Traffic:
    """Pooling takes T lanes of one element of a window a cycle, tap by tap, and comes back to a
    sum no sooner than `revisit` allows; averages go through the array, as many windows of a row at
    once as it takes pixels. Maximum pooling backwards looks at each window twice, to find and to
    send, and clears the map between. x comes on the port for weights."""
    taps = c.kernel_rows * c.kernel_cols
    backwards = c.op in (Op.POOL_BP, Op.AVG_BP)
    channel_tiles = bias_words(c.n, design.t) // design.t
    mean = c.op in (Op.AVG_FP, Op.AVG_BP)
    windows = c.images * c.rows_out * -(-c.cols_out // (design.pixels if mean else 1))
    work = channel_tiles * taps * max(windows, design.revisit)
    if c.op is Op.POOL_BP:
        row = row_words(c.cols_in, c.stride_cols, design.pixels)
        work = 2 * work + channel_tiles * c.images * c.rows_in * row
    loads = {Channel.IN: e["src"], Channel.WEIGHTS: e["aux"] if c.op is Op.POOL_BP else 0}
    masks = e["aux"] if c.op is Op.AVG_BP else 0
    stores = {Channel.JOINED: masks, Channel.OUT: e["dst"]}
    if backwards:
        stores[Channel.JOINED] += _old_sums(c, e["dst"])[Channel.JOINED]
    return Traffic(loads, stores, work)


def _bn_stat(c: Command, design: Design, e: Extents) -> Traffic:
    """Two passes over x: the mean, then the deviations from it."""
    loads = {Channel.IN: 2 * e["src"]}
    stores = {Channel.JOINED: e["dst"], Channel.OUT: e["extra"] + e["dst"]}
    return Traffic(loads, stores, _lanes(2 * e["src"], design))


def _bn_sum(c: Command, design: Design, e: Extents) -> Traffic:
    loads = {Channel.IN: e["src"] + e["extra"] // 2, Channel.WEIGHTS: e["aux"]}
    stores = _old_sums(c, e["dst"]) | {Channel.OUT: e["extra"] // 2 + e["dst"]}
    return Traffic(loads, stores, _lanes(e["src"], design))


def _maps(c: Command, design: Design, e: Extents) -> Traffic:
    """dst from src and, where they have one, a second map on the port for weights, which brings
    vectors too. Of a CONCAT only the smaller map moves."""
    moved = min(e["src"], e["dst"])
    second = e.get("aux", 0) if c.op in (Op.ADD_FP, Op.BN_BP, Op.BN_FP) else 0
    masks = e.get("aux", 0) if c.flags & Flag.MASK and c.op is not Op.BN_BP else 0
    seed = e.get("extra", 0) if c.op is not Op.BN_BP else 0
    vectors = e.get("weights", 0) + (e.get("extra", 0) if c.op is Op.BN_BP else 0)
    loads = {Channel.IN: moved + seed, Channel.WEIGHTS: second + vectors}
    joined = masks + _old_sums(c, moved)[Channel.JOINED]
    return Traffic(loads, {Channel.JOINED: joined, Channel.OUT: moved}, _lanes(moved, design))


def _bias_wu(c: Command, design: Design, e: Extents) -> Traffic:
    stores = _old_sums(c, e["dst"]) | {Channel.OUT: e["dst"]}
    return Traffic({Channel.IN: e["src"]}, stores, _lanes(e["src"], design))


def _loss(c: Command, design: Design, e: Extents) -> Traffic:
    loads = {Channel.IN: e["src"], Channel.WEIGHTS: e["aux"] + e["weights"]}
    work = c.images * (SOFTMAX_CLASS_CYCLES * c.m + SOFTMAX_CYCLES)
    return Traffic(loads, {Channel.OUT: e["dst"] + e["extra"]}, work)


def _norm(c: Command, design: Design, e: Extents) -> Traffic:
    return Traffic({Channel.IN: e["src"]}, {Channel.OUT: e["dst"]}, _lanes(e["src"], design))


def _update(c: Command, design: Design, e: Extents) -> Traffic:
    """g comes in; w and v pass through the port for results, and step there; a gradient that is
    clipped is written first, over v. With Adam w comes beside g, and after it a second moment
    beside v; roots and divisions take one word a cycle."""
    rates = e["weights"] + e["aux"]
    if not c.flags & Flag.ADAM:
        clips = c.weights.slot is not Slot.NONE
        state = {Channel.JOINED: 2 * c.count, Channel.OUT: (2 + clips) * c.count}
        loads = {Channel.IN: e["src"], Channel.WEIGHTS: rates}
        return Traffic(loads, state, _lanes(c.count, design))
    loads = {
        Channel.IN: e["src"] + c.count,
        Channel.WEIGHTS: e["dst"] + rates,
        Channel.JOINED: c.count,
    }
    return Traffic(loads, {Channel.OUT: 3 * c.count}, c.count)


def _copy(c: Command, design: Design, e: Extents) -> Traffic:
    return Traffic({Channel.IN: e["src"]}, {Channel.OUT: e["dst"]}, _lanes(e["dst"], design))


_FORMULAS: dict[Op, Callable[[Command, Design, Extents], Traffic]] = {
    Op.LOAD: _load,
    Op.LOSS: _loss,
    Op.BN_STAT: _bn_stat,
    Op.BN_SUM: _bn_sum,
    Op.BIAS_WU: _bias_wu,
    Op.NORM: _norm,
    Op.UPDATE: _update,
    Op.COPY: _copy,
    **dict.fromkeys((Op.POOL_FP, Op.POOL_BP, Op.AVG_FP, Op.AVG_BP), _window),
    **dict.fromkeys(ELEMENTS, _maps),
}
