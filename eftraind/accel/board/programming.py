"""Reaching pynq, and programming the FPGA with it: one line for each way in which that fails.

Owns what the overlay service and the board device must both check. It knows no kernel and takes no
lock.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from eftraind.errors import DeviceUnavailable


def check_machine(sysfs_root: Path, *, unit: str, elsewhere: str) -> Path:
    """Where Linux shows the FPGA. Raises DeviceUnavailable if there is none, or without root;
    `unit` is the service that has it, `elsewhere` what to set on a machine without an FPGA."""
    manager = sysfs_root / "class/fpga_manager/fpga0"
    if not manager.is_dir():
        raise DeviceUnavailable(f"no FPGA: {manager} does not exist", remedy=elsewhere)
    if os.geteuid() != 0:
        raise DeviceUnavailable("pynq needs root", remedy=f"start it as {unit}")
    os.environ.setdefault("XILINX_XRT", "/usr")  # pynq finds no device without it
    return manager


def import_pynq() -> Any:
    """Raises DeviceUnavailable, and says which interpreter has it."""
    try:
        return import_module("pynq")
    except ImportError as error:
        raise DeviceUnavailable(
            f"pynq cannot be imported: {error}",
            remedy="run eftraind with the interpreter of the board's image (see its pynq-venv)",
        ) from error


def program(pynq: Any, bitstream: Path) -> Any:
    """The pynq.Overlay, loaded. Raises DeviceUnavailable."""
    try:
        return pynq.Overlay(str(bitstream))
    except Exception as error:  # pynq has no errors of its own: whatever it is, it did not load
        raise DeviceUnavailable(
            f"pynq cannot load {bitstream}: {type(error).__name__}: {error}",
            remedy="check that XRT is installed, and that .bit and .hwh belong together and to "
            "this board; see dmesg",
        ) from error
