"""Training on arrays already at hand, with the daemon's own device and programs. No daemon, no
gate.

Used to make the first weights of a demo or a robot; the same steps run later on the stream.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eftraind import params as parameters
from eftraind.accel.device import Capabilities, Device
from eftraind.engine.executor import Executor
from eftraind.errors import ConfigError
from eftraind.graph import Graph
from eftraind.isa import Hyper, Slot
from eftraind.metrics import Metrics
from eftraind.params import F32, Params
from eftraind.plan.lower import Plan
from eftraind.plan.memory import WEIGHT_SLOTS, Need

CHUNK = 8
Arrays = npt.NDArray[Any]


def executor_for(
    device: Device,
    graph: Graph,
    *,
    batch: int = 1,
    pool_rows: int = 1,
    chunk: int = CHUNK,
    banks: Sequence[Slot] = WEIGHT_SLOTS,
) -> Executor:
    """An executor with nothing else to wait for: slices as long as they like."""
    return Executor(
        device,
        graph,
        Metrics(owner="engine"),
        plan=Plan(batch, min(chunk, batch)),
        pool_rows=pool_rows,
        slice_s=math.inf,
        banks=banks,
    )


class Course:
    """Passes over x [count, rows, cols, channels] with labels y [count], by one plan.

    Seeded: the order of samples and dropout. The last, smaller batch of an epoch is left out.
    Raises ConfigError if there are fewer samples than a batch.
    """

    def __init__(
        self,
        device: Device,
        graph: Graph,
        plan: Plan,
        x: Arrays,
        y: Arrays,
        *,
        start: Params,
        rates: Mapping[Hyper, float],
        rng: np.random.Generator,
        seed: int = 0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        if len(x) < plan.batch:
            raise ConfigError(
                f"{len(x)} samples are less than one batch of {plan.batch}",
                remedy="give more samples or a smaller batch",
            )
        self._executor = Executor(
            device,
            graph,
            Metrics(owner="engine"),
            plan=plan,
            pool_rows=len(x),
            slice_s=math.inf,
            seed=seed,
            class_weights=class_weights,
            banks=(Slot.LEARNER,),
        )
        self._training = self._executor.training
        self._labels = np.asarray(y, dtype=np.int64)
        self._rng = rng
        self._executor.write_bank(Slot.LEARNER, start)
        self._executor.clear_momentum()
        self._training.set_rates(rates)
        self._executor.write_pool(np.arange(len(x)), self._executor.pack(x))

    @property
    def batch(self) -> int:
        return self._training.batch

    @property
    def capabilities(self) -> Capabilities:
        return self._executor.device.capabilities

    @property
    def need(self) -> Need:
        return self._executor.need

    @property
    def steps_per_epoch(self) -> int:
        return len(self._labels) // self._training.batch

    def set_rates(self, rates: Mapping[Hyper, float]) -> None:
        self._training.set_rates(rates)

    def epoch(self) -> Iterator[tuple[float, float]]:
        """Train on every sample once; loss and share of right answers after each step.

        Raises NonFiniteError if training diverges.
        """
        order = self._rng.permutation(len(self._labels))
        for step in range(self.steps_per_epoch):
            rows = order[step * self._training.batch :][: self._training.batch]
            yield self.step(rows)

    def step(self, rows: npt.NDArray[np.int64]) -> tuple[float, float]:
        """One step on the samples of these numbers."""
        self._training.begin(rows, self._labels[rows])
        while not self._training.run_slice():
            pass
        loss, right, _ = self._training.result()
        return loss, right

    def predict(self, x: Arrays) -> npt.NDArray[np.int64]:
        """Class of each sample by the weights so far."""
        packed = self._executor.pack(x)
        logits = self._executor.infer(packed, [Slot.LEARNER], "offline")[0]
        classes: npt.NDArray[np.int64] = logits.argmax(axis=1)
        return classes

    def weights(self) -> dict[str, F32]:
        return self._executor.read_bank(Slot.LEARNER)


def fit(
    graph: Graph,
    x: Arrays,
    y: Arrays,
    *,
    epochs: int,
    batch: int,
    learning_rate: float,
    momentum: float,
    seed: int,
    device: Device,
    weight_decay: float = 0.0,
    start: Params | None = None,
) -> dict[str, F32]:
    """Weights after `epochs` passes of SGD with momentum over the samples.

    Seeded: initial weights (unless `start` is given) and the order of samples. Raises as `Course`
    and its `epoch` do.
    """
    rng = np.random.default_rng(seed)
    course = Course(
        device,
        graph,
        Plan(batch, min(CHUNK, batch)),
        x,
        y,
        start=parameters.initial(graph, rng) if start is None else start,
        rates={Hyper.RATE: learning_rate, Hyper.MOMENTUM: momentum, Hyper.DECAY: weight_decay},
        rng=rng,
        seed=seed,
    )
    for _ in range(epochs):
        for _ in course.epoch():
            pass
    return course.weights()


def predict(graph: Graph, params: Params, x: Arrays, *, device: Device) -> npt.NDArray[np.int64]:
    """Class of each sample of x [count, rows, cols, channels] by these weights."""
    parameters.check(graph, params)
    executor = executor_for(device, graph, banks=(Slot.LEARNER,))
    executor.write_bank(Slot.LEARNER, params)
    logits = executor.infer(executor.pack(x), [Slot.LEARNER], "offline")[0]
    classes: npt.NDArray[np.int64] = logits.argmax(axis=1)
    return classes
