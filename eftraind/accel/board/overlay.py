"""Loads a bitstream with pynq, once at boot, for eftraind-overlay.service.

Owns the checks that turn pynq's failures into one line each. Never run on a board: its test uses a
stand-in for pynq and a directory for sysfs.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from eftraind.errors import ConfigError, DeviceUnavailable


def load(bitstream: Path, sysfs_root: Path = Path("/sys")) -> str:
    """Program the device; its state afterwards. Raises ConfigError for files that are not there,
    DeviceUnavailable for a machine or a pynq that cannot."""
    for path in (bitstream, bitstream.with_suffix(".hwh")):
        if not path.is_file():
            raise ConfigError(
                f"device.overlay: there is no {path}", remedy="put .bit and .hwh side by side there"
            )
    manager = sysfs_root / "class/fpga_manager/fpga0"
    if not manager.is_dir():
        raise DeviceUnavailable(
            f"no FPGA: {manager} does not exist",
            remedy="set device.overlay to null on this machine",
        )
    if os.geteuid() != 0:
        raise DeviceUnavailable("pynq needs root", remedy="start eftraind-overlay.service")
    _program(bitstream)
    state = (manager / "state").read_text(encoding="ascii").strip()
    if state != "operating":
        raise DeviceUnavailable(
            f"after loading {bitstream} the FPGA is in state {state!r}", remedy="see dmesg"
        )
    return state


def _program(bitstream: Path) -> None:
    os.environ.setdefault("XILINX_XRT", "/usr")  # pynq finds no device without it
    try:
        pynq: Any = import_module("pynq")
    except ImportError as error:
        raise DeviceUnavailable(
            f"pynq cannot be imported: {error}",
            remedy="run eftraind with the interpreter of the board's image (see its pynq-venv)",
        ) from error
    try:
        pynq.Overlay(str(bitstream))
    except Exception as error:  # pynq has no errors of its own: whatever it is, it did not load
        raise DeviceUnavailable(
            f"pynq cannot load {bitstream}: {type(error).__name__}: {error}",
            remedy="check that .bit and .hwh belong together and to this board; see dmesg",
        ) from error
