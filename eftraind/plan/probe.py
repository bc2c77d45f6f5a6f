"""Small commands that stand for those of a program, to be timed at a device's start.

Each kind of command once, cut down so that all of them together run in a fraction of a second and
need little memory. Owns the cutting and the scaling back; runs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from eftraind.isa import Command, Flag, Op, Operand, Program, Slot
from eftraind.plan.predict import Line, kind_of, size, work
from eftraind.plan.tiles import extents, slot_needs

MOST_WORK = 4_000_000
"""Multiply-accumulates, or words, of one image of a probe: a few milliseconds of one core."""
IMAGES = (1, 8)
LEAST_ROWS = 8
"""Fewer rows would be mostly border, and what transforms blocks of rows would have none."""
FEW_ROWS, MOST_WEIGHTS = 16, 2
"""A probe with the least rows may be so many times as much work before it loses channels; of a
fully connected layer less, as each multiplication has a weight of its own in memory."""
ALIGN_WORDS = 16
SPREAD_WORDS = 8 << 20
"""Probes lie one behind another over so much of a slot, so that each finds its operands as far from
the processor as a step's commands do."""
OPERANDS = ("src", "weights", "dst", "aux", "extra")


@dataclass(frozen=True)
class Probe:
    """One kind of command, at one or two sizes."""

    kind: Command
    commands: tuple[Command, ...]
    scale: float
    """How many times as much work a unit of the real command is."""

    @property
    def op(self) -> Op:
        return self.kind.op


def probes(program: Program) -> list[Probe]:
    """One of each kind, the first of every operation first, then by work. Deterministic."""
    kinds: dict[Command, Command] = {}
    for c in program.commands:
        kinds.setdefault(kind_of(c), c)
    taken: dict[Slot, int] = {}
    found = [_probe(kind, c, program.lanes, taken) for kind, c in kinds.items()]
    heaviest = {p.kind: work(_one(kinds[p.kind]), program.lanes) for p in found}
    found.sort(key=lambda p: -heaviest[p.kind])
    first = {p.op: p for p in reversed(found)}
    return [*first.values(), *(p for p in found if first[p.op] is not p)]


def program_of(found: Sequence[Probe], program: Program) -> Program:
    """The probes one after another, as a program of its own."""
    commands = tuple(c for probe in found for c in probe.commands)
    needs = dict(slot_needs(commands, program.lanes))
    needs[Slot.CONSTS] = max(needs.get(Slot.CONSTS, 0), program.need_words.get(Slot.CONSTS, 0))
    return Program(f"{program.name} probes", program.lanes, commands, needs, program.layer_names)


def _one(c: Command) -> Command:
    return replace(c, images=1) if c.images else c


def _probe(kind: Command, c: Command, t: int, taken: dict[Slot, int]) -> Probe:
    whole = _one(c)
    small = _cut_channels(_cut_rows(_cut_words(whole, t), t), t)
    scale = work(whole, t) / work(small, t)
    if not c.images:  # words, all alike
        scale = 1.0
        sizes = [replace(small, count=-(-small.count // 4)), small]
    elif scale > 1 or work(small, t) * IMAGES[-1] > 2 * IMAGES[-1] * MOST_WORK:
        sizes = [small]
    else:
        sizes = [replace(small, images=images) for images in IMAGES]
    return Probe(kind, tuple(_placed(one, t, taken) for one in sizes), scale)


def _cut_words(c: Command, t: int) -> Command:
    if c.images:
        return c
    count = min(c.count, MOST_WORK // 4)
    return replace(c, count=count, axis=count if c.flags & Flag.ADAM else c.axis)


def _cut_rows(c: Command, t: int) -> Command:
    """Fewer rows of the map, if it is large; what a map's row costs stays."""
    too_much = work(c, t) / MOST_WORK
    if not c.images or c.op in (Op.LOAD, Op.LOSS) or too_much <= 1 or c.rows_out <= LEAST_ROWS:
        return c
    rows = max(LEAST_ROWS, int(c.rows_out / too_much))
    return replace(
        c,
        rows_out=rows,
        rows_in=min(c.rows_in, (rows - 1) * c.stride_rows + c.kernel_rows),
    )


def _cut_channels(c: Command, t: int) -> Command:
    """Fewer output channels of a layer that is still too much work."""
    too_much = work(c, t) / MOST_WORK / (FEW_ROWS if c.rows_out > 1 else MOST_WEIGHTS)
    convolves = c.op in (Op.CONV_FP, Op.CONV_BP, Op.CONV_WU)
    if not convolves or c.groups > 1 or too_much <= 1:
        return c
    return replace(c, m=max(t, int(c.m / too_much) // t * t))


def _placed(c: Command, t: int, taken: dict[Slot, int]) -> Command:
    """Operands behind those placed before; constants where they are."""
    places: dict[str, Any] = {}
    for slot, words in taken.items():
        taken[slot] = 0 if words > SPREAD_WORDS else words
    for name in OPERANDS:
        operand, words = getattr(c, name), extents(c, t).get(name, 0)
        if operand.slot in (Slot.NONE, Slot.CONSTS):
            continue
        offset = taken.get(operand.slot, 0)
        places[name] = Operand(operand.slot, offset)
        taken[operand.slot] = -(-(offset + words) // ALIGN_WORDS) * ALIGN_WORDS
    return replace(c, **places)


def line_of(probe: Probe, times_s: Sequence[float], command_s: float) -> Line:
    """Of the real command, from what the first of its probes took; `command_s` stands for the
    fixed part where there was only one."""
    sizes = [size(c) for c in probe.commands[: len(times_s)]]
    if len(sizes) == 1:
        fixed, unit = command_s, max(times_s[0] - command_s, 0.0) / sizes[0]
    else:
        unit = max((times_s[1] - times_s[0]) / (sizes[1] - sizes[0]), 0.0)
        fixed = max(times_s[0] - unit * sizes[0], 0.0)
    return Line(fixed, unit * probe.scale)
