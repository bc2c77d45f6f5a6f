"""An emulated board, opened as a real one is: files, manifest, overlay, device.

Owns the manifest that an emulated design gets, which says of itself that nothing was placed.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from eftraind import isa
from eftraind.accel.board.device import BoardDevice, open_board
from eftraind.accel.emu.board import CMA_BYTES, open_device
from eftraind.accel.emu.design import DESIGNS, Design, write_files
from eftraind.accel.emu.logic import Faults
from eftraind.boards.manifest import FORMAT, Manifest, load_manifest
from eftraind.clock import Clock
from eftraind.errors import DeviceUnavailable

CLOCK_HZ = 100_000_000
BOARDS = {"zynq": "pynq-z2", "ultrascale": "zcu102"}
"""The board whose part a design names."""


def write_manifest(folder: Path, design: Design, lanes: int = 16) -> Manifest:
    """The design's files and their manifest in `folder`."""
    bit = write_files(folder, design, CLOCK_HZ / 1e6)
    hashes = {
        f"{kind}_sha256": hashlib.sha256(bit.with_suffix(f".{kind}").read_bytes()).hexdigest()
        for kind in ("bit", "hwh")
    }
    declared: dict[str, Any] = {
        "format": FORMAT,
        "board": BOARDS[design.name],
        "part": design.part,
        "isa_digest": isa.digest(),
        "t": lanes,
        "clock_hz": CLOCK_HZ,
        **hashes,
        "resources": {"lut": 0, "ff": 0, "dsp": 0, "bram36": 0.0, "uram": 0},
        "tool": "none: emulated",
    }
    path = bit.with_suffix(".json")
    path.write_text(json.dumps(declared), encoding="utf-8")
    return load_manifest(path)


def open_emulated(
    name: str,
    *,
    work_dir: Path,
    clock: Clock,
    faults: Faults | None = None,
    lanes: int = 16,
    cma_bytes: int = CMA_BYTES,
    deadline_s: float = 5.0,
) -> tuple[BoardDevice, Any]:
    """The device, and the emulated pynq.Device under it. Raises DeviceUnavailable without pynq."""
    design = DESIGNS[name]
    work_dir.mkdir(parents=True, exist_ok=True)
    manifest = write_manifest(work_dir, design, lanes)
    try:
        emulated = open_device(design, faults, lanes=lanes, cma_bytes=cma_bytes)
    except ImportError as error:
        raise DeviceUnavailable(
            f"an emulated board needs pynq: {error}", remedy="pip install 'eftraind[emu]'"
        ) from error
    device = open_board(
        manifest,
        work_dir=work_dir,
        clock=clock,
        deadline_s=deadline_s,
        lock_dir=work_dir,
        emulated=emulated,
    )
    return device, emulated
