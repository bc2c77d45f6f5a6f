"""What happened in one demo run, and the numbers a reader wants from it.

Owns the record (points, marks, counts) and the result that --json writes. Knows nothing of
processes, sockets, screens or plots: those read it.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Point:
    """Recent accuracy of both models, as the daemon scored them before training on the samples."""

    samples: int
    served: float
    frozen: float


@dataclass(frozen=True)
class Mark:
    """Something that happened once: a shift, a swap, a rollback."""

    kind: str
    samples: int
    version: int | None = None


@dataclass
class Story:
    """The growing record of one run."""

    network: str
    shift: str
    points: list[Point] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    def count(self, kind: str) -> int:
        return sum(mark.kind == kind for mark in self.marks)

    def at(self, kind: str) -> list[Mark]:
        return [mark for mark in self.marks if mark.kind == kind]


@dataclass(frozen=True)
class Result:
    """The figures of one run. Accuracies are of held-out test images, asked through the SDK."""

    shift: str
    network: str
    seed: int
    samples_sent: int
    samples_acked_durable: int
    samples_lost: int
    predictions: int
    predictions_lost: int
    swaps: int
    rollbacks: int
    accuracy_before_shift: float
    accuracy_after_shift_served: float
    accuracy_after_shift_frozen: float
    train_samples_per_s: float
    infer_p50_ms: float
    infer_p99_ms: float
    wall_s: float
    versions: tuple[int, ...]

    @property
    def recovered(self) -> float:
        """The share of its accuracy before the shift that the served model has afterwards."""
        return self.accuracy_after_shift_served / max(self.accuracy_before_shift, 1e-9)

    @property
    def nothing_lost(self) -> bool:
        return self.samples_lost == 0 and self.predictions_lost == 0

    def as_json(self) -> dict[str, Any]:
        rounded = {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in vars(self).items()
        }
        return {**rounded, "versions": list(self.versions)}
