"""Loads a bitstream with pynq, once at boot, for eftraind-overlay.service.

Owns the check of the two files and of the state that Linux reports afterwards. Never run on a
board: its test uses a stand-in for pynq and a directory for sysfs.
"""

from pathlib import Path

from eftraind.accel.board.programming import check_machine, import_pynq, program
from eftraind.errors import ConfigError, DeviceUnavailable


def load(bitstream: Path, sysfs_root: Path = Path("/sys")) -> str:
    """Program the device; its state afterwards. Raises ConfigError for files that are not there,
    DeviceUnavailable for a machine or a pynq that cannot."""
    for path in (bitstream, bitstream.with_suffix(".hwh")):
        if not path.is_file():
            raise ConfigError(
                f"device.overlay: there is no {path}", remedy="put .bit and .hwh side by side there"
            )
    manager = check_machine(
        sysfs_root,
        unit="eftraind-overlay.service",
        elsewhere="set device.overlay to null on this machine",
    )
    program(import_pynq(), bitstream)
    state = (manager / "state").read_text(encoding="ascii").strip()
    if state != "operating":
        raise DeviceUnavailable(
            f"after loading {bitstream} the FPGA is in state {state!r}", remedy="see dmesg"
        )
    return state
