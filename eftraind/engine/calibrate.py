"""Measures, at a start, what a device takes for the commands of a program. Bounded in time.

Runs probes on a device that nothing else uses, with buffers of zeros, and returns a predictor. It
persists nothing: measuring again takes less than reading could be trusted for.
"""

from dataclasses import fields

import numpy as np

from eftraind import boards
from eftraind.accel.device import Device
from eftraind.isa import Command, Op, Program, Slot
from eftraind.plan.build import PLANNED, Build
from eftraind.plan.cost import Coster
from eftraind.plan.design import AS_WRITTEN, Design
from eftraind.plan.machine import Machine
from eftraind.plan.predict import Calibrated, Clocked, Predictor, work
from eftraind.plan.probe import Probe, line_of, probes, program_of

BUDGET_S = 0.4
"""Of device time for all probes together. One of every operation runs even beyond it."""
RUNS = 3
"""Rounds over all probes; the least counts, as it is what the machine can do."""
LARGE_SHARE = 1000
"""A probe of several images is left out if one image takes more than this part of the budget."""


def predictor_for(device: Device, program: Program, build: Build | None = None) -> Predictor:
    """`device` is a scratch one; `build` what a kernel was built with, None for other devices.

    Raises ProgramError for a program that the device refuses.
    """
    bench = _Bench(device, program)
    return bench.calibrated() if build is None else bench.clocked(build)


def clocked(build: Build) -> Predictor:
    """Of a kernel with a clock: nothing is measured."""
    return Clocked(_coster(build), 1e-6 / build.clock_mhz)


def _coster(build: Build) -> Coster:
    sizes = {f.name: getattr(build, f.name) for f in fields(Design) if f.name not in PLANNED}
    design = Design(**sizes, traits=AS_WRITTEN)
    return Coster(design, Machine.of(design, boards.load(build.board)))


class _Bench:
    """Probes bound and loaded on a device."""

    def __init__(self, device: Device, program: Program) -> None:
        self._device = device
        self._found = probes(program)
        self._lanes = program.lanes
        self._left_s = BUDGET_S
        whole = program_of(self._found, program)
        for slot, words in whole.need_words.items():
            device.bind(slot, device.allocate(words))
        if Slot.CONSTS in whole.need_words:  # zeros would be divided by
            ones = np.ones(whole.need_words[Slot.CONSTS], dtype=np.float32)
            device.write(device.bound(Slot.CONSTS), ones)
        self._handle = device.load(whole)
        self._times_s: dict[Command, dict[int, list[float]]] = {}
        firsts = np.cumsum([0, *(len(probe.commands) for probe in self._found)])
        self._firsts = {probe.kind: int(n) for probe, n in zip(self._found, firsts, strict=False)}

    def _round(self, chosen: list[tuple[int, Probe]]) -> None:
        """Each of the chosen once, one after another, so that none finds its own operands near."""
        for number, probe in chosen:
            place = self._firsts[probe.kind] + number
            spent_s = float(self._device.run(self._handle, place, 1)[0]) * 1e-9
            self._left_s -= spent_s
            self._times_s.setdefault(probe.kind, {}).setdefault(number, []).append(spent_s)

    def _measure(self, order: list[Probe]) -> None:
        """Small sizes first, each of them as long as time is left; then large ones that will not
        take too long."""
        small: list[tuple[int, Probe]] = []
        done: set[Op] = set()
        for probe in order:
            if self._left_s > BUDGET_S / 2 or probe.op not in done:
                self._round([(0, probe)])
                small.append((0, probe))
                done.add(probe.op)
        large = [
            (1, probe)
            for _, probe in small
            if len(probe.commands) > 1 and self._least_s(probe, 0) < BUDGET_S / LARGE_SHARE
        ]
        for _ in range(RUNS):
            if self._left_s > 0:
                self._round(small + large)

    def _least_s(self, probe: Probe, number: int) -> float:
        """The first run warms caches, unless it is the only one."""
        times = self._times_s[probe.kind][number]
        return min(times[1:] or times)

    def calibrated(self) -> Calibrated:
        """One line for each kind as far as the time goes, and a pace for each operation."""
        self._measure(self._found)
        measured = [probe for probe in self._found if probe.kind in self._times_s]
        command_s = min(self._least_s(probe, 0) for probe in measured)
        paces: dict[Op, list[float]] = {}
        lines = {}
        for probe in measured:
            times = [self._least_s(probe, number) for number in self._times_s[probe.kind]]
            lines[probe.kind] = line_of(probe, times, command_s)
            units = work(probe.commands[0], self._lanes)
            pace = max(times[0] - command_s, 0.0) / units if units else 0.0
            paces.setdefault(probe.op, []).append(pace)
        return Calibrated(
            self._lanes,
            lines,
            command_s,
            {op: float(np.median(pace)) for op, pace in paces.items()},
        )

    def clocked(self, build: Build) -> Clocked:
        """The cost model's cycles, at the pace that small probes show."""
        coster = _coster(build)
        spent_s, cycles = 0.0, 0
        for probe in sorted(self._found, key=lambda p: work(p.commands[0], self._lanes)):
            if self._left_s <= 0:
                break
            self._round([(0, probe)])
            spent_s += self._least_s(probe, 0)
            cycles += coster.command(probe.commands[0]).cycles
        return Clocked(coster, spent_s / cycles)
