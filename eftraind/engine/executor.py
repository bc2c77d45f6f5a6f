"""The sole owner of the device: buffers, slots, weight banks, inference and the training step.

States what it needs before it allocates anything, compiles once, and then answers inference at
once; training is in `training`, slice by slice. It decides neither what to train nor what to serve.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eftraind.accel.device import Device
from eftraind.engine.pacing import Pacing
from eftraind.engine.training import Ints, Training
from eftraind.errors import GraphError
from eftraind.graph import Graph
from eftraind.isa import Command, Op, Operand, Program, Slot
from eftraind.metrics import Metrics
from eftraind.params import F32, Params, weights_hash
from eftraind.plan import lower, memory
from eftraind.plan.bank import BankLayout
from eftraind.plan.draft import ConstsLayout
from eftraind.plan.lower import Plan
from eftraind.plan.memory import INFER_SIZES, WEIGHT_SLOTS
from eftraind.plan.predict import Predictor
from eftraind.plan.reshape import pack_samples, pack_vector
from eftraind.plan.tiles import input_lanes

Rows = npt.NDArray[np.uint32]


def check_operations(device: Device, graph: Graph, program: Program) -> None:
    """Raises GraphError for a layer that the device cannot run."""
    capabilities = device.capabilities
    for command in program.commands:
        if command.op not in capabilities.ops:
            layer = graph.layers[command.layer]
            raise GraphError(
                f"layer {layer.name} ({layer.kind}): device {capabilities.name} has no "
                f"{command.op.name}",
                remedy="choose another device.kind, or a network without such layers",
            )


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
        predictor: Predictor | None = None,
        seed: int = 0,
        class_weights: Sequence[float] | None = None,
        banks: Sequence[Slot] = WEIGHT_SLOTS,
        memory_bytes: int = 0,
    ) -> None:
        """`seed` is that of dropout; slices end where `predictor` says, without one with the step.
        Raises, before anything is allocated, GraphError for a layer
        that the device cannot run and ConfigError for more than `memory_bytes` (0: no limit)."""
        self.device = device
        self.graph = graph
        self.t = device.capabilities.lanes
        self.bank = BankLayout.of(graph, self.t)
        self.row_words = memory.sample_row_words(graph, self.t)
        self._metrics = metrics
        self._consts = ConstsLayout.of(graph, self.t)
        self._logit_words = lower.logits_words(graph, self.t)
        self._programs: dict[tuple[str, int, Slot], tuple[int, int, float]] = {}
        self._copies: dict[tuple[Slot, Slot], int] = {}
        self._longest_slice_s = 0.0
        self.training = Training(
            device,
            graph,
            plan,
            slice_s=slice_s,
            predictor=predictor,
            seed=seed,
            class_weights=class_weights,
            observe=self._observe_slice,
            compare=self._show_errors,
        )
        program = self.training.program
        check_operations(device, graph, program)
        self.need = memory.need(graph, self.t, plan, program, pool_rows=pool_rows, banks=banks)
        self.need.check(graph.name, memory_bytes)
        self._allocate()
        self.training.prepare()

    def _allocate(self) -> None:
        """None is ever freed."""
        for slot, words in self.need.words.items():
            self.device.bind(slot, self.device.allocate(words))
        self._write(Slot.INFER_BATCH, np.arange(INFER_SIZES[-1], dtype=np.int32))
        self._write(Slot.CONSTS, self._input_constants())
        ones = np.ones(self._consts.identity_lanes, dtype=np.float32)
        self._write(Slot.CONSTS, ones, self._consts.identity())

    def _input_constants(self) -> F32:
        """Scale and shift per lane: (x*scale - mean) / std."""
        spec = self.graph.input
        lanes = input_lanes(spec.shape[2], self.t)
        std = np.asarray(spec.std, dtype=np.float32)
        scale = np.float32(spec.scale) / std
        shift = -np.asarray(spec.mean, dtype=np.float32) / std
        return np.concatenate([pack_vector(v, self.t, lanes) for v in (scale, shift)])

    def _write(self, slot: Slot, data: npt.NDArray[Any], offset: int = 0) -> None:
        self.device.write(self.device.bound(slot), data, offset)

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
        self.training.rest()

    def frozen_hash(self) -> bytes:
        """Identity of the learner's layers up to the freeze point; empty without latent replay."""
        cut = self.training.plan.cut
        if cut is None:
            return b""
        frozen = {layer.name for layer in self.graph.layers[: cut + 1]}
        tensors = self.read_bank(Slot.LEARNER)
        parts = {n: v for n, v in tensors.items() if n.rpartition(".")[0] in frozen}
        return weights_hash(parts)

    # samples

    def pack(self, samples: npt.NDArray[Any]) -> Rows:
        """[count, rows, cols, channels] -> rows in tile layout."""
        return pack_samples(samples, self.t)

    def write_pool(self, places: Ints, rows: Rows) -> None:
        """Keep packed samples in rows of POOL; with latent replay, what the frozen layers make of
        them, computed here and never again."""
        pool = self.device.bound(Slot.POOL)
        if self.training.plan.cut is None:
            self.device.write_rows(pool, places, rows)
            return
        piece = self.need.infer_chunk
        for first in range(0, len(rows), piece):
            part = slice(first, first + piece)
            self.device.write_rows(pool, places[part], self._latent(rows[part]))

    def _latent(self, rows: Rows) -> Rows:
        """Activations of the freeze point, by the learner bank."""
        cut = self.training.plan.cut
        assert cut is not None
        words = memory.pool_row_words(self.graph, self.t, self.training.plan)
        self._write(Slot.INFER_IN, rows)
        self._run("latent", len(rows), Slot.LEARNER, "latent")
        buffer = self.device.bound(Slot.INFER_OUT)
        latent: Rows = self.device.read(buffer, 0, len(rows) * words, np.uint32)
        latent = latent.reshape(len(rows), words)
        return latent

    # inference

    def infer(self, rows: Rows, weights: Sequence[Slot], work: str) -> list[F32]:
        """Logits [count, classes] of packed samples, by each of the banks named."""
        out: list[list[F32]] = [[] for _ in weights]
        for start in range(0, len(rows), INFER_SIZES[-1]):
            piece = rows[start : start + INFER_SIZES[-1]]
            self._write(Slot.INFER_IN, piece)
            for index, slot in enumerate(weights):
                self._run("infer", len(piece), slot, work)
                out[index].append(self._logits(len(piece)))
        return [np.concatenate(parts) for parts in out]

    def _logits(self, count: int) -> F32:
        words = self.device.read(self.device.bound(Slot.INFER_OUT), 0, count * self._logit_words)
        logits: F32 = words.reshape(count, -1)[:, : self.graph.classes]
        return logits

    def _run(self, kind: str, count: int, weights: Slot, work: str) -> None:
        """The program for at least `count` samples that lie in INFER_IN."""
        size = next(size for size in INFER_SIZES if size >= count)
        key = (kind, size, weights)
        if key not in self._programs:
            program = self._compile(kind, size, weights)
            cut = self.training.plan.cut if kind == "latent" else None
            layers = self.graph.layers if cut is None else self.graph.layers[: cut + 1]
            operations = 2.0 * size * sum(layer.macs for layer in layers)
            self._programs[key] = (self.device.load(program), len(program.commands), operations)
        handle, commands, operations = self._programs[key]
        seconds = float(self.device.run(handle, 0, commands).sum()) * 1e-9
        self._account(work, seconds, operations)

    def _compile(self, kind: str, size: int, weights: Slot) -> Program:
        chunk = min(size, self.need.infer_chunk)
        cut = self.training.plan.cut
        if kind == "latent" and cut is not None:
            return lower.latent(self.graph, self.t, images=size, chunk=chunk, cut=cut)
        return lower.inference(self.graph, self.t, images=size, chunk=chunk, weights=weights)

    # what is shown

    def _observe_slice(self, seconds: float, operations: float) -> None:
        self._metrics.histogram("device_slice_duration_seconds").observe(seconds)
        if seconds > self._longest_slice_s:
            self._longest_slice_s = seconds
            self._metrics.gauge("device_longest_slice_seconds").set(seconds)
        self._account("train", seconds, operations)

    def _show_errors(self, pacing: Pacing) -> None:
        for operation, ratio in pacing.errors().items():
            self._metrics.gauge("plan_error_ratio").set(ratio, operation)
        for operation, ratio in pacing.drift().items():
            self._metrics.gauge("plan_drift_ratio").set(ratio, operation)

    def _account(self, work: str, seconds: float, operations: float) -> None:
        self._metrics.counter("device_busy_seconds_total").inc(seconds, work)
        self._metrics.counter("device_operations_total").inc(operations, work)
