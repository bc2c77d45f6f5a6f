"""Devices: each runs the same programs on the same memory image; `open_device` picks one."""

import os
from pathlib import Path

from eftraind.accel.device import Device
from eftraind.clock import Clock
from eftraind.config.learning import DeviceConfig
from eftraind.errors import ConfigError

BOARDS = ("board", "emulated-board")
"""Kinds that only a daemon opens: one process, one board."""


def open_device(kind: str, threads: int = 0) -> Device:
    """`cpu` (native; threads 0: one fewer than the machine has), `reference` (numpy, slow) or
    `csim` (the FPGA kernel, compiled for this machine).

    Imports only what is asked for. Raises DeviceUnavailable if it cannot be opened here.
    """
    if kind == "cpu":
        from eftraind.accel.cpu import CpuDevice

        return CpuDevice(threads=threads or max(1, (os.cpu_count() or 2) - 1))
    if kind == "reference":
        from eftraind.accel.reference import ReferenceDevice

        return ReferenceDevice()
    if kind == "csim":
        from eftraind.accel.csim import CsimDevice

        return CsimDevice()
    raise ConfigError(f"unknown device {kind!r}", remedy="use cpu, reference or csim")


def open_configured(settings: DeviceConfig, work_dir: Path, clock: Clock) -> Device:
    """The device of a daemon's configuration, boards included; a board's own files go below
    `work_dir`. Raises ConfigError or DeviceUnavailable if it cannot be opened here."""
    if settings.kind == "board":
        from eftraind.accel.board.device import open_board
        from eftraind.boards.manifest import load_manifest

        if settings.manifest is None:
            raise ConfigError("device.kind is board, without a bitstream",
                              remedy="set device.manifest; see bitstreams/README.md")  # fmt: skip
        return open_board(
            load_manifest(settings.manifest),
            work_dir=work_dir,
            clock=clock,
            deadline_s=settings.deadline_s,
        )
    if settings.kind == "emulated-board":
        from eftraind.accel.emu.opening import open_emulated

        return open_emulated(
            settings.emulate, work_dir=work_dir, clock=clock, deadline_s=settings.deadline_s
        )[0]
    return open_device(settings.kind, settings.threads)


def open_scratch(settings: DeviceConfig) -> Device:
    """A second instance, to be measured and closed. A board has none: csim stands in, whose time
    is this machine's."""
    return open_device("csim" if settings.kind in BOARDS else settings.kind, settings.threads)
