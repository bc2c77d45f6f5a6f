"""The build description: one JSON file from which hls/ and the bitstream's manifest are sized.

Written by the planner, read by the kernel's header generator, so that the cost model and the
hardware cannot disagree about a size. It holds no cost.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from eftraind import config, isa
from eftraind.config import required
from eftraind.errors import ConfigError
from eftraind.plan.board import Board
from eftraind.plan.design import Design

FORMAT = 1
PLANNED = ("traits", "window_words")
"""Of a design, what no kernel can be built with so far."""


@dataclass(frozen=True)
class Build:
    """Sizes of one bitstream; each of the three buffers exists twice."""

    format: int = required("the version of this file", 1, 1)
    isa_digest: int = required("the digest of the command set", 0, 2**32 - 1)
    board: str = required("the board's name")
    part: str = required("the part that vendor tools are given")
    clock_mhz: float = required("the kernel's clock", 1, 2000)
    t: int = required("channel lanes of a tile", 1, 256)
    array_m: int = required("output lanes of the array, a multiple of t", 1, 1024)
    array_n: int = required("input lanes of the array, a multiple of t", 1, 1024)
    pixels: int = required("pixels the array takes each cycle", 1, 64)
    feature_depth: int = required("pixels of a feature buffer (X_DEPTH)", 1, 65535)
    output_depth: int = required("pixels of an output buffer (Y_DEPTH)", 1, 65535)
    weight_tiles: int = required("taps of a weight buffer (W_DEPTH)", 1, 65535)
    revisit: int = required("least iterations between two sums into one word", 1, 256)
    feature_words: int = required("words a cycle of the port for features", 1, 64)
    weight_words: int = required("words a cycle of the port for weights", 1, 64)
    result_words: int = required("words a cycle of the port for results", 1, 64)
    burst_beats: int = required("beats of a burst", 1, 256)
    outstanding: int = required("reads in flight on a port", 1, 256)
    fmul: str = required("BIND_OP implementation of the multipliers")
    fadd_tree: str = required("BIND_OP implementation of the adder tree")
    fadd_sum: str = required("BIND_OP implementation of the accumulators")


def describe(design: Design, board: Board) -> Build:
    sizes = {name: value for name, value in asdict(design).items() if name not in PLANNED}
    return Build(
        format=FORMAT,
        isa_digest=isa.digest(),
        board=board.name,
        part=board.part,
        burst_beats=board.ports.burst_beats,
        outstanding=board.ports.outstanding,
        **sizes,
    )


def to_json(build: Build) -> str:
    return json.dumps(asdict(build), indent=2) + "\n"


def from_json(text: str) -> Build:
    """Raises ConfigError: not JSON, unknown or missing key, out of bounds, another command set."""
    try:
        data: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"build description is not JSON: {error}", remedy="write it with eftraind plan"
        ) from error
    build: Build = config.record(Build, data, "")
    if build.isa_digest != isa.digest():
        raise ConfigError(
            f"build description is for command set {build.isa_digest:08x}, this is "
            f"{isa.digest():08x}",
            remedy="plan again",
        )
    return build
