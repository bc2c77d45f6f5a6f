"""What a bitstream is: one JSON file beside .bit and .hwh, written when they are built.

Owns the schema and the checks that must pass before a device is programmed: command set, board,
part, lanes, and the hashes of both files. It programs nothing and looks for no bitstream.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eftraind import boards, config, isa
from eftraind.config import required
from eftraind.errors import ConfigError

FORMAT = 1
MAX_BYTES = 1 << 16
BUILD_AGAIN = "build it again: make -C hls BOARD={board} bit"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Placed:
    """What the placed design takes of the part, as Vivado reports it."""

    lut: int = required("look-up tables", 0, 10_000_000)
    ff: int = required("flip-flops", 0, 20_000_000)
    dsp: int = required("DSP slices", 0, 100_000)
    bram36: float = required("block RAMs of 36 Kbit; one of 18 is half", 0, 100_000)
    uram: int = required("UltraRAM blocks", 0, 100_000)


@dataclass(frozen=True)
class Declared:
    """The keys of the file."""

    format: int = required("the version of this file", FORMAT, FORMAT)
    board: str = required("the board's name")
    part: str = required("the part it was placed for")
    isa_digest: int = required("the digest of the command set (eftraind.isa)", 0, 2**32 - 1)
    t: int = required("channel lanes of a tile", 1, 256)
    clock_hz: int = required("the clock that timing was met at", 1_000_000, 2_000_000_000)
    bit_sha256: str = required("SHA-256 of the .bit, 64 hexadecimal digits")
    hwh_sha256: str = required("SHA-256 of the .hwh, 64 hexadecimal digits")
    resources: Placed = required("a section")
    tool: str = required("the tool and its version, as it calls itself")


@dataclass(frozen=True, kw_only=True)
class Manifest(Declared):
    """A manifest whose keys are good. The files may be absent or others: see `check_files`."""

    bit_path: Path
    hwh_path: Path
    """Of the manifest's own name, side by side with it: so does pynq look for them."""


def load_manifest(path: str | Path) -> Manifest:
    """Raises ConfigError: cannot be read, a wrong key, no such board, made for another part or for
    another command set."""
    path = Path(path)
    try:
        declared: Declared = config.record(Declared, _read(path), "")
        _check(declared)
    except ConfigError as error:
        raise ConfigError(f"manifest {path}: {error.message}", remedy=error.remedy) from error
    return Manifest(
        **vars(declared), bit_path=path.with_suffix(".bit"), hwh_path=path.with_suffix(".hwh")
    )


def _read(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"more than {MAX_BYTES} bytes", remedy="give a manifest")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError("there is no such file", remedy="see bitstreams/README.md") from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error}", remedy="check path and rights") from error
    except ValueError as error:
        raise ConfigError(f"not JSON: {error}", remedy="copy it again, or build again") from error


def _check(declared: Declared) -> None:
    board = boards.load(declared.board)
    again = BUILD_AGAIN.format(board=board.name)
    if declared.part != board.part:
        raise ConfigError(
            f"made for part {declared.part}, {board.name} has {board.part}", remedy=again
        )
    if declared.isa_digest != isa.digest():
        raise ConfigError(
            f"made for command set {declared.isa_digest:08x}, this is {isa.digest():08x}",
            remedy=f"{again}, or install the eftraind that it was built with",
        )
    for name in ("bit_sha256", "hwh_sha256"):
        if not _SHA256.fullmatch(getattr(declared, name)):
            raise ConfigError(f"{name} is no SHA-256", remedy="64 lower-case hexadecimal digits")


def check_files(manifest: Manifest) -> None:
    """Read both files. Raises ConfigError: one is missing, or is not the one that was built."""
    for path, wanted in (
        (manifest.bit_path, manifest.bit_sha256),
        (manifest.hwh_path, manifest.hwh_sha256),
    ):
        again = BUILD_AGAIN.format(board=manifest.board)
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}", remedy=again) from error
        if found != wanted:
            raise ConfigError(
                f"{path} has SHA-256 {found[:12]}..., its manifest says {wanted[:12]}...",
                remedy=f"copy .bit, .hwh and .json together again, or {again}",
            )


def check_lanes(manifest: Manifest, lanes: int) -> None:
    """Raises ConfigError if programs of `lanes` = T cannot run on it."""
    if manifest.t != lanes:
        raise ConfigError(
            f"{manifest.bit_path} has T = {manifest.t}, the program T = {lanes}",
            remedy=f"plan with T = {manifest.t}, or build a bitstream of T = {lanes}",
        )
