"""The sole owner of the device: buffers, programs, slots, and the cutting of training into slices.

Compiles and calibrates once; then runs inference at once and a training step slice by slice, so
that whoever calls can put inference between two slices. It decides neither what to train nor what
to serve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eftraind.accel.device import Device
from eftraind.errors import DeviceError
from eftraind.graph import Graph
from eftraind.isa import Command, Hyper, Op, Operand, Program, Slot
from eftraind.metrics import Metrics
from eftraind.params import F32, Params
from eftraind.plan import lower
from eftraind.plan.bank import BankLayout
from eftraind.plan.draft import ConstsLayout
from eftraind.plan.lower import Plan
from eftraind.plan.reshape import pack_samples, pack_vector
from eftraind.plan.tiles import input_lanes, sample_words

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.uint32]

INFER_SIZES = (1, 2, 4, 8, 16, 32)
"""Batch sizes compiled for inference; a request is padded to the next one."""
INFER_CHUNK = 8
DEFAULT_RATES = {
    Hyper.CLIP: np.inf,
    Hyper.BETA2: 0.999,
    Hyper.EPSILON: 1e-8,
    Hyper.CORRECTION1: 1.0,
    Hyper.CORRECTION2: 1.0,
    Hyper.BN_SHARE: 0.1,
}
WEIGHT_SLOTS = (Slot.SERVING, Slot.CANDIDATE, Slot.PREVIOUS, Slot.GOLDEN, Slot.LEARNER)


class Executor:
    """One network on one device."""

    def __init__(
        self,
        device: Device,
        graph: Graph,
        metrics: Metrics,
        *,
        plan: Plan,
        pool_rows: int,
        slice_s: float,
    ) -> None:
        self.device = device
        self.graph = graph
        self.batch = plan.batch
        self.plan = plan
        self.t = device.capabilities.lanes
        self.bank = BankLayout.of(graph, self.t)
        self._metrics = metrics
        self._slice_ns = slice_s * 1e9
        self._consts = ConstsLayout.of(graph, self.t)
        rows, cols, channels = graph.input.shape
        u8 = graph.input.dtype == "uint8"
        self.row_words = sample_words(channels, rows, cols, self.t, u8=u8)
        self._logit_words = lower.logits_words(graph, self.t)
        self._infer: dict[tuple[int, Slot], tuple[int, Program]] = {}
        self._copies: dict[tuple[Slot, Slot], int] = {}
        self._cursor = 0
        self._step_seconds = 0.0
        self._longest_slice_s = 0.0
        self._allocate_fixed(pool_rows)
        self._plan_training()

    def _allocate_fixed(self, pool_rows: int) -> None:
        """Every buffer that does not depend on the chunk; none is ever freed."""
        largest = INFER_SIZES[-1]
        sizes = dict.fromkeys(WEIGHT_SLOTS, self.bank.size_words)
        sizes |= {
            Slot.GRADS: self.bank.size_words,
            Slot.MOMENTUM: self.bank.size_words + self.bank.trainable_words,
            Slot.CONSTS: self._consts.size_words,
            Slot.POOL: pool_rows * self.row_words,
            Slot.TRAIN_BATCH: 2 * self.batch,
            Slot.TRAIN_OUT: 2 * self.batch,
            Slot.INFER_IN: largest * self.row_words,
            Slot.INFER_BATCH: largest,
            Slot.INFER_OUT: largest * self._logit_words,
        }
        program = lower.inference(self.graph, self.t, images=largest, chunk=INFER_CHUNK)
        sizes[Slot.INFER_ARENA] = program.need_words[Slot.INFER_ARENA]
        for slot, words in sizes.items():
            self.device.bind(slot, self.device.allocate(words))
        self._write(Slot.INFER_BATCH, np.arange(largest, dtype=np.int32))
        self._write(Slot.CONSTS, self._input_constants())
        ones = np.ones(self._consts.identity_lanes, dtype=np.float32)
        self._write(Slot.CONSTS, ones, self._consts.identity())
        self.set_rates(DEFAULT_RATES)

    def _input_constants(self) -> F32:
        """Scale and shift per lane: (x*scale - mean) / std."""
        spec = self.graph.input
        lanes = input_lanes(spec.shape[2], self.t)
        std = np.asarray(spec.std, dtype=np.float32)
        scale = np.float32(spec.scale) / std
        shift = -np.asarray(spec.mean, dtype=np.float32) / std
        return np.concatenate([pack_vector(v, self.t, lanes) for v in (scale, shift)])

    def _plan_training(self) -> None:
        """Halve the chunk until its longest command fits a slice, as measured on zeros."""
        while True:
            program = lower.training(self.graph, self.t, self.plan)
            arena = self.device.allocate(program.need_words[Slot.TRAIN_ARENA])
            self.device.bind(Slot.TRAIN_ARENA, arena)
            self._train, self._train_count = self.device.load(program), len(program.commands)
            # The first run warms caches; the least of the rest is what the machine can do.
            runs = [self.device.run(self._train, 0, self._train_count) for _ in range(4)]
            self._predicted_ns = np.min(runs[1:], axis=0).astype(float)
            if self.chunk == 1 or self._predicted_ns.max() <= self._slice_ns:
                break
            self.plan = replace(self.plan, chunk=self.chunk // 2)
        self._step_operations = 6.0 * self.graph.macs * self.batch

    def _write(self, slot: Slot, data: npt.NDArray[Any], offset: int = 0) -> None:
        self.device.write(self.device.bound(slot), data, offset)

    @property
    def chunk(self) -> int:
        """Images that pass through the network together in a training step."""
        return self.plan.chunk

    # weights

    def write_bank(self, slot: Slot, params: Params) -> None:
        self._write(slot, self.bank.pack(params))

    def read_bank(self, slot: Slot) -> dict[str, F32]:
        words = self.device.read(self.device.bound(slot), 0, self.bank.size_words)
        return self.bank.unpack(words)

    def copy_bank(self, source: Slot, target: Slot) -> None:
        handle = self._copies.get((source, target))
        if handle is None:
            size = self.bank.size_words
            copy = Command(Op.COPY, count=size, src=Operand(source), dst=Operand(target))
            program = Program(
                f"copy {source.name} {target.name}",
                self.t,
                (copy,),
                {source: size, target: size},
                (),
            )
            handle = self._copies[source, target] = self.device.load(program)
        self.device.run(handle, 0, 1)

    def clear_momentum(self) -> None:
        self._write(Slot.MOMENTUM, np.zeros(self.bank.size_words, dtype=np.float32))

    def set_rates(self, rates: Mapping[Hyper, float]) -> None:
        """Take effect with the next command that reads them; nothing is compiled again."""
        for which, value in rates.items():
            self._write(Slot.CONSTS, np.array([value], np.float32), self._consts.hypers + which)

    # samples

    def pack(self, samples: npt.NDArray[Any]) -> Rows:
        """[count, rows, cols, channels] -> rows in tile layout."""
        return pack_samples(samples, self.t)

    def write_pool(self, places: Ints, rows: Rows) -> None:
        self.device.write_rows(self.device.bound(Slot.POOL), places, rows)

    # inference

    def infer(self, rows: Rows, weights: Sequence[Slot], work: str) -> list[F32]:
        """Logits [count, classes] of packed samples, by each of the banks named."""
        out: list[list[F32]] = [[] for _ in weights]
        for start in range(0, len(rows), INFER_SIZES[-1]):
            piece = rows[start : start + INFER_SIZES[-1]]
            self._write(Slot.INFER_IN, piece)
            for index, slot in enumerate(weights):
                out[index].append(self._infer_written(len(piece), slot, work))
        return [np.concatenate(parts) for parts in out]

    def _infer_written(self, count: int, weights: Slot, work: str) -> F32:
        size = next(size for size in INFER_SIZES if size >= count)
        if (size, weights) not in self._infer:
            chunk = min(size, INFER_CHUNK)
            program = lower.inference(self.graph, self.t, images=size, chunk=chunk, weights=weights)
            self._infer[size, weights] = (self.device.load(program), program)
        handle, program = self._infer[size, weights]
        seconds = float(self.device.run(handle, 0, len(program.commands)).sum()) * 1e-9
        self._account(work, seconds, 2.0 * self.graph.macs * size)
        words = self.device.read(self.device.bound(Slot.INFER_OUT), 0, count * self._logit_words)
        logits: F32 = words.reshape(count, -1)[:, : self.graph.classes]
        return logits

    # training

    @property
    def step_running(self) -> bool:
        return self._cursor > 0

    def begin_step(self, rows: Ints, labels: Ints) -> None:
        """Name the POOL rows and labels of one batch; the slices follow."""
        if self.step_running:
            raise DeviceError("a training step is already running", remedy="finish or drop it")
        self._write(Slot.TRAIN_BATCH, np.concatenate([rows, labels]).astype(np.int32))
        self._step_seconds = 0.0

    def run_slice(self) -> bool:
        """Run as many commands as fit the bound, at least one; True when the step is done.

        Raises NonFiniteError: the step is over, the learner's weights are not to be trusted.
        """
        first, budget = self._cursor, self._slice_ns
        last = first + 1
        budget -= self._predicted_ns[first]
        while last < self._train_count and self._predicted_ns[last] <= budget:
            budget -= self._predicted_ns[last]
            last += 1
        try:
            measured = self.device.run(self._train, first, last - first)
        except DeviceError:
            self.drop_step()
            raise
        self._predicted_ns[first:last] += 0.2 * (measured - self._predicted_ns[first:last])
        self._observe_slice(float(measured.sum()) * 1e-9)
        self._cursor = last % self._train_count
        return self._cursor == 0

    def drop_step(self) -> None:
        self._cursor = 0

    def step_result(self) -> tuple[float, float, float]:
        """Mean loss, share of right answers and device seconds of the step just done."""
        out = self.device.read(self.device.bound(Slot.TRAIN_OUT), 0, 2 * self.batch)
        labels = self.device.read(
            self.device.bound(Slot.TRAIN_BATCH), self.batch, self.batch, np.int32
        )
        starts = range(0, self.batch, self.chunk)
        loss = np.concatenate(
            [out[2 * s : 2 * s + min(self.chunk, self.batch - s)] for s in starts]
        )
        predicted = np.concatenate(
            [out[2 * s + (n := min(self.chunk, self.batch - s)) : 2 * s + 2 * n] for s in starts]
        ).view(np.int32)
        return float(loss.mean()), float((predicted == labels).mean()), self._step_seconds

    def _observe_slice(self, seconds: float) -> None:
        self._step_seconds += seconds
        self._metrics.histogram("device_slice_duration_seconds").observe(seconds)
        if seconds > self._longest_slice_s:
            self._longest_slice_s = seconds
            self._metrics.gauge("device_longest_slice_seconds").set(seconds)
        share = seconds / max(float(self._predicted_ns.sum()) * 1e-9, 1e-12)
        self._account("train", seconds, self._step_operations * min(share, 1.0))

    def _account(self, work: str, seconds: float, operations: float) -> None:
        self._metrics.counter("device_busy_seconds_total").inc(seconds, work)
        self._metrics.counter("device_operations_total").inc(operations, work)
