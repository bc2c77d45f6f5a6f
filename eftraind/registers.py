"""How a host drives the FPGA kernel: its registers, and what both leave for each other in memory.

Declared once here; `c_header` is what the kernel is compiled with, and a kernel whose digest
differs is refused. The digest covers the command set (`isa`) too. This module moves no data.

Memory is one window of 128-bit beats. Every address that the host hands over, but for the window's
own, counts beats from its start.
"""

import hashlib
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from eftraind import isa

ABI_VERSION = 2
BEAT_WORDS = 4
"""32-bit words of a beat of 128 bits, the unit of addresses and of alignment."""

COMMAND_BEATS = isa.COMMAND_WORDS // BEAT_WORDS


class Control(IntEnum):
    """The block-level registers that Vitis HLS gives every kernel."""

    CTRL = 0x00
    GLOBAL_INTERRUPT_ENABLE = 0x04
    INTERRUPT_ENABLE = 0x08
    INTERRUPT_STATUS = 0x0C


class Ctrl(IntFlag):
    """Bits of CTRL. Reading it clears DONE; START reads as 1 until the kernel has taken it."""

    START = 1
    DONE = 2
    IDLE = 4
    READY = 8


INTERRUPT_DONE = 1
"""Bit of INTERRUPT_ENABLE and INTERRUPT_STATUS; the status is toggled by writing 1."""

ARGUMENTS = (
    ("features", 64),
    ("weights", 64),
    ("results", 64),
    ("control", 64),
    ("window_beats", 32),
    ("host_block", 32),
    ("program", 32),
    ("count", 32),
    ("report", 32),
    ("ticket", 32),
)
"""Arguments in order: name, bits. The first four are the window's address, once for each port."""

FIRST_ARGUMENT = 0x10


def argument_offsets() -> dict[str, int]:
    """Offset of each argument's low word; a reserved word follows each argument.

    >>> offsets = argument_offsets()
    >>> hex(offsets["weights"]), hex(offsets["window_beats"]), hex(offsets["ticket"])
    ('0x1c', '0x40', '0x68')
    """
    offsets, at = {}, FIRST_ARGUMENT
    for name, bits in ARGUMENTS:
        offsets[name] = at
        at += bits // 8 + 4
    return offsets


REGISTER_SPACE_BYTES = 128


class Fault(IntEnum):
    """Why a run ended, where `isa.Status` has no word for it."""

    MISALIGNED = 16
    """A map, weight block or vector does not start at a beat."""
    TOO_LARGE = 17
    """A shape that the buffers of this build cannot hold."""
    BAD_WINDOW = 18
    """A slot, the program or the host block lies outside the window."""
    ABORTED = 19
    """The host asked for it, between two commands."""


class Slots(IntEnum):
    """Words of a slot's beat in the host block. A slot of 0 words is not bound."""

    BEAT = 0
    WORDS = 1


ABORT_BEAT = isa.SLOT_COUNT
"""Beat of the host block whose first word ends the run before its next command, if not 0."""
HOST_BLOCK_BEATS = isa.SLOT_COUNT + 1


class Header(IntEnum):
    """Words of the report's header, written when a run ends."""

    TICKET = 0
    """The register's value: whose report this is."""
    STATUS = 1
    """`isa.Status` or `Fault`"""
    INDEX = 2
    """Command that ended the run; the number of commands if none did."""
    FEATURES = 3
    """Bits of `Feature`"""
    DIGEST = 4
    LANES = 5
    """T in the low 16 bits, pixels that the array takes in an iteration in the high ones."""
    DEPTH = 6
    """Pixels of T lanes that a feature buffer and an output buffer hold, in two halves of 16 bits:
    feature buffer in the low half."""
    WEIGHT_TILES = 7
    """Tiles of T x T weights that a weight buffer holds."""


HEADER_BEATS = 2


class Entry(IntEnum):
    """Words of the report's beat of a command, behind the header."""

    STATUS = 0
    STEPS = 1
    """Pipeline iterations of the compute loops: cycles of the array, were it never waiting."""
    PASSES = 2
    """Times that a tile was loaded and computed."""
    CYCLES = 3
    """Of the free-running counter, if Feature.COUNTER is set; else nothing."""


class Feature(IntFlag):
    """What a build has."""

    COUNTER = 1
    """A counter of clock cycles is connected."""
    ADAM = 2


SHALLOW_WORDS = 256
"""Words of a bank up to which a gradient on its way out lies in LUT RAM."""


@dataclass(frozen=True)
class KernelSizes:
    """What one build of the kernel is made of."""

    lanes: int
    """T = Tm = Tn"""
    feature_depth: int
    """Pixels of T lanes in each of two feature buffers."""
    output_depth: int
    """Pixels of T lanes in each of two output buffers, and in that of a gradient on its way out."""
    weight_tiles: int
    """Tiles of T x T in each of two weight buffers."""
    pixels: int = 1
    """Pixels that the array takes in an iteration."""
    revisit: int = 16
    """Iterations before an accumulator is used again: no fewer than add and store take."""
    features: Feature = Feature.ADAM
    fmul: str = "maxdsp"
    """Implementation of the array's multipliers, as BIND_OP calls it."""
    fadd_tree: str = "fulldsp"
    """Of the adders that sum one pixel's products."""
    fadd_sum: str = "fulldsp"
    """Of the adders that accumulate."""

    @property
    def gradient_ram(self) -> str:
        """Where a gradient lies on its way out, as BIND_STORAGE calls it."""
        words = -(-self.output_depth // self.pixels)
        return "lutram" if words <= SHALLOW_WORDS else "bram"

    def report_words(self) -> dict[Header, int]:
        """The words of the header that name the build."""
        return {
            Header.FEATURES: int(self.features),
            Header.DIGEST: digest(),
            Header.LANES: self.lanes | self.pixels << 16,
            Header.DEPTH: self.feature_depth | self.output_depth << 16,
            Header.WEIGHT_TILES: self.weight_tiles,
        }

    def c_header(self, clock_mhz: float) -> str:
        """The generated header `build.h` of one board."""
        lines = ["// Generated from a board's build description: do not edit.", "#pragma once"]
        lines += ["namespace eft {", f"// planned clock: {clock_mhz:g} MHz"]
        for name, c_name in _C_NAMES.items():
            lines.append(f"constexpr int {c_name} = {int(getattr(self, name))};")
        lines.append("}  // namespace eft")
        lines += [f"#define EFT_{name.upper()} {getattr(self, name)}" for name in _OPERATORS]
        return "\n".join([*lines, ""])


_C_NAMES = {
    "lanes": "T",
    "pixels": "PIXELS",
    "feature_depth": "X_DEPTH",
    "output_depth": "Y_DEPTH",
    "weight_tiles": "W_DEPTH",
    "revisit": "REVISIT",
    "features": "FEATURES",
}

_OPERATORS = ("fmul", "fadd_tree", "fadd_sum", "gradient_ram")

_KINDS = (
    (Control, "REG"),
    (Ctrl, "CTRL"),
    (Fault, "FAULT"),
    (Slots, "SLOT_WORD"),
    (Header, "HEADER"),
    (Entry, "ENTRY"),
    (Feature, "FEATURE"),
)


def _constants() -> dict[str, int]:
    numbers = {
        "BEAT_WORDS": BEAT_WORDS,
        "COMMAND_BEATS": COMMAND_BEATS,
        "REGISTER_SPACE_BYTES": REGISTER_SPACE_BYTES,
        "INTERRUPT_DONE": INTERRUPT_DONE,
        "ABORT_BEAT": ABORT_BEAT,
        "HOST_BLOCK_BEATS": HOST_BLOCK_BEATS,
        "HEADER_BEATS": HEADER_BEATS,
    }
    for kind, prefix in _KINDS:
        numbers |= {f"{prefix}_{item.name}": int(item) for item in kind}
    numbers |= {f"ARG_{name.upper()}": offset for name, offset in argument_offsets().items()}
    return numbers


def declaration() -> str:
    """Every fact that host and kernel must share, as canonical text."""
    lines = [f"kernel abi {ABI_VERSION}", *(f"{k} {v}" for k, v in _constants().items())]
    lines += [f"argument {name} {bits}" for name, bits in ARGUMENTS]
    return isa.declaration() + "\n".join(lines) + "\n"


def digest() -> int:
    """32-bit digest of the declaration; a kernel reports its own in every header."""
    return int.from_bytes(hashlib.blake2b(declaration().encode(), digest_size=4).digest(), "big")


def c_header() -> str:
    """The generated C header `registers.h`."""
    out = ["// Generated from eftraind/registers.py: do not edit.", "#pragma once"]
    out += ['#include "bits.h"', '#include "isa.h"', "namespace eft {"]
    out.append(f"constexpr uint32_t KERNEL_DIGEST = 0x{digest():08x}u;")
    out += [f"constexpr int32_t {name} = {value};" for name, value in _constants().items()]
    out.append("// A command from its words, as they come from a port.")
    out += ["inline Command decode(const float w[]) {", "  Command c;"]
    for index, name in enumerate(isa.word_names()):
        word = f"w[{index}]" if name == "scalar" else f"as_int(w[{index}])"
        out.append(f"  c.{name} = {word};")
    return "\n".join([*out, "  return c;", "}", "}  // namespace eft", ""])
