"""Puts what Vivado left into place: .bit, .hwh and the manifest that says what they are.

Owns reading Vivado's report and the build description beside it. It measures and invents nothing:
a figure that the report does not have is an error.
"""

import hashlib
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

from eftraind.accel import kernel
from eftraind.boards.manifest import FORMAT, Declared, Manifest, Placed, load_manifest
from eftraind.errors import ConfigError
from eftraind.fsio import storage_errors
from eftraind.plan import build

NAME = "eftrain"
ROWS = {
    "lut": ("CLB LUTs", "Slice LUTs"),
    "ff": ("CLB Registers", "Slice Registers"),
    "dsp": ("DSPs",),
    "bram36": ("Block RAM Tile",),
    "uram": ("URAM",),
}
"""Rows of report_utilization, by family. Series 7 has no row for UltraRAM, having none."""


def seal(built: Path, folder: Path) -> Manifest:
    """Copy from the directory of a build to FOLDER/BOARD. Raises ConfigError if part of it is not
    there or unreadable, or if hls cannot be built as it says; then nothing is copied."""
    described = build.from_json(_text(built / "build.json"))
    kernel.sizes_of(described)  # made from other sources than these, if it cannot be
    placed = placed_of(_text(built / "utilization.txt"))
    try:
        facts = json.loads(_text(built / "placed.json"))
        clock_hz, tool = int(facts["clock_hz"]), str(facts["tool"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{built}/placed.json: {error}", remedy="run vivado.tcl again") from error
    declared = Declared(
        format=FORMAT,
        board=described.board,
        part=described.part,
        isa_digest=described.isa_digest,
        t=described.t,
        clock_hz=clock_hz,
        bit_sha256=_sha256(built / f"{NAME}.bit"),
        hwh_sha256=_sha256(built / f"{NAME}.hwh"),
        resources=placed,
        tool=tool,
    )
    home = folder / described.board
    with storage_errors("write", home):
        home.mkdir(parents=True, exist_ok=True)
        for ending in ("bit", "hwh"):
            shutil.copyfile(built / f"{NAME}.{ending}", home / f"{NAME}.{ending}")
        manifest = home / f"{NAME}.json"
        manifest.write_text(json.dumps(asdict(declared), indent=2) + "\n", encoding="utf-8")
    return load_manifest(manifest)


def placed_of(report: str) -> Placed:
    """The rows `| name | used | ...` of Vivado's report_utilization. Raises ConfigError."""
    cells: dict[str, float] = {}
    for line in report.splitlines():
        match = re.match(r"\|\s*([A-Za-z0-9 ]+?)\*?\s*\|\s*([\d.]+)\s*\|", line)
        if match:
            cells.setdefault(match[1], float(match[2]))
    used: dict[str, float] = {}
    for key, names in ROWS.items():
        found = [cells[name] for name in names if name in cells]
        if not found and key != "uram":
            raise ConfigError(
                f"utilization.txt has no row {' or '.join(names)}",
                remedy="see whether report_utilization of this Vivado calls it otherwise",
            )
        used[key] = found[0] if found else 0
    counts = {key: int(value) for key, value in used.items() if key != "bram36"}
    return Placed(bram36=used["bram36"], **counts)


def _text(path: Path) -> str:
    return _bytes(path).decode("utf-8", errors="replace")


def _sha256(path: Path) -> str:
    return hashlib.sha256(_bytes(path)).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", remedy="make -C hls BOARD=... bit"
        ) from error
