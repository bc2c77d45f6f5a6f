"""The engine: one object that learns from journal records and answers inference, with no sockets.

Whoever owns it calls `infer` whenever a request waits and `work` otherwise; each call is short (a
slice, or a few dozen samples), so inference waits at most one call. Samples are scored before they
are learnt from; the order of samples, steps, candidates and swaps depends only on the journal.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from eftraind.clock import Clock
from eftraind.config import Config
from eftraind.engine.banks import Banks
from eftraind.engine.executor import Executor, Rows
from eftraind.engine.gate import Gate, Verdict
from eftraind.engine.intake import Intake, Labelled, Piece
from eftraind.engine.publish import Publisher
from eftraind.engine.trainer import Trainer
from eftraind.errors import EftraindError, NonFiniteError, WireError
from eftraind.isa import Slot
from eftraind.metrics import Metrics
from eftraind.params import F32
from eftraind.wire import Op

Emit = Callable[[str, Mapping[str, Any]], None]
SCORE_EVENT_S = 0.1
"""At most one score event in this time."""


class Engine:
    """Everything between a journal record and served weights."""

    def __init__(
        self,
        *,
        config: Config,
        executor: Executor,
        banks: Banks,
        gate: Gate,
        intake: Intake,
        trainer: Trainer,
        publisher: Publisher,
        metrics: Metrics,
        clock: Clock,
        emit: Emit,
        learnt_seq: int,
    ) -> None:
        self._config = config
        self._executor = executor
        self._banks = banks
        self._gate = gate
        self._intake = intake
        self._trainer = trainer
        self._publisher = publisher
        self._metrics = metrics
        self._clock = clock
        self._emit = emit
        self._learnt_seq = learnt_seq
        self._behind_samples = 0.0
        self._score_event_s = 0.0
        self._promoting: Verdict | None = None
        self.consumed_seq = 0
        self._swaps = {"promoted": 0, "rolled_back": 0}
        self._show_versions()

    # what the journal brings

    def feed(self, seq: int, payload: bytes | memoryview) -> int:
        """Queue a journal record. A damaged one is counted, reported and passed over."""
        try:
            return self._intake.feed(seq, payload)
        except WireError as error:
            self._metrics.counter("samples_skipped_total").inc(1, "damaged_record")
            self._emit("alarm", {"code": "damaged_record", "seq": seq, "message": str(error)})
            return 0

    def set_behind(self, samples: float) -> None:
        """How many samples the journal holds beyond what was fed, as far as is known."""
        self._behind_samples = samples

    @property
    def samples_queued(self) -> int:
        return self._intake.samples_queued

    @property
    def lag_samples(self) -> float:
        return self._behind_samples + self._intake.samples_queued

    # inference

    def infer(self, rows: Rows) -> F32:
        """Logits [count, classes] by the serving weights."""
        return self._executor.infer(rows, [Slot.SERVING], "infer")[0]

    @property
    def version(self) -> int:
        return self._banks.serving.version

    @property
    def weights_hash(self) -> bytes:
        return self._banks.serving.hash

    # work

    @property
    def has_work(self) -> bool:
        if self._promoting is not None:
            return self._publisher.done or self._trainer.ready
        return self._trainer.ready or len(self._intake) > 0

    def work(self) -> None:
        """One short piece: finish a promotion, run a training slice, or take samples."""
        if self._promoting is not None and self._publisher.done:
            self._finish_promotion(self._promoting)
        elif self._trainer.ready:
            self._train()
        elif self._promoting is None and len(self._intake) > 0:
            # Samples wait while a promotion is written, so that a swap falls between the same two
            # samples whatever the disk's speed.
            self._take(self._intake.take())

    def _train(self) -> None:
        try:
            step = self._trainer.work()
        except NonFiniteError as error:
            self._emit("alarm", {"code": error.code, "message": str(error)})
            self._banks.reset_learner()
            return
        if step is None:
            return
        if step.number % 25 == 0:
            self._emit("training", asdict(step))
        due = self._trainer.steps_since_snapshot >= self._config.gate.candidate_steps
        if due and self._gate.trial is None and self._promoting is None:
            self._open_trial()

    def _open_trial(self) -> None:
        candidate = self._banks.snapshot()
        self._trainer.steps_since_snapshot = 0
        ratio = candidate.norm / max(self._banks.golden.norm, 1e-30)
        self._gate.open_trial(candidate.version, ratio, candidate.finite)
        self._emit("candidate", {"version": candidate.version, "norm_ratio": ratio})

    def _take(self, piece: Piece) -> None:
        if piece.op is Op.WITHDRAWALS:
            gone = self._intake.withdraw(piece) + self._trainer.withdraw(piece.identity)
            self._metrics.counter("samples_skipped_total").inc(gone, "withdrawn")
        else:
            batch = self._intake.labelled(piece)
            if piece.op is Op.LABELS:
                self._relabel(piece, batch)
            if batch is not None:
                self._learn(piece.seq, batch)
        self._metrics.gauge("replay_pending_samples").set(self._intake.pending_size)
        if piece.last:
            self.consumed_seq = piece.seq
            self._metrics.counter("records_consumed_total").inc()

    def _relabel(self, piece: Piece, batch: Labelled | None) -> None:
        """Labels whose sample is not pending correct a label given before, or come too late."""
        assert piece.labels is not None
        rest = np.ones(len(piece.identity), dtype=np.bool_)
        if batch is not None:
            rest = ~np.isin(piece.identity, batch.identity)
        if rest.any():
            found = self._trainer.relabel(piece.identity[rest], piece.labels[rest].astype(np.int64))
            orphans = int((~found).sum())
            self._metrics.counter("samples_skipped_total").inc(orphans, "label_without_sample")

    def _learn(self, seq: int, batch: Labelled) -> None:
        count = len(batch.labels)
        if seq <= self._learnt_seq:
            reason = "rebuilt"
        elif self.lag_samples > self._config.train.max_lag_samples:
            reason = "lag"
        else:
            self._score(batch)
            self._trainer.owe(count)
            reason = ""
        if reason:
            self._metrics.counter("samples_skipped_total").inc(count, reason)
        self._trainer.admit(batch.identity, batch.labels, batch.rows)

    # the gate

    def _score(self, batch: Labelled) -> None:
        slots = {"serving": Slot.SERVING, "golden": Slot.GOLDEN}
        if self._gate.trial is not None:
            slots["candidate"] = Slot.CANDIDATE
        if self._gate.on_probation and self._banks.previous is not None:
            slots["previous"] = Slot.PREVIOUS
        logits = self._executor.infer(batch.rows, list(slots.values()), "score")
        predicted = {
            name: scores.argmax(axis=1) for name, scores in zip(slots, logits, strict=True)
        }
        verdict = self._gate.score(batch.labels, predicted)
        self._metrics.counter("scored_samples_total").inc(len(batch.labels))
        self._show_accuracy()
        if verdict is not None:
            self._act(verdict)

    def _act(self, verdict: Verdict) -> None:
        self._metrics.counter("gate_decisions_total").inc(1, verdict.action)
        if verdict.action == "promote":
            self._begin_promotion(verdict)
        elif verdict.action == "reject":
            self._reject(verdict)
        else:
            self.rollback(to_golden=verdict.action == "fallback", reason=verdict.reason)

    def _reject(self, verdict: Verdict) -> None:
        candidate = self._banks.candidate
        assert candidate is not None
        self._emit("rejected", {"version": candidate.version, "reason": verdict.reason})
        harmful = not verdict.reason.startswith("undecided")
        self._banks.discard()
        self._gate.close_trial()
        if harmful:
            self._restart_learner()

    def _restart_learner(self) -> None:
        self._trainer.drop_step()
        self._banks.reset_learner()
        self._trainer.steps_since_snapshot = 0

    def _begin_promotion(self, verdict: Verdict) -> None:
        """Checkpoint first: what serves after a crash has passed the gate."""
        candidate = self._banks.candidate
        assert candidate is not None
        self._gate.close_trial()
        self._promoting = verdict
        self._publisher.start(
            self._banks.candidate_params,
            candidate,
            parent=self._banks.serving.version,
            reason=verdict.reason,
            journal_seq=self.consumed_seq,
            samples=self._gate.samples,
        )

    def _finish_promotion(self, verdict: Verdict) -> None:
        """The swap. A full disk does not stop adaptation: the swap happens, the alarm says so."""
        self._promoting = None
        self._finish_checkpoint()
        old = self._banks.serving.version
        self._banks.promote()
        self._swaps["promoted"] += 1
        self._gate.swapped(probation=True)
        self._metrics.counter("weights_swaps_total").inc(1, "promoted")
        self._show_versions()
        self._emit(
            "swapped",
            {
                "version": self.version,
                "hash": self.weights_hash.hex(),
                "from_version": old,
                "samples": self._gate.samples,
                "reason": verdict.reason,
                "conditions": verdict.conditions,
            },
        )

    def _finish_checkpoint(self) -> None:
        try:
            generation = self._publisher.finish()
        except EftraindError as error:
            self._emit("alarm", {"code": error.code, "message": str(error)})
        else:
            self._emit("checkpoint", {"generation": generation, "samples": self._gate.samples})

    def rollback(self, *, to_golden: bool, reason: str) -> None:
        """Earlier weights serve from the next inference on. Raises EftraindError if none."""
        old = self._banks.serving.version
        self._trainer.drop_step()
        if to_golden:
            self._banks.fallback()
        else:
            self._banks.rollback()
        self._trainer.steps_since_snapshot = 0
        self._swaps["rolled_back"] += 1
        self._gate.swapped(probation=False)
        self._metrics.counter("weights_swaps_total").inc(1, "rolled_back")
        self._show_versions()
        self._emit(
            "rolled_back",
            {
                "version": self.version,
                "hash": self.weights_hash.hex(),
                "from_version": old,
                "samples": self._gate.samples,
                "reason": reason,
            },
        )
        self.checkpoint("rolled back")

    # what an operator asks for

    def checkpoint(self, reason: str) -> None:
        """Write the serving weights in the background; waits for one that is being written."""
        if self._publisher.busy:
            self._publisher.wait()
            if self._promoting is None:
                self._finish_checkpoint()
            else:
                self._finish_promotion(self._promoting)
        self._publisher.start(
            self._banks.serving_params(),
            self._banks.serving,
            parent=self._banks.serving.version,
            reason=reason,
            journal_seq=self.consumed_seq,
            samples=self._gate.samples,
        )

    def promote_now(self) -> None:
        """An operator's promotion: evidence is waived, finite and bounded weights are not.

        Raises EftraindError with the condition that fails.
        """
        if self._promoting is not None:
            raise EftraindError("a promotion is being written", remedy="wait a moment")
        if self._executor.step_running:
            raise EftraindError("a training step is running", remedy="pause, then promote")
        self._open_trial()
        trial = self._gate.trial
        assert trial is not None
        conditions = trial.conditions(self._gate.rules)
        for name in ("finite", "norm_bounded"):
            if not conditions[name]:
                self._act(Verdict("reject", name, conditions))
                raise EftraindError(f"the learner's weights fail: {name}", remedy="train on")
        self._begin_promotion(Verdict("promote", "operator", conditions))

    def tick(self) -> None:
        """Finish a background checkpoint that no promotion waits for."""
        if self._promoting is None and self._publisher.done:
            self._finish_checkpoint()

    def pause(self) -> None:
        self._trainer.paused = True
        self._metrics.gauge("train_paused").set(1)

    def resume(self) -> None:
        self._trainer.paused = False
        self._metrics.gauge("train_paused").set(0)

    def status(self) -> dict[str, Any]:
        """Plain data for `eftraind status`."""
        banks, trial = self._banks, self._gate.trial
        last = self._trainer.last
        status: dict[str, Any] = {
            "version": self.version,
            "weights_hash": self.weights_hash.hex(),
            "golden_version": banks.golden.version,
            "previous_version": banks.previous.version if banks.previous else None,
            "candidate_version": banks.candidate.version if banks.candidate else None,
            "accuracy": self._accuracy(),
            "swaps": self._swaps["promoted"],
            "rollbacks": self._swaps["rolled_back"],
            "scored_samples": self._gate.samples,
            "on_probation": self._gate.on_probation,
            "conditions": trial.conditions(self._gate.rules) if trial else {},
            "replay": self._trainer.replay_status(),
            "pending_samples": self._intake.pending_size,
            "consumed_seq": self.consumed_seq,
            "lag_samples": round(self.lag_samples),
            "steps": self._trainer.steps,
            "loss": last.loss if last else None,
            "paused": self._trainer.paused,
            "device": asdict(self._executor.device.capabilities) | {"ops": None},
            "chunk": self._executor.chunk,
        }
        status["device"].pop("ops")
        return status

    def close(self) -> None:
        self._publisher.close()

    # what is shown

    def _accuracy(self) -> dict[str, float]:
        windows = dict(self._gate.windows)
        if self._gate.trial is not None:
            windows["candidate"] = self._gate.candidate_window
        return {name: window.accuracy for name, window in windows.items() if window.samples}

    def _show_accuracy(self) -> None:
        accuracy = self._accuracy()
        for name in ("serving", "golden", "candidate"):
            if name in accuracy:
                self._metrics.gauge("accuracy_ratio").set(accuracy[name], name)
            else:
                self._metrics.gauge("accuracy_ratio").clear(name)
        now_s = self._clock.monotonic_s()
        if now_s - self._score_event_s >= SCORE_EVENT_S:
            self._score_event_s = now_s
            data = {"samples": self._gate.samples, "version": self.version, **accuracy}
            self._emit("score", data)

    def _show_versions(self) -> None:
        self._metrics.gauge("weights_version").set(self.version)
