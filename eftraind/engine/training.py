"""The compiled training step: what changes from step to step, its slices, its report.

Owns the buffers that only training needs and the words of `Hyper`. Runs slice by slice, so that
whoever calls can put inference in between. It decides neither what to train on nor when.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from eftraind.accel.device import Device
from eftraind.engine.diagnose import spoilt
from eftraind.engine.pacing import Pacing
from eftraind.errors import ConfigError, DeviceError, NonFiniteError
from eftraind.graph import Graph
from eftraind.isa import Hyper, Op, Slot
from eftraind.plan import lower
from eftraind.plan.bank import BankLayout
from eftraind.plan.draft import ConstsLayout
from eftraind.plan.lower import Plan
from eftraind.plan.predict import Predictor
from eftraind.plan.tiles import macs

Ints = npt.NDArray[np.int64]
DEFAULT_RATES = {
    Hyper.RATE: 0.0,
    Hyper.MOMENTUM: 0.0,
    Hyper.DECAY: 0.0,
    Hyper.CLIP: np.inf,
    Hyper.BETA2: 0.999,
    Hyper.EPSILON: 1e-8,
    Hyper.CORRECTION1: 1.0,
    Hyper.CORRECTION2: 1.0,
    Hyper.BN_SHARE: 0.1,
}


class Training:
    """One network's training step on one device."""

    def __init__(
        self,
        device: Device,
        graph: Graph,
        plan: Plan,
        *,
        slice_s: float,
        predictor: Predictor | None,
        seed: int,
        class_weights: Sequence[float] | None,
        observe: Callable[[float, float], None],
        compare: Callable[[Pacing], None],
    ) -> None:
        """`observe` is told each slice's seconds and floating-point operations; `compare`, after
        each step, how predictions did."""
        self.plan = plan
        self.steps_begun = 0
        self._device = device
        self._graph = graph
        self._t = device.capabilities.lanes
        self._consts = ConstsLayout.of(graph, self._t)
        self._seed = seed
        self._observe = observe
        self._compare = compare
        self._rates = dict(DEFAULT_RATES)
        self._adam_steps = 0
        self._cursor = 0
        self._seconds = 0.0
        self.program = lower.training(graph, self._t, plan)
        self._drops = any(command.op is Op.DROP_FP for command in self.program.commands)
        self._class_weights = self._checked_weights(class_weights)
        self._handle = -1
        self._macs = np.cumsum([0, *(macs(c) for c in self.program.commands)])
        self.pacing = Pacing(self.program, predictor, slice_s)

    def _checked_weights(self, given: Sequence[float] | None) -> npt.NDArray[np.float32]:
        classes = self._graph.classes
        if given is not None and len(given) != classes:
            raise ConfigError(
                f"train.class_weights has {len(given)} numbers, network {self._graph.name} has "
                f"{classes} classes",
                remedy="give one number per class, or null",
            )
        return np.array([1.0] * classes if given is None else given, dtype=np.float32)

    def prepare(self) -> None:
        """Once the buffers are bound: write what is constant, load."""
        self.set_rates(self._rates)
        self._write_consts(self._consts.class_weights, self._class_weights)
        self._write_divisor(float(self.plan.batch))
        self._handle = self._device.load(self.program)

    @property
    def batch(self) -> int:
        return self.plan.batch

    @property
    def chunk(self) -> int:
        """Images that pass through the network together."""
        return self.plan.chunk

    # what may change at any step

    def set_rates(self, rates: Mapping[Hyper, float]) -> None:
        """Take effect with the next command that reads them; nothing is compiled again."""
        self._rates |= rates
        for which, value in rates.items():
            self._write_consts(self._consts.hypers + which, np.array([value], np.float32))

    def rest(self) -> None:
        """Forget velocities and moments."""
        words = self.program.need_words[Slot.MOMENTUM]
        self._device.write(self._device.bound(Slot.MOMENTUM), np.zeros(words, np.float32))
        self._adam_steps = 0

    def _write_consts(self, offset: int, values: npt.NDArray[np.generic]) -> None:
        self._device.write(self._device.bound(Slot.CONSTS), values, offset)

    def _write_divisor(self, divisor: float) -> None:
        place = self._consts.class_weights + self._consts.class_lanes
        self._write_consts(place, np.array([divisor], np.float32))

    # a step

    @property
    def running(self) -> bool:
        return self._cursor > 0

    def begin(self, rows: Ints, labels: Ints) -> None:
        """Name the POOL rows and labels of one batch; the slices follow."""
        if self.running:
            raise DeviceError("a training step is already running", remedy="finish or drop it")
        batch = np.concatenate([rows, labels]).astype(np.int32)
        self._device.write(self._device.bound(Slot.TRAIN_BATCH), batch)
        self._seconds = 0.0
        self.pacing.begin()
        self.steps_begun += 1
        if self._drops:
            words = np.random.SeedSequence([self._seed, self.steps_begun]).generate_state(1)
            self._write_consts(self._consts.hypers + Hyper.SEED, words)
        if self.plan.class_weights:
            self._write_divisor(float(self._class_weights[labels].sum()))
        if self.plan.optimizer == "adam":
            self._adam_steps += 1
            pairs = (
                (Hyper.CORRECTION1, Hyper.MOMENTUM),
                (Hyper.CORRECTION2, Hyper.BETA2),
            )
            self.set_rates({c: 1.0 - self._rates[beta] ** self._adam_steps for c, beta in pairs})

    def run_slice(self) -> bool:
        """Run as many commands as fit the bound, at least one; True when the step is done.

        Raises NonFiniteError: the step is over, the learner's weights are not to be trusted.
        """
        first = self._cursor
        last = self.pacing.end_of_slice(first)
        try:
            measured = self._device.run(self._handle, first, last - first)
        except NonFiniteError as error:
            self.drop()
            raise self._named(error) from error
        except DeviceError:
            self.drop()
            raise
        measured_s = measured.astype(np.float64) * 1e-9
        self.pacing.learn(first, measured_s)
        seconds = float(measured_s.sum())
        self._seconds += seconds
        self._observe(seconds, self._operations(first, last))
        self._cursor = last % len(self.program.commands)
        if self._cursor == 0:
            self._compare(self.pacing)
        return self._cursor == 0

    def _operations(self, first: int, last: int) -> float:
        """Floating-point operations of commands [first, last)."""
        return 2.0 * float(self._macs[last] - self._macs[first])

    def _named(self, error: NonFiniteError) -> NonFiniteError:
        bank = BankLayout.of(self._graph, self._t)
        where = spoilt(self._device, self._handle, self.program, bank)
        return NonFiniteError(
            f"{where} gave NaN or Inf in training step {self.steps_begun}", remedy=error.remedy
        )

    def drop(self) -> None:
        self._cursor = 0

    def result(self) -> tuple[float, float, float]:
        """Mean loss, share of right answers and device seconds of the step just done."""
        batch, read = self.batch, self._device.read
        out = read(self._device.bound(Slot.TRAIN_OUT), 0, 2 * batch)
        labels = read(self._device.bound(Slot.TRAIN_BATCH), batch, batch, np.int32)
        # Each LOSS command wrote its losses, then its classes.
        parts = [out[2 * s : 2 * min(s + self.chunk, batch)] for s in range(0, batch, self.chunk)]
        loss = np.concatenate([part[: len(part) // 2] for part in parts])
        predicted = np.concatenate([part[len(part) // 2 :] for part in parts]).view(np.int32)
        right = float((predicted == labels).mean())
        return self._mean_loss(loss, labels), right, self._seconds

    def _mean_loss(self, losses: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> float:
        if not self.plan.class_weights:
            return float(losses.mean())
        return float(losses.sum() / self._class_weights[labels].sum())
