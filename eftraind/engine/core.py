"""The engine: one object that learns from journal records and answers inference, with no sockets.

Whoever owns it calls `infer` whenever a request waits and `work` otherwise; each call is short (a
slice, or a few dozen samples), so inference waits at most one call. Samples are scored before they
are learnt from; the order of samples, steps, candidates and swaps depends only on the journal.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from eftraind.accel.device import Capabilities
from eftraind.clock import Clock
from eftraind.config import Config
from eftraind.engine.banks import Banks
from eftraind.engine.executor import Executor, Rows
from eftraind.engine.gate import Gate
from eftraind.engine.intake import Intake, Labelled, Piece
from eftraind.engine.promote import Emit, Promoter
from eftraind.engine.trainer import Trainer
from eftraind.errors import NonFiniteError, WireError
from eftraind.isa import Slot
from eftraind.metrics import Metrics
from eftraind.params import F32
from eftraind.wire import Array, Op

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
        promoter: Promoter,
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
        self.promoter = promoter
        self._metrics = metrics
        self._clock = clock
        self._emit = emit
        self._learnt_seq = learnt_seq
        self._behind_samples = 0.0
        self._score_event_s = 0.0
        self.consumed_seq = 0

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

    def forget_learnt_beyond(self, head_seq: int) -> None:
        """A journal that ends before what was learnt is another journal: all of it is new."""
        if head_seq < self._learnt_seq:
            self._learnt_seq = 0

    @property
    def samples_queued(self) -> int:
        return self._intake.samples_queued

    @property
    def lag_samples(self) -> float:
        return self._behind_samples + self._intake.samples_queued

    # inference

    @property
    def capabilities(self) -> Capabilities:
        return self._executor.device.capabilities

    def pack(self, samples: Array) -> Rows:
        """[count, rows, cols, channels] of the network's dtype -> rows in tile layout."""
        return self._executor.pack(samples)

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
        takes = len(self._intake) > 0 and not self.promoter.waiting
        return self.promoter.due or self._trainer.ready or takes

    def work(self) -> None:
        """One short piece: complete a checkpoint, run a training slice, or take samples."""
        if self.promoter.due:
            self.promoter.finish()
        elif self._trainer.ready:
            self._train()
        elif len(self._intake) > 0 and not self.promoter.waiting:
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
        self.promoter.consider_trial()

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
            slots |= {"candidate": Slot.CANDIDATE, "learner": Slot.LEARNER}
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
            self.promoter.act(verdict)

    # what an operator asks for

    def pause(self) -> None:
        self._trainer.paused = True
        self._metrics.gauge("train_paused").set(1)

    def resume(self) -> None:
        self._trainer.paused = False
        self._metrics.gauge("train_paused").set(0)

    def set_rates(self, given: Mapping[str, Any]) -> None:
        """Change rates of training, named as in the configuration. Raises ConfigError."""
        self._trainer.set_rates(given)
        self._emit("training", {"rates": dict(given)})

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
            "swaps": self.promoter.swaps,
            "rollbacks": self.promoter.rollbacks,
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
            "chunk": self._executor.training.chunk,
            "plan": self._trainer.plan_status(),
            "memory_bytes": self._executor.need.parts_bytes(),
        }
        status["device"].pop("ops")
        return status

    def close(self) -> None:
        self.promoter.close()

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
