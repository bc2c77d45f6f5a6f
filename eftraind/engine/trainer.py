"""Turns labelled samples into training steps: replay, batches, the debt of steps, the learner's
health.

Steps are owed per labelled sample, not per second, so the same stream with the same seed gives
the same steps whatever the machine's speed. Runs one slice at a time; judges and swaps nothing.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eftraind.config import TrainConfig
from eftraind.engine.executor import Executor, Ints, Rows
from eftraind.errors import NonFiniteError
from eftraind.isa import Hyper
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
        self, executor: Executor, replay: Replay, config: TrainConfig, metrics: Metrics
    ) -> None:
        self._executor = executor
        self._replay = replay
        self._config = config
        self._metrics = metrics
        self._owed = 0.0
        self.steps = 0
        self.steps_since_snapshot = 0
        self.paused = False
        self.last: Step | None = None
        executor.set_rates(
            {
                Hyper.RATE: config.learning_rate,
                Hyper.MOMENTUM: config.momentum,
                Hyper.DECAY: config.weight_decay,
            }
        )

    @property
    def owed(self) -> float:
        return self._owed

    def admit(self, identity: Ints, labels: Ints, rows: Rows) -> None:
        """Keep labelled samples for replay."""
        placement = self._replay.admit(identity, labels)
        self._executor.write_pool(placement.rows, rows[placement.source])
        self._metrics.gauge("replay_samples").set(self._replay.size)

    def owe(self, samples: int) -> None:
        """Fresh samples earn training steps; while paused they do not."""
        if self.paused:
            self._metrics.counter("samples_skipped_total").inc(samples, "paused")
        else:
            self._owed += samples * self._config.steps_per_sample

    def withdraw(self, identity: Ints) -> int:
        return self._replay.withdraw(identity)

    def relabel(self, identity: Ints, labels: Ints) -> npt.NDArray[np.bool_]:
        return self._replay.relabel(identity, labels)

    @property
    def ready(self) -> bool:
        """Whether there is a slice to run."""
        if self._executor.step_running:
            return not self.paused
        enough = self._replay.recent_size + self._replay.size >= self._config.min_samples
        return not self.paused and self._owed >= 1.0 and enough

    def work(self) -> Step | None:
        """Run one slice; the step's report when it ended one.

        Raises NonFiniteError when the learner's weights are spoilt; the step is then over.
        """
        if not self._executor.step_running:
            rows = self._replay.draw(self._executor.batch, self._config.fresh_fraction)
            self._executor.begin_step(rows, self._replay.labels[rows])
        try:
            done = self._executor.run_slice()
        except NonFiniteError:
            self._owed = max(0.0, self._owed - 1.0)
            self._metrics.counter("train_nonfinite_total").inc()
            raise
        return self._finish() if done else None

    def _finish(self) -> Step:
        self._owed -= 1.0
        self.steps += 1
        self.steps_since_snapshot += 1
        loss, accuracy, seconds = self._executor.step_result()
        self.last = Step(self.steps, loss, accuracy, seconds)
        self._metrics.counter("train_steps_total").inc()
        self._metrics.counter("train_samples_total").inc(self._executor.batch)
        self._metrics.histogram("train_step_duration_seconds").observe(seconds)
        self._metrics.gauge("train_loss").set(loss)
        return self.last

    def restart(self) -> None:
        """Forget a step half done and count anew: the learner's weights were replaced."""
        self._executor.drop_step()
        self.steps_since_snapshot = 0

    def replay_status(self) -> dict[str, object]:
        sizes = self._replay.class_sizes()
        for label, size in enumerate(sizes):
            self._metrics.gauge("replay_class_samples").set(float(size), str(label))
        return {"samples": self._replay.size, "per_class": sizes.tolist()}
