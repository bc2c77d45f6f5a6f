"""The weight banks: which weights serve, which are on trial, what can be gone back to.

Five banks are allocated once and rotate: learner (being trained), candidate (a frozen copy on
trial), serving, previous, golden. A swap writes the slot table; no weights move. This module does
not judge weights (`gate`) and writes no files (`checkpoint`).
"""

from dataclasses import dataclass

import numpy as np

from eftraind import params as parameters
from eftraind.engine.executor import Executor
from eftraind.errors import EftraindError
from eftraind.isa import Slot
from eftraind.params import F32, Params


@dataclass(frozen=True)
class Weights:
    """Identity of the weights in a bank."""

    version: int
    hash: bytes
    norm: float
    finite: bool = True


def describe(version: int, params: Params) -> Weights:
    with np.errstate(over="ignore", invalid="ignore"):
        squares = sum(
            float(np.square(tensor, dtype=np.float64).sum()) for tensor in params.values()
        )
    finite = all(bool(np.isfinite(tensor).all()) for tensor in params.values())
    return Weights(version, parameters.weights_hash(params), squares**0.5, finite)


class Banks:
    """Serving, candidate, previous and golden weights, and the rotation between them."""

    def __init__(
        self,
        executor: Executor,
        *,
        golden: Params,
        golden_version: int,
        serving: Params,
        version: int,
    ) -> None:
        self._executor = executor
        self.golden = describe(golden_version, golden)
        self.serving = describe(version, serving)
        self.candidate: Weights | None = None
        self.previous: Weights | None = None
        self.candidate_params: dict[str, F32] = {}
        self._newest = max(version, golden_version)
        executor.write_bank(Slot.GOLDEN, golden)
        executor.write_bank(Slot.SERVING, serving)
        self.reset_learner()

    def reset_learner(self) -> None:
        """Training goes on from the serving weights, at rest."""
        self._executor.copy_bank(Slot.SERVING, Slot.LEARNER)
        self._executor.clear_momentum()

    def snapshot(self) -> Weights:
        """Freeze the learner as candidate. Its weights may be not finite: the gate sees to that."""
        self._executor.copy_bank(Slot.LEARNER, Slot.CANDIDATE)
        self.candidate_params = self._executor.read_bank(Slot.CANDIDATE)
        self._newest += 1
        self.candidate = describe(self._newest, self.candidate_params)
        return self.candidate

    def discard(self) -> None:
        self.candidate = None
        self.candidate_params = {}

    def promote(self) -> None:
        """The candidate serves from the next inference on."""
        if self.candidate is None:
            raise EftraindError("there is no candidate", remedy="wait for training to make one")
        self._rotate(self.candidate)

    def rollback(self) -> None:
        """The previous weights serve again; what they replace is not kept."""
        if self.previous is None:
            raise EftraindError(
                "there are no previous weights to go back to",
                remedy="roll back to golden, or wait for a swap",
            )
        device = self._executor.device
        bad = device.bound(Slot.SERVING)
        device.bind(Slot.SERVING, device.bound(Slot.PREVIOUS))
        device.bind(Slot.PREVIOUS, bad)
        self.serving, self.previous = self.previous, None
        self.discard()
        self.reset_learner()

    def fallback(self) -> None:
        """A copy of the golden weights serves; the golden bank itself never moves."""
        self._executor.copy_bank(Slot.GOLDEN, Slot.CANDIDATE)
        self._rotate(self.golden)
        self.reset_learner()

    def _rotate(self, serving: Weights) -> None:
        device = self._executor.device
        new, old = device.bound(Slot.CANDIDATE), device.bound(Slot.SERVING)
        free = device.bound(Slot.PREVIOUS)
        device.bind(Slot.SERVING, new)
        device.bind(Slot.PREVIOUS, old)
        device.bind(Slot.CANDIDATE, free)
        self.previous, self.serving = self.serving, serving
        self.discard()

    def serving_params(self) -> dict[str, F32]:
        return self._executor.read_bank(Slot.SERVING)
