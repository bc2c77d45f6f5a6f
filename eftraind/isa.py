"""The contract with every device: command words, slots, flags, status codes, and their digest.

Declared once here; the C header that devices compile is generated from it (`c_header`), and a
device whose digest differs is refused. This module knows no numerics and no network.

A program is a list of commands of 32 words of 32 bits. A command names memory as (slot, offset in
words); a slot table, written by the host, maps slots to buffers. All maps and weights are tiled by
T channel lanes (`plan.reshape` has the layout); m, n, rows and columns are always those of the
forward direction, whatever the phase.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

COMMAND_WORDS = 32
SLOT_COUNT = 32
ABI_VERSION = 1

Words = npt.NDArray[np.int32]


class Op(IntEnum):
    """What a command does; operands are listed as src, weights, dst, aux, extra.

    LOAD       gather, normalise: dst[i] = src[aux[i]] * scale + shift (weights: scale, shift)
    CONV_FP    dst = act(conv(src, weights) + bias); a fully connected layer spans the whole map;
               groups = channels: depthwise, weights [m tiles][kernel rows][kernel cols][T]
    CONV_BP    dst = gradient of x from dy (src) and weights (BP rules below)
    CONV_WU    dst (+)= gradient of weights, then of bias, from x (src) and dy (aux). STEP: the
               gradient is not kept; weights and bias (dst) and their velocities (extra) step by
               it as UPDATE would (NESTEROV, the words of `Hyper` at weights), nothing is clipped
    BIAS_WU    dst (+)= sum of dy (src) over images, rows and columns, per channel of n
    POOL_FP    dst = max over windows of src
    POOL_BP    dst = dy (src) sent to the first maximum of each window of x (aux)
    AVG_FP     dst = mean over windows of src; EXCLUDE_PAD: over what lies inside the map
    AVG_BP     dst = dy (src) spread evenly over each window
    BN_STAT    extra = mean, 1/sqrt(var + scalar) per channel of src, over all images, in two
               passes; dst (running mean, variance) moves towards them by the share at aux (the
               variance unbiased). FROZEN: src is not read, extra is made from dst, dst stays
    BN_FP      dst = act(gamma * (src - mean) * inverse + beta); weights: gamma, beta; aux: mean, ..
    BN_SUM     sums over images of dy (aux) * xhat and of dy, x in src, BN_STAT's vectors in extra;
               written behind those in extra, and (+)= into dst (gradients of gamma, beta) if named
    BN_BP      dst = gradient of x (aux) from dy (src), weights gamma, beta, extra = BN_STAT's and
               BN_SUM's vectors, `count` values a channel. FROZEN: gamma * inverse * dy
    ADD_FP     dst = act(src + aux)
    PASS_BP    dst = dy (src): each input of an ADD, x in aux
    CONCAT_FP  n channels of src become channels [axis, axis + n) of dst, a map of m channels
    CONCAT_BP  dst = channels [axis, axis + n) of dy (src), a map of m channels
    DROP_FP    dst = src * keep / (1 - scalar); keep from a hash of the word at aux, the layer, and
               the element's index with images counted from `axis` (nn.ops.dropout_keep)
    DROP_BP    dst = dy (src) * keep / (1 - scalar); the seed word is at extra, x in aux
    LOSS       softmax cross-entropy of logits (src) and int32 labels (aux), divided by `count`:
               dst = gradient; extra = loss per image, then int32 predicted class per image;
               scalar: label smoothing; weights, if named: weight per class [tiles*T], then the
               divisor that replaces `count`
    NORM       dst[0] (+)= sum of squares of `count` words of src
    UPDATE     SGD on `count` words: v (extra) = momentum*v + g (src) + decay*w; w (dst) -= rate*v;
               NESTEROV: w -= rate*(g + decay*w + momentum*v); ADAM: second moments lie `axis` words
               behind the first; aux = the words of `Hyper`; weights, if named: NORM's sum, and
               g is scaled by min(1, clip / (norm + 1e-6)) first
    COPY       dst = src, `count` words

    BP rules: with MASK, dst is multiplied by the derivative of the activation that made x, told
    from x (aux) itself: RELU6, LEAKY (slope in scalar), else ReLU. Where RELU6 or ReLU is flat the
    result is 0 whatever the gradient, NaN and Inf included. With ACCUMULATE the result is added to
    dst: x has several readers. DROP_BP and LEAKY share no command.

    Steps (UPDATE, CONV_WU with STEP): a weight whose new value, velocity or moment would not be
    finite stays with all of them as it was, the others step, and the command ends NONFINITE.
    """

    LOAD = 1
    CONV_FP = 2
    CONV_BP = 3
    CONV_WU = 4
    POOL_FP = 5
    POOL_BP = 6
    LOSS = 7
    UPDATE = 8
    COPY = 9
    AVG_FP = 10
    AVG_BP = 11
    BN_STAT = 12
    BN_FP = 13
    BN_SUM = 14
    BN_BP = 15
    ADD_FP = 16
    PASS_BP = 17
    CONCAT_FP = 18
    CONCAT_BP = 19
    DROP_FP = 20
    DROP_BP = 21
    NORM = 22
    BIAS_WU = 23


class Flag(IntFlag):
    NONE = 0
    RELU = 1
    BIAS = 2
    ACCUMULATE = 4
    MASK = 8
    U8 = 16
    RELU6 = 32
    LEAKY = 64
    NESTEROV = 128
    ADAM = 256
    FROZEN = 512
    EXCLUDE_PAD = 1024
    STEP = 2048


ACTIVATIONS = Flag.RELU | Flag.RELU6 | Flag.LEAKY


class Status(IntEnum):
    """Result of one command."""

    OK = 0
    BAD_OP = 1
    BAD_SLOT = 2
    OUT_OF_RANGE = 3
    BAD_SHAPE = 4
    NONFINITE = 5
    UNSUPPORTED = 6


class Hyper(IntEnum):
    """Words that UPDATE (and BN_STAT) read in CONSTS behind the input's scale and shift. All may
    change between two steps; nothing is compiled again."""

    RATE = 0
    MOMENTUM = 1
    """momentum of SGD, beta1 of Adam"""
    DECAY = 2
    CLIP = 3
    """largest gradient norm"""
    BETA2 = 4
    EPSILON = 5
    CORRECTION1 = 6
    """1 - beta1^step"""
    CORRECTION2 = 7
    BN_SHARE = 8
    """how far running statistics move towards a batch's"""
    SEED = 9
    """of dropout, a uint32; changes every step"""


class Slot(IntEnum):
    """Logical buffers. Weight banks are slots: a hot swap is one write of the slot table."""

    NONE = 0
    SERVING = 1
    CANDIDATE = 2
    PREVIOUS = 3
    GOLDEN = 4
    LEARNER = 5
    GRADS = 6
    MOMENTUM = 7
    CONSTS = 8
    POOL = 9
    TRAIN_BATCH = 10
    TRAIN_ARENA = 11
    TRAIN_OUT = 12
    INFER_IN = 13
    INFER_BATCH = 14
    INFER_ARENA = 15
    INFER_OUT = 16


@dataclass(frozen=True)
class Operand:
    """A place in device memory: a slot and an offset in 32-bit words."""

    slot: Slot = Slot.NONE
    offset: int = 0

    def plus(self, words: int) -> "Operand":
        return Operand(self.slot, self.offset + words)


NOWHERE = Operand()


@dataclass(frozen=True)
class Command:
    """One command; the field order is the word order (operands take two words each)."""

    op: Op
    flags: Flag = Flag.NONE
    layer: int = 0
    images: int = 0
    m: int = 0
    n: int = 0
    rows_in: int = 0
    cols_in: int = 0
    rows_out: int = 0
    cols_out: int = 0
    kernel_rows: int = 1
    kernel_cols: int = 1
    stride_rows: int = 1
    stride_cols: int = 1
    pad_top: int = 0
    pad_left: int = 0
    groups: int = 1
    lanes: int = 0
    """Channel lanes per pixel of the forward input map: T, or fewer for a narrow network input."""
    count: int = 0
    axis: int = 0
    """First channel (CONCAT), first image (DROP), distance in words (ADAM)."""
    scalar: float = 0.0
    """Leaky slope, dropout rate, label smoothing or epsilon."""
    src: Operand = NOWHERE
    weights: Operand = NOWHERE
    dst: Operand = NOWHERE
    aux: Operand = NOWHERE
    extra: Operand = NOWHERE

    def encode(self) -> list[int]:
        words: list[int] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Operand):
                words += [value.slot, value.offset]
            elif isinstance(value, float):
                words.append(int(np.float32(value).view(np.int32)))
            else:
                words.append(int(value))
        return words + [0] * (COMMAND_WORDS - len(words))


def word_names() -> list[str]:
    """The words of a command in order; the rest is spare."""
    names: list[str] = []
    for field in fields(Command):
        is_operand = isinstance(field.default, Operand)
        names += [f"{field.name}_slot", f"{field.name}_offset"] if is_operand else [field.name]
    return names


def decode(words: npt.NDArray[np.int32]) -> Command:
    """The inverse of `Command.encode`. Raises ValueError for an unknown op, flag or slot."""
    values = dict(zip(word_names(), (int(word) for word in words), strict=False))
    arguments: dict[str, Any] = {}
    for field in fields(Command):
        if isinstance(field.default, Operand):
            slot, offset = values[f"{field.name}_slot"], values[f"{field.name}_offset"]
            arguments[field.name] = Operand(Slot(slot), offset)
        elif field.name == "scalar":
            arguments[field.name] = float(np.int32(values[field.name]).view(np.float32))
        else:
            arguments[field.name] = values[field.name]
    arguments["op"], arguments["flags"] = Op(values["op"]), Flag(values["flags"])
    return Command(**arguments)


@dataclass(frozen=True)
class Program:
    """Commands compiled for one T; whoever runs it says how many at a time."""

    name: str
    lanes: int
    commands: tuple[Command, ...]
    need_words: Mapping[Slot, int]
    layer_names: tuple[str, ...]

    def words(self) -> Words:
        """int32 [commands, COMMAND_WORDS]."""
        return np.array([command.encode() for command in self.commands], dtype=np.int32)


def _members(kind: type[IntEnum] | type[IntFlag]) -> list[Any]:
    """Without the empty set of flags, which Python 3.10 counts as a member and 3.11 does not."""
    return [item for item in kind if item or not issubclass(kind, IntFlag)]


def declaration() -> str:
    """Every fact that host and device must share, as canonical text."""
    lines = [f"abi {ABI_VERSION}", f"command_words {COMMAND_WORDS}", f"slot_count {SLOT_COUNT}"]
    for kind in (Op, Flag, Status, Slot, Hyper):
        lines += [f"{kind.__name__.lower()} {item.name} {int(item)}" for item in _members(kind)]
    lines += [f"word {name} {index}" for index, name in enumerate(word_names())]
    return "\n".join(lines) + "\n"


def digest() -> int:
    """32-bit digest of the declaration; devices report theirs when opened."""
    return int.from_bytes(hashlib.blake2b(declaration().encode(), digest_size=4).digest(), "big")


def c_header() -> str:
    """The generated C header `isa.h`."""
    out = [
        "// Generated from eftraind/isa.py by `python -m eftraind.accel.native.build isa.h`.",
        "#pragma once",
        "#include <cstdint>",
        "namespace eft {",
        f"constexpr uint32_t ISA_DIGEST = 0x{digest():08x}u;",
        f"constexpr int COMMAND_WORDS = {COMMAND_WORDS};",
        f"constexpr int SLOT_COUNT = {SLOT_COUNT};",
    ]
    kinds = ((Op, "OP"), (Flag, "FLAG"), (Status, "STATUS"), (Slot, "SLOT"), (Hyper, "HYPER"))
    for kind, prefix in kinds:
        out += [f"constexpr int32_t {prefix}_{item.name} = {int(item)};" for item in _members(kind)]
    out.append("struct Command {")
    types = {"scalar": "float"}
    out += [f"  {types.get(name, 'int32_t')} {name};" for name in word_names()]
    spare = COMMAND_WORDS - len(word_names())
    out += [f"  int32_t reserved[{spare}];", "};"]
    out.append('static_assert(sizeof(Command) == 4 * COMMAND_WORDS, "command size");')
    return "\n".join([*out, "}  // namespace eft", ""])
