"""Devices: each runs the same programs on the same memory image; `open_device` picks one."""

import os

from eftraind.accel.device import Device
from eftraind.errors import ConfigError


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
