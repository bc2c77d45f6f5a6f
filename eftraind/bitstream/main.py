"""What `eftraind bitstream verify`, `list` and `seal` do and say. Programs no device."""

import argparse
import sys
from pathlib import Path
from typing import TextIO

from eftraind.bitstream.seal import seal
from eftraind.boards.manifest import Manifest, check_files, check_lanes, load_manifest
from eftraind.errors import ConfigError

EXIT_BAD = 78


def run(given: argparse.Namespace) -> int:
    """The command line's entry; the exit status."""
    if given.action == "list":
        return show(given.folder, sys.stdout)
    if given.action == "seal":
        sealed = seal(given.built, given.folder)
        sys.stdout.write(f"wrote {sealed.bit_path}; {_described(sealed)}\n")
        return 0
    return verify(given.manifests or _found(given.folder), given.lanes, given.folder, sys.stdout)


def verify(manifests: list[Path], lanes: int | None, folder: Path, stream: TextIO) -> int:
    """Check each, a line each; the exit status. Raises ConfigError if there is none to check."""
    if not manifests:
        raise ConfigError(f"no bitstream in {folder}", remedy=_HOW)
    status = 0
    for path in manifests:
        try:
            manifest = _in_place(path, folder)
            check_files(manifest)
            if lanes is not None:
                check_lanes(manifest, lanes)
            stream.write(f"{path}: good; {_described(manifest)}\n")
        except ConfigError as error:
            stream.write(f"BAD: {error}\n")
            status = EXIT_BAD
    return status


def show(folder: Path, stream: TextIO) -> int:
    """A line for each manifest; none is no error."""
    manifests = _found(folder)
    for path in manifests:
        try:
            stream.write(f"{path}: {_described(_in_place(path, folder))}\n")
        except ConfigError as error:
            stream.write(f"unusable: {error}\n")
    if not manifests:
        stream.write(f"no bitstream in {folder} ({_HOW})\n")
    return 0


_HOW = "none is shipped; make one where Vitis HLS and Vivado are: make -C hls BOARD=pynq-z2 bit"


def _found(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.json"))


def _in_place(path: Path, folder: Path) -> Manifest:
    """Those below `folder` are looked for by their board's name: they must lie in its folder."""
    manifest = load_manifest(path)
    if path.parent.parent == folder and path.parent.name != manifest.board:
        raise ConfigError(
            f"manifest {path}: made for {manifest.board}",
            remedy=f"move it and its files to {folder / manifest.board}",
        )
    return manifest


def _described(manifest: Manifest) -> str:
    used = manifest.resources
    return (
        f"{manifest.board}, T = {manifest.t}, {manifest.clock_hz / 1e6:g} MHz, {used.dsp} DSP, "
        f"{used.bram36:g} BRAM36, {used.lut} LUT, {manifest.tool}"
    )
