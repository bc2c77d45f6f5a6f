"""The reference device: numpy, plain and slow. It is the living definition of every command.

Each command is unpacked from the tiled image, computed by `nn.ops`, and packed again, for any T.
"""

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from eftraind.accel.device import Capabilities, Nanoseconds
from eftraind.accel.host import HostDevice
from eftraind.isa import Command, Flag, Op, Operand, Slot, Status, digest
from eftraind.nn import ops
from eftraind.plan.reshape import pack_map, pack_vector, pack_weights, unpack_map, unpack_weights
from eftraind.plan.tiles import map_words, sample_words, tiles, weight_words

F32 = npt.NDArray[np.float32]


class ReferenceDevice(HostDevice):
    """Any T; one thread; no speed."""

    def __init__(self, lanes: int = 16) -> None:
        super().__init__(
            Capabilities("reference", lanes, 1, frozenset(Op), "numpy", digest()),
        )
        self._t = lanes
        self._handlers: dict[Op, Callable[[Command], Status]] = {
            Op.LOAD: self._load,
            Op.CONV_FP: self._conv_fp,
            Op.CONV_BP: self._conv_bp,
            Op.CONV_WU: self._conv_wu,
            Op.POOL_FP: self._pool_fp,
            Op.POOL_BP: self._pool_bp,
            Op.LOSS: self._loss,
            Op.UPDATE: self._update,
            Op.COPY: self._copy,
        }

    def _bound_hook(self, slot: Slot, memory: npt.NDArray[np.uint32]) -> None:
        """The table is read anew by every command."""

    def _execute(
        self, handle: int, first: int, count: int
    ) -> tuple[npt.NDArray[np.int32], Nanoseconds]:
        status = np.zeros(count, dtype=np.int32)
        nanoseconds = np.zeros(count, dtype=np.int64)
        commands = self._programs[handle].commands[first : first + count]
        for index, command in enumerate(commands):
            began = time.perf_counter_ns()
            status[index] = self._handlers[command.op](command)
            nanoseconds[index] = time.perf_counter_ns() - began
            if status[index] != Status.OK:
                break
        return status, nanoseconds

    def _words(self, place: Operand, count: int) -> F32:
        whole = self._buffers[self.bound(place.slot)]
        return whole[place.offset : place.offset + count].view(np.float32)

    def _map(self, place: Operand, images: int, shape: tuple[int, int, int], lanes: int) -> F32:
        """[images, channels, rows, cols] unpacked."""
        words = self._words(place, images * map_words(*shape, self._t, lanes))
        packed = words.reshape(images, tiles(shape[0], self._t), *shape[1:], lanes)
        return unpack_map(packed, shape[0])

    def _store(self, place: Operand, x: F32, lanes: int) -> None:
        packed = pack_map(x, self._t, lanes).ravel()
        self._words(place, packed.size)[:] = packed

    def _input(self, c: Command, place: Operand) -> F32:
        return self._map(place, c.images, (c.n, c.rows_in, c.cols_in), c.lanes or self._t)

    def _output(self, c: Command, place: Operand) -> F32:
        channels = c.m if c.op in (Op.CONV_FP, Op.CONV_BP, Op.CONV_WU) else c.n
        return self._map(place, c.images, (channels, c.rows_out, c.cols_out), self._t)

    def _weights(self, c: Command) -> tuple[F32, F32 | None]:
        kernel = (c.kernel_rows, c.kernel_cols)
        words = weight_words(c.m, c.n, *kernel, c.lanes, self._t)
        shape = (tiles(c.m, self._t), tiles(c.n, self._t), *kernel, c.lanes, self._t)
        w = unpack_weights(self._words(c.weights, words).reshape(shape), c.m, c.n)
        if not c.flags & Flag.BIAS:
            return w, None
        return w, self._words(c.weights.plus(words), c.m)

    def _load(self, c: Command) -> Status:
        u8 = bool(c.flags & Flag.U8)
        words = sample_words(c.n, c.rows_in, c.cols_in, self._t, u8=u8)
        pool = self._buffers[self.bound(c.src.slot)][c.src.offset :]
        pool = pool[: pool.size // words * words].reshape(-1, words)
        index = self._words(c.aux, c.images).view(np.int32)
        if index.min() < 0 or index.max() >= len(pool):
            return Status.OUT_OF_RANGE
        raw = pool[index].view(np.uint8 if u8 else np.float32).astype(np.float32)
        count = tiles(c.n, self._t)
        raw = raw.reshape(c.images, count, c.rows_in, c.cols_in, c.lanes)
        x = unpack_map(raw, c.n)
        scale, shift = self._words(c.weights, 2 * count * c.lanes).reshape(2, -1)[:, : c.n]
        self._store(c.dst, x * scale[:, None, None] + shift[:, None, None], c.lanes)
        return Status.OK

    def _conv_fp(self, c: Command) -> Status:
        w, bias = self._weights(c)
        stride, pad = (c.stride_rows, c.stride_cols), (c.pad_top, c.pad_left)
        y = ops.conv_forward(self._input(c, c.src), w, stride, pad, (c.rows_out, c.cols_out))
        if bias is not None:
            y += bias[:, None, None]
        if c.flags & Flag.RELU:
            y = np.maximum(y, 0)
        self._store(c.dst, y, self._t)
        return Status.OK

    def _masked(self, c: Command, dx: F32) -> F32:
        return np.where(self._input(c, c.aux) > 0, dx, 0) if c.flags & Flag.MASK else dx

    def _conv_bp(self, c: Command) -> Status:
        w, _ = self._weights(c)
        stride, pad = (c.stride_rows, c.stride_cols), (c.pad_top, c.pad_left)
        dx = ops.conv_backward(self._output(c, c.src), w, stride, pad, (c.rows_in, c.cols_in))
        self._store(c.dst, self._masked(c, dx), c.lanes)
        return Status.OK

    def _conv_wu(self, c: Command) -> Status:
        x, dy = self._input(c, c.src), self._output(c, c.aux)
        kernel, stride = (c.kernel_rows, c.kernel_cols), (c.stride_rows, c.stride_cols)
        dw = ops.conv_weight_gradient(x, dy, kernel, stride, (c.pad_top, c.pad_left))
        gradient = pack_weights(dw, self._t, c.lanes).ravel()
        if c.flags & Flag.BIAS:
            gradient = np.concatenate([gradient, pack_vector(ops.bias_gradient(dy), self._t)])
        target = self._words(c.dst, gradient.size)
        target[:] = target + gradient if c.flags & Flag.ACCUMULATE else gradient
        return Status.OK

    def _pool_fp(self, c: Command) -> Status:
        kernel, stride = (c.kernel_rows, c.kernel_cols), (c.stride_rows, c.stride_cols)
        x, out = self._input(c, c.src), (c.rows_out, c.cols_out)
        y = ops.maxpool_forward(x, kernel, stride, (c.pad_top, c.pad_left), out)
        self._store(c.dst, y, self._t)
        return Status.OK

    def _pool_bp(self, c: Command) -> Status:
        kernel, stride = (c.kernel_rows, c.kernel_cols), (c.stride_rows, c.stride_cols)
        x, dy = self._input(c, c.aux), self._output(c, c.src)
        dx = ops.maxpool_backward(dy, x, kernel, stride, (c.pad_top, c.pad_left))
        self._store(c.dst, self._masked(c, dx), self._t)
        return Status.OK

    def _loss(self, c: Command) -> Status:
        logits = self._map(c.src, c.images, (c.m, 1, 1), self._t)[:, :, 0, 0]
        labels = self._words(c.aux, c.images).view(np.int32)
        if labels.min() < 0 or labels.max() >= c.m:
            return Status.OUT_OF_RANGE
        if not np.isfinite(logits).all():
            return Status.NONFINITE
        losses, gradient = ops.cross_entropy(logits, labels, c.count)
        self._store(c.dst, gradient[:, :, None, None], self._t)
        extra = self._words(c.extra, 2 * c.images)
        extra[: c.images] = losses
        extra[c.images :].view(np.int32)[:] = logits.argmax(axis=1)
        return Status.OK

    def _update(self, c: Command) -> Status:
        w, v = self._words(c.dst, c.count), self._words(c.extra, c.count)
        rate, momentum, decay = (float(value) for value in self._words(c.aux, 3))
        with np.errstate(over="ignore", invalid="ignore"):
            new_w, new_v = ops.sgd(w, self._words(c.src, c.count), v, rate, momentum, decay)
        if not (np.isfinite(new_w).all() and np.isfinite(new_v).all()):
            return Status.NONFINITE
        w[:], v[:] = new_w, new_v
        return Status.OK

    def _copy(self, c: Command) -> Status:
        self._words(c.dst, c.count)[:] = self._words(c.src, c.count)
        return Status.OK
