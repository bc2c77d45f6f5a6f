"""Closed-form cost of the commands that only stream: load, pool, BN, add, loss, update, copy.

Their operands pass through the vector unit in blocks that fit the feature buffers, with the same
ping-pong of load, compute and store as convolutions. Which operand takes which channel is a table
here; how many words it has is `plan.tiles`' business. An operation without an entry is an error.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from eftraind.errors import ProgramError
from eftraind.isa import Command, Flag, Op
from eftraind.plan.design import Design
from eftraind.plan.machine import Channel, Machine
from eftraind.plan.rounds import Round, Total
from eftraind.plan.tiles import bias_words, extents

SOFTMAX_PASSES = 3
"""Maximum, sum of exponentials, gradient: one class a cycle each."""
SOFTMAX_CYCLES = 80
"""Logarithm, division and the ends of three loops, for each image."""


@dataclass(frozen=True)
class Traffic:
    """Words on each channel, and cycles the vector unit is busy."""

    words: dict[Channel, int]
    work: int


def traffic(c: Command, design: Design) -> Traffic:
    """Raises ProgramError for an operation without a formula: it never counts as zero."""
    formula = _FORMULAS.get(c.op)
    if formula is None:
        raise ProgramError(f"no cost formula for {c.op!r}", remedy="extend plan.map_cost")
    return formula(c, design, extents(c, design.t))


def blocks(moved: Traffic, design: Design) -> int:
    """Blocks that fit one copy of the input and of the output buffer."""
    room_in = design.ifm_depth * design.array_n
    room_out = design.ofm_depth * design.array_m
    need = 1
    for channel, words in moved.words.items():
        need = max(need, math.ceil(words / (room_out if channel.writes else room_in)))
    return need


def cost(c: Command, design: Design, machine: Machine) -> Total:
    """Cycles, words and what holds the command up."""
    moved = traffic(c, design)
    number = blocks(moved, design)
    share = {channel: math.ceil(words / number) for channel, words in moved.words.items()}
    load = tuple((channel, words) for channel, words in share.items() if not channel.writes)
    store = tuple((channel, words) for channel, words in share.items() if channel.writes)
    compute = math.ceil(moved.work / number) + design.pipeline_cycles
    total = Total()
    total.command(machine)
    total.alone(machine, Round(0, load=load))
    if number == 1:
        total.add(machine, Round(compute))
    else:
        total.add(machine, Round(compute, load=load))
        total.add(machine, Round(compute, load=load, store=store), number - 2)
        total.add(machine, Round(compute, store=store))
    total.alone(machine, Round(0, store=store))
    total.read_words = sum(w for channel, w in moved.words.items() if not channel.writes)
    total.written_words = sum(w for channel, w in moved.words.items() if channel.writes)
    return total


Extents = dict[str, int]


def _adds_to(c: Command) -> int:
    """BP commands with ACCUMULATE read what they add to."""
    return 1 if c.flags & Flag.ACCUMULATE else 0


def _lanes(words: int, design: Design) -> int:
    return math.ceil(words / design.vector_lanes)


def _load(c: Command, design: Design, e: Extents) -> Traffic:
    words = {
        Channel.IN: c.images * e["src"],
        Channel.WEIGHTS: e["weights"],
        Channel.EXTRA: e["aux"],
        Channel.OUT: e["dst"],
    }
    return Traffic(words, _lanes(e["dst"], design))


def _window(c: Command, design: Design, e: Extents) -> Traffic:
    """Pooling: the vector unit takes one element of a window a cycle, T lanes of it at most."""
    taps = c.kernel_rows * c.kernel_cols
    small = e["dst"] if c.op in (Op.POOL_FP, Op.AVG_FP) else e["src"]
    backwards = c.op in (Op.POOL_BP, Op.AVG_BP)
    extra = e.get("aux", 0) + (_adds_to(c) * e["dst"] if backwards else 0)
    words = {Channel.IN: e["src"], Channel.EXTRA: extra, Channel.OUT: e["dst"]}
    work = max(small * taps, e["dst"])
    return Traffic(words, _lanes(work, design))


def _bn_stat(c: Command, design: Design, e: Extents) -> Traffic:
    """Two passes over x: the mean, then the deviations from it."""
    words = {
        Channel.IN: 2 * e["src"],
        Channel.WEIGHTS: e["dst"],
        Channel.WEIGHTS_OUT: e["extra"] + e["dst"],
    }
    return Traffic(words, _lanes(2 * e["src"], design))


def _bn_sum(c: Command, design: Design, e: Extents) -> Traffic:
    vectors = e["extra"] + _adds_to(c) * e["dst"]
    words = {
        Channel.IN: e["src"],
        Channel.EXTRA: e["aux"],
        Channel.WEIGHTS: vectors,
        Channel.WEIGHTS_OUT: e["extra"] // 2 + e["dst"],
    }
    return Traffic(words, _lanes(e["src"], design))


def _two_maps(c: Command, design: Design, e: Extents) -> Traffic:
    """dst from src, and aux where it is a map: BN, add, pass, dropout, concat."""
    words = {Channel.IN: e["src"], Channel.OUT: e["dst"]}
    words[Channel.WEIGHTS] = e.get("weights", 0) + e.get("extra", 0)
    words[Channel.EXTRA] = e.get("aux", 0) + _adds_to(c) * e["dst"]
    moved = min(e["src"], e["dst"])
    if c.op in (Op.CONCAT_FP, Op.CONCAT_BP):
        words[Channel.IN] = words[Channel.OUT] = moved
        words[Channel.EXTRA] = e.get("aux", 0) + _adds_to(c) * moved
    return Traffic(words, _lanes(moved, design))


def _bias_wu(c: Command, design: Design, e: Extents) -> Traffic:
    words = {
        Channel.IN: e["src"],
        Channel.WEIGHTS: _adds_to(c) * e["dst"],
        Channel.WEIGHTS_OUT: e["dst"],
    }
    return Traffic(words, _lanes(e["src"], design))


def _loss(c: Command, design: Design, e: Extents) -> Traffic:
    words = {
        Channel.IN: e["src"],
        Channel.EXTRA: e["aux"],
        Channel.WEIGHTS: e["weights"],
        Channel.OUT: e["dst"] + e["extra"],
    }
    classes = bias_words(c.m, design.t)
    return Traffic(words, c.images * (SOFTMAX_PASSES * classes + SOFTMAX_CYCLES))


def _norm(c: Command, design: Design, e: Extents) -> Traffic:
    words = {Channel.IN: e["src"], Channel.WEIGHTS_OUT: e["dst"]}
    return Traffic(words, _lanes(e["src"], design))


def _update(c: Command, design: Design, e: Extents) -> Traffic:
    """g, w and v come in, w and v go out; Adam has a second moment beside v."""
    moments = 2 if c.flags & Flag.ADAM else 1
    words = {
        Channel.IN: e["src"],
        Channel.WEIGHTS: e["dst"] + e["weights"] + e["aux"],
        Channel.EXTRA: moments * c.count,
        Channel.OUT: e["dst"],
        Channel.WEIGHTS_OUT: moments * c.count,
    }
    return Traffic(words, moments * _lanes(e["dst"], design))


def _copy(c: Command, design: Design, e: Extents) -> Traffic:
    words = {Channel.IN: e["src"], Channel.OUT: e["dst"]}
    return Traffic(words, _lanes(e["dst"], design))


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
    **dict.fromkeys((Op.BN_FP, Op.BN_BP, Op.ADD_FP, Op.PASS_BP), _two_maps),
    **dict.fromkeys((Op.CONCAT_FP, Op.CONCAT_BP, Op.DROP_FP, Op.DROP_BP), _two_maps),
}
