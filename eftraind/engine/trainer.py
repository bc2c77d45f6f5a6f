"""Turns labelled samples into training steps: replay, batches, the debt of steps, the learner's
health.

Steps are owed per labelled sample, not per second, so the same stream with the same seed gives
the same steps whatever the machine's speed. Runs one slice at a time; judges and swaps nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eftraind.config import TrainConfig
from eftraind.engine import recipe
from eftraind.engine.executor import Executor, Rows
from eftraind.engine.training import Ints
from eftraind.errors import NonFiniteError
from eftraind.metrics import Metrics
from eftraind.store.replay import Replay


@dataclass(frozen=True)
class Step:
    """What one training step reported."""

    number: int
    loss: float
    accuracy: float
    device_seconds: float


class Trainer:
    """Owns replay and the learner bank's progress."""

    def __init__(
        self,
        executor: Executor,
        replay: Replay,
        config: TrainConfig,
        metrics: Metrics,
        *,
        steps_per_sample: float,
    ) -> None:
        self._executor = executor
        self._replay = replay
        self._config = config
        self._metrics = metrics
        self._owed = 0.0
        self.steps_per_sample = steps_per_sample
        self.steps = 0
        self.steps_since_snapshot = 0
        self.paused = False
        self.last: Step | None = None
        self._training = executor.training
        self._training.set_rates(recipe.rates_of(config))
        self._frozen = b""

    @property
    def owed(self) -> float:
        return self._owed

    def admit(self, identity: Ints, labels: Ints, rows: Rows) -> None:
        """Keep labelled samples for replay."""
        if not self._frozen:
            self._frozen = self._executor.frozen_hash()
        placement = self._replay.admit(identity, labels)
        self._executor.write_pool(placement.rows, rows[placement.source])
        self._metrics.gauge("replay_samples").set(self._replay.size)

    def owe(self, samples: int) -> None:
        """Fresh samples earn training steps; while paused they do not."""
        if self.paused:
            self._metrics.counter("samples_skipped_total").inc(samples, "paused")
        else:
            self._owed += samples * self.steps_per_sample

    def withdraw(self, identity: Ints) -> int:
        return self._replay.withdraw(identity)

    def set_rates(self, given: Mapping[str, Any]) -> None:
        """Change `train.*` rates from the next step's end on. Raises ConfigError."""
        self._training.set_rates(recipe.changed_rates(self._training.plan, given))

    def relabel(self, identity: Ints, labels: Ints) -> npt.NDArray[np.bool_]:
        return self._replay.relabel(identity, labels)

    @property
    def ready(self) -> bool:
        """Whether there is a slice to run."""
        if self._training.running:
            return not self.paused
        enough = self._replay.recent_size + self._replay.size >= self._config.min_samples
        return not self.paused and self._owed >= 1.0 and enough

    def work(self) -> Step | None:
        """Run one slice; the step's report when it ended one.

        Raises NonFiniteError when the learner's weights are spoilt; the step is then over.
        """
        if not self._training.running:
            rows = self._replay.draw(self._training.batch, self._config.fresh_fraction)
            self._training.begin(rows, self._replay.labels[rows])
        try:
            done = self._training.run_slice()
        except NonFiniteError:
            self._owed = max(0.0, self._owed - 1.0)
            self._metrics.counter("train_nonfinite_total").inc()
            raise
        return self._finish() if done else None

    def _finish(self) -> Step:
        self._owed -= 1.0
        self.steps += 1
        self.steps_since_snapshot += 1
        loss, accuracy, seconds = self._training.result()
        self.last = Step(self.steps, loss, accuracy, seconds)
        self._metrics.counter("train_steps_total").inc()
        self._metrics.counter("train_samples_total").inc(self._training.batch)
        self._metrics.histogram("train_step_duration_seconds").observe(seconds)
        self._metrics.gauge("train_loss").set(loss)
        return self.last

    def restart(self) -> None:
        """Forget a step half done and count anew: the learner's weights were replaced.

        What is kept as activations is worth nothing once the layers that made it are others.
        """
        self._training.drop()
        self.steps_since_snapshot = 0
        if self._frozen and self._executor.frozen_hash() != self._frozen:
            self._metrics.counter("samples_skipped_total").inc(self._replay.clear(), "stale_latent")
            self._frozen = b""

    def plan_status(self) -> dict[str, object]:
        """What was chosen at the start, and what a step is predicted to take now."""
        training = self._training
        predicted = training.pacing.predicted_s
        return {
            "batch": training.batch,
            "chunk": training.chunk,
            "keep_norms": training.plan.keep_norms,
            "steps_per_sample": self.steps_per_sample,
            "step_s": None if predicted is None else float(predicted.sum()),
            "longest_command_s": None if predicted is None else float(predicted.max()),
        }

    def replay_status(self) -> dict[str, object]:
        sizes = self._replay.class_sizes()
        for label, size in enumerate(sizes):
            self._metrics.gauge("replay_class_samples").set(float(size), str(label))
        return {"samples": self._replay.size, "per_class": sizes.tolist()}
