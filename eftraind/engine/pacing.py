"""Predicted against measured time of a step's commands: where slices end, how far a device is off.

Predictions begin with the planner's and follow, kind by kind, what commands really take. Runs
nothing and reads no clock.
"""

from collections.abc import Mapping

import numpy as np

from eftraind.isa import Program
from eftraind.plan.predict import F64, Predictor, kind_of, seconds

FOLLOW = 0.2
"""Share of a misprediction that one run of a kind takes back."""
FARTHEST = 4.0
"""One run counts as at most so many times slower or faster: it may have been interrupted."""


class Pacing:
    """Of one program on one device; without a predictor nothing is predicted and slices have no
    bound."""

    def __init__(self, program: Program, predictor: Predictor | None, slice_s: float) -> None:
        commands = program.commands
        self._slice_s = slice_s if predictor else np.inf
        self._count = len(commands)
        kinds: dict[object, int] = {}
        self._kinds = np.array([kinds.setdefault(kind_of(c), len(kinds)) for c in commands])
        self._ops = [c.op.name.lower() for c in commands]
        self._planned_s = seconds(predictor, commands) if predictor else None
        self._factors = np.ones(len(kinds))
        self._spent: dict[str, tuple[float, float]] = {}

    @property
    def predicted_s(self) -> F64 | None:
        """Of each command, as of now; None: nothing is predicted."""
        return None if self._planned_s is None else self._planned_s * self._factors[self._kinds]

    def end_of_slice(self, first: int) -> int:
        """One behind the last command of the slice that begins with `first`: as many as are
        predicted to fit, at least one."""
        predicted = self.predicted_s
        if predicted is None or np.isinf(self._slice_s):
            return self._count
        ends = np.cumsum(predicted[first:])
        return first + max(1, int(np.searchsorted(ends, self._slice_s * (1 + 1e-9), side="right")))

    def begin(self) -> None:
        """A step begins: errors are counted anew."""
        self._spent = {}

    def learn(self, first: int, measured_s: F64) -> None:
        """Hold a slice's times against what was predicted for it, then follow them gently."""
        predicted = self.predicted_s
        if predicted is None:
            return
        part = slice(first, first + len(measured_s))
        for op, spent, planned in zip(self._ops[part], measured_s, predicted[part], strict=True):
            before = self._spent.get(op, (0.0, 0.0))
            self._spent[op] = before[0] + float(spent), before[1] + float(planned)
        kinds = self._kinds[part]
        spent_s = np.bincount(kinds, measured_s, len(self._factors))
        planned_s = np.bincount(kinds, predicted[part], len(self._factors))
        ran = planned_s > 0
        ratios = np.clip(spent_s[ran] / planned_s[ran], 1 / FARTHEST, FARTHEST)
        self._factors[ran] *= 1 + FOLLOW * (ratios - 1)

    def errors(self) -> Mapping[str, float]:
        """Measured over predicted time by operation, since `begin`; without what has no
        prediction."""
        return {op: spent / planned for op, (spent, planned) in self._spent.items() if planned > 0}

    def drift(self) -> Mapping[str, float]:
        """Predictions of now over those of the start, by operation."""
        predicted = self.predicted_s
        if predicted is None or self._planned_s is None:
            return {}
        sums: dict[str, tuple[float, float]] = {}
        for op, now, start in zip(self._ops, predicted, self._planned_s, strict=True):
            before = sums.get(op, (0.0, 0.0))
            sums[op] = before[0] + float(now), before[1] + float(start)
        return {op: now / start for op, (now, start) in sums.items() if start > 0}
