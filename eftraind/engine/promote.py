"""Carries out the gate's verdicts and the operator's wishes: trials, promotions, rollbacks.

Owns the order of things: a candidate is frozen, judged, written to disk, and only then serves;
after a rollback what serves is written too, so that a restart finds what served last. Judges
nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

from eftraind.engine.banks import Banks
from eftraind.engine.gate import WORSE, Gate, Verdict
from eftraind.engine.publish import Publisher
from eftraind.engine.trainer import Trainer
from eftraind.errors import EftraindError
from eftraind.metrics import Metrics

LOSSES_BEFORE_RESET = 3
"""Candidates in a row worse than serving: one alone may come from a learner on its way up."""
Emit = Callable[[str, Mapping[str, Any]], None]


class Promoter:
    """One promotion at a time; `journal_seq` tells how far the journal was learnt."""

    def __init__(
        self,
        *,
        banks: Banks,
        gate: Gate,
        trainer: Trainer,
        publisher: Publisher,
        metrics: Metrics,
        emit: Emit,
        candidate_steps: int,
        journal_seq: Callable[[], int],
    ) -> None:
        self._banks = banks
        self._gate = gate
        self._trainer = trainer
        self._publisher = publisher
        self._metrics = metrics
        self._emit = emit
        self._candidate_steps = candidate_steps
        self._journal_seq = journal_seq
        self._promoting: Verdict | None = None
        self._losses = 0
        self.swaps = 0
        self.rollbacks = 0
        self._show_version()

    @property
    def waiting(self) -> bool:
        """A promotion is being written: samples wait, so that a swap falls between the same two
        samples whatever the disk's speed."""
        return self._promoting is not None

    @property
    def due(self) -> bool:
        """`finish` has something to do."""
        return self._publisher.done

    @property
    def writing(self) -> bool:
        """A checkpoint is on its way to the disk."""
        return self._publisher.busy

    def finish(self) -> None:
        """Complete what the disk has completed: a promotion's swap, or a plain checkpoint."""
        verdict, self._promoting = self._promoting, None
        self._finish_checkpoint()
        if verdict is not None:
            self._swap(verdict)

    def consider_trial(self) -> None:
        """Freeze the learner as candidate if it has trained enough since the last time."""
        enough = self._trainer.steps_since_snapshot >= self._candidate_steps
        if enough and self._gate.trial is None and not self.waiting:
            self._open_trial()

    def _open_trial(self) -> None:
        candidate = self._banks.snapshot()
        self._trainer.steps_since_snapshot = 0
        ratio = candidate.norm / max(self._banks.golden.norm, 1e-30)
        self._gate.open_trial(candidate.version, ratio, candidate.finite)
        self._emit("candidate", {"version": candidate.version, "norm_ratio": ratio})

    def act(self, verdict: Verdict) -> None:
        """Do what the gate says."""
        self._metrics.counter("gate_decisions_total").inc(1, verdict.action)
        if verdict.action == "promote":
            self._begin(verdict)
        elif verdict.action in ("reject", "renew"):
            self._reject(verdict)
        else:
            self.rollback(to_golden=verdict.action == "fallback", reason=verdict.reason)

    def _reject(self, verdict: Verdict) -> None:
        candidate = self._banks.candidate
        assert candidate is not None
        self._emit("rejected", {"version": candidate.version, "reason": verdict.reason})
        self._banks.discard()
        self._gate.close_trial()
        if verdict.action == "renew":
            self._open_trial()
            return
        hopeless = not (verdict.conditions["finite"] and verdict.conditions["norm_bounded"])
        self._losses = self._losses + 1 if verdict.reason == WORSE else 0
        if hopeless or self._losses == LOSSES_BEFORE_RESET:
            self._losses = 0
            self._trainer.restart()
            self._banks.reset_learner()

    def _begin(self, verdict: Verdict) -> None:
        """Checkpoint first: what serves after a crash has passed the gate."""
        candidate = self._banks.candidate
        assert candidate is not None
        self._gate.close_trial()
        self._promoting = verdict
        self._publish(self._banks.candidate_params, candidate, verdict.reason)

    def _publish(self, tensors: Mapping[str, Any], weights: Any, reason: str) -> None:
        self._publisher.start(
            tensors,
            weights,
            parent=self._banks.serving.version,
            reason=reason,
            journal_seq=self._journal_seq(),
            samples=self._gate.samples,
        )

    def _finish_checkpoint(self) -> None:
        """A full disk does not stop adaptation: the alarm says so, and the swap happens."""
        try:
            generation = self._publisher.finish()
        except EftraindError as error:
            self._emit("alarm", {"code": error.code, "message": str(error)})
        else:
            self._emit("checkpoint", {"generation": generation, "samples": self._gate.samples})

    def _swap(self, verdict: Verdict) -> None:
        old = self._banks.serving.version
        self._banks.promote()
        self.swaps += 1
        self._gate.swapped(probation=True)
        self._changed("swapped", "promoted", old, verdict)

    def rollback(self, *, to_golden: bool, reason: str) -> None:
        """Earlier weights serve from the next inference on. Raises EftraindError if none."""
        old = self._banks.serving.version
        if to_golden:
            self._banks.fallback()
        else:
            self._banks.rollback()
        self._settle(abandon=True)
        self._trainer.restart()
        self.rollbacks += 1
        self._gate.swapped(probation=False)
        self._changed("rolled_back", "rolled_back", old, Verdict("rollback", reason))
        self._publish(self._banks.serving_params(), self._banks.serving, "rolled back")

    def _changed(self, topic: str, result: str, old: int, verdict: Verdict) -> None:
        self._metrics.counter("weights_swaps_total").inc(1, result)
        self._show_version()
        serving = self._banks.serving
        self._emit(
            topic,
            {
                "version": serving.version,
                "hash": serving.hash.hex(),
                "from_version": old,
                "samples": self._gate.samples,
                "reason": verdict.reason,
                "conditions": verdict.conditions,
            },
        )

    def _settle(self, *, abandon: bool) -> None:
        """Wait for the disk; a promotion under way is finished, or given up."""
        if abandon:
            self._promoting = None
        if self._publisher.busy:
            self._publisher.wait()
            self.finish()

    def checkpoint(self, reason: str) -> None:
        """Write the serving weights in the background."""
        self._settle(abandon=False)
        self._publish(self._banks.serving_params(), self._banks.serving, reason)

    def promote_now(self) -> None:
        """An operator's promotion: evidence is waived, finite and bounded weights are not.

        Raises EftraindError with the condition that fails.
        """
        if self.waiting:
            raise EftraindError("a promotion is being written", remedy="wait a moment")
        self._settle(abandon=False)
        self._trainer.restart()
        self._open_trial()
        trial = self._gate.trial
        assert trial is not None
        conditions = trial.conditions(self._gate.rules)
        for name in ("finite", "norm_bounded"):
            if not conditions[name]:
                self.act(Verdict("reject", name, conditions))
                raise EftraindError(f"the learner's weights fail: {name}", remedy="train on")
        self._begin(Verdict("promote", "operator", conditions))

    def close(self) -> None:
        """Wait for what is being written."""
        self._publisher.close()

    def _show_version(self) -> None:
        self._metrics.gauge("weights_version").set(self._banks.serving.version)
