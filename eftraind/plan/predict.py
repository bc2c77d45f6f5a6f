"""Seconds that a command will take, by one structure for every device: a fixed part, and a part in
proportion to its work.

On our kernel both follow from the cost model and its clock; on a device without one they are
constants that a measurement at start gives (`plan.probe` says which commands are worth measuring).
Measures nothing itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from eftraind.errors import ProgramError
from eftraind.isa import NOWHERE, Command, Op
from eftraind.plan.cost import Coster
from eftraind.plan.tiles import extents, macs

F64 = npt.NDArray[np.float64]


class Predictor(Protocol):
    """What the engine asks before it cuts a slice or chooses a chunk."""

    def seconds(self, c: Command) -> float:
        """Raises ProgramError for a command of which nothing is known."""


def seconds(predictor: Predictor, commands: Iterable[Command]) -> F64:
    """Of each command."""
    return np.array([predictor.seconds(c) for c in commands], dtype=np.float64)


def kind_of(c: Command) -> Command:
    """What commands of one kind have in common: all but images, words and places in memory."""
    places = {
        name: replace(getattr(c, name), offset=0) for name in ("src", "weights", "dst", "aux")
    }
    return replace(c, layer=0, axis=0, images=0, count=0, scalar=0.0, extra=NOWHERE, **places)


def work(c: Command, t: int) -> int:
    """Multiply-accumulates of a convolution, words moved by any other command."""
    return macs(c) or sum(extents(c, t).values())


@dataclass(frozen=True)
class Line:
    """What one kind of command takes: seconds = fixed_s + size * unit_s, the size being its images
    or, where it has none, its words."""

    fixed_s: float
    unit_s: float

    def at(self, c: Command) -> float:
        return self.fixed_s + self.unit_s * size(c)


def size(c: Command) -> int:
    return c.images or c.count


class Calibrated:
    """Lines that were measured, and for other commands the median pace of their operation."""

    def __init__(
        self, t: int, lines: Mapping[Command, Line], command_s: float, pace_s: Mapping[Op, float]
    ) -> None:
        """`lines` by `kind_of`; `command_s` of a command without work; `pace_s`: seconds for a
        unit of `work`."""
        self._t = t
        self._lines = dict(lines)
        self._command_s = command_s
        self._pace_s = dict(pace_s)

    def seconds(self, c: Command) -> float:
        line = self._lines.get(kind_of(c))
        if line is not None:
            return line.at(c)
        if c.op not in self._pace_s:
            raise ProgramError(
                f"no time is known of {c.op.name}", remedy="calibrate with a program that has it"
            )
        return self._command_s + self._pace_s[c.op] * work(c, self._t)


class Clocked:
    """Our kernel's cost model; `cycle_s` is that of its clock, or measured where it has none."""

    def __init__(self, coster: Coster, cycle_s: float) -> None:
        self._coster = coster
        self._cycle_s = cycle_s

    def seconds(self, c: Command) -> float:
        return self._coster.command(c).cycles * self._cycle_s
