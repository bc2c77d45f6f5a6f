"""A design point of our kernel, and what it takes of a device.

The array multiplies `array_m` output lanes by `array_n` input lanes for `pixels` pixels each cycle.
Both are multiples of T, so any array works on the one square weight layout. Resources are
estimates (`plan.operators` has the margin); this module knows no network and no time.
"""

import math
from dataclasses import dataclass

from eftraind.errors import ConfigError
from eftraind.plan import operators
from eftraind.plan.outcome import Resources
from eftraind.registers import SHALLOW_WORDS

VECTOR_FMULS = 2
"""Multipliers a lane of the vector unit, which everything passes on its way to memory: bias and
activation, masks, old sums, elements both ways of batch normalisation, steps of weights."""
VECTOR_FADDS = 3
SHALLOW_LUT = 190
"""Of a bank of SHALLOW_WORDS in LUT RAM, read and written at once: 8 LUTs hold 64 words of 7
bits; a multiplexer of 4."""
SCALAR_DSP = 12
SCALAR_LUT = 3_300
"""One exponential, logarithm, division and square root, for loss and batch normalisation."""
SEQUENCER_LUT = 2_500
"""Command fetch, checks, tile loops, registers."""
WINDOW_LUT_PER_WORD = 150
"""For each word of the window's width: steering of wide words from banks to buffers and back."""
BANK_LUT = 16
"""Of each bank: one of four addresses of 12 bits, and its enables."""
LEAD_LUT = 150
"""For each word of the port for results: what leads operands of every kind through the vector
unit."""
GATHER_BRAM36 = 8
"""Two sums, in eight parts so that an adder meets none too soon, of each of up to 512 channels."""
FOLLOW_LUT = 600
"""The next pass set up beside the running one: a second copy of the loops' registers, some 30 of up
to 16 bits, each bit with a selection of what is loaded; the choice of output buffer that goes down
the pipeline, 2 bits in shift registers; a count of what is still to come out."""
MASTER_LUT = 500
MASTER_LUT_PER_WORD = 150
"""An AXI4 master with its share of the interconnect, plus that for each word of its width."""


@dataclass(frozen=True)
class Traits:
    """What the kernel does to keep its array busy. All true: as specified. Others are for asking
    what one of them is worth."""

    folds: bool = True
    """A narrow network input brings several taps of a kernel row at once."""
    shares: bool = True
    """Small maps of several images share a tile."""
    overlaps: bool = True
    """The first load of an output tile, and the store of a gradient, run beside another tile's
    passes."""
    blocks: bool = True
    """Whole rows of a tile come in one transfer; else each row waits for the memory again."""
    streams: bool = True
    """A store's mask and old sums come as a stream; else in runs of RUN pixels, read, then
    written."""
    beside: bool = True
    """The second map of every streaming command comes on the port for weights; else that of one
    whose maps differ in shape (POOL_BP) comes on the one for features, behind the first."""
    gathers: bool = True
    """Sums that a batch normalisation needs are taken while another command stores the map."""
    straight: bool = True
    """A gradient is stored from the weight buffer that it was made in; else it first moves, a row
    of lanes a cycle, to one more buffer of the output's shape."""
    fuses: bool = True
    """A gradient that is whole steps its weights as it is stored (`Plan.fuse`)."""
    splits: bool = True
    """What would be fewer than PASSES passes is cut smaller, so that its load and its store run
    beside computing."""
    follows: bool = True
    """A pass enters the array while the results of the one before come out of its pipeline; else
    the pipeline runs empty after each."""


SPECIFIED = Traits()
PASSES = 4
AS_WRITTEN = Traits(
    streams=False, beside=False, gathers=False, straight=False, splits=False, follows=False
)
"""As the sources in hls are so far."""
RUN = 64


@dataclass(frozen=True)
class Design:
    """What a bitstream fixes. Each of the three buffers exists twice."""

    t: int
    array_m: int
    array_n: int
    pixels: int
    clock_mhz: float
    fmul: str
    """Implementation of the array's multipliers."""
    fadd_tree: str
    """Of the adders that sum the products of one pixel."""
    fadd_sum: str
    """Of the adders that accumulate into a buffer."""
    feature_depth: int
    """Pixels that a buffer of features holds, over all input lanes of the array."""
    output_depth: int
    """Pixels that an output buffer holds, over all output lanes. It holds them in words of `pixels`
    neighbours of a row, the last of a row perhaps with fewer."""
    weight_tiles: int
    """Taps that a weight buffer holds, for all pairs of lanes."""
    feature_words: int
    """Words a cycle of the port that reads feature maps."""
    weight_words: int
    """Words a cycle of the port that reads weights, and dy in WU."""
    result_words: int
    """Words a cycle, each way, of the port that writes results and reads what they are joined
    with: masks, old sums."""
    traits: Traits = SPECIFIED
    revisit: int = 16
    """Iterations before a sum is met again: no fewer than reading, adding and writing it take."""
    window_words: int = 0
    """On-chip memory that serves a range of addresses (`plan.window`); 0: none."""

    def __post_init__(self) -> None:
        for name in ("array_m", "array_n"):
            value = getattr(self, name)
            if value < self.t or value % self.t:
                raise ConfigError(
                    f"{name} is {value}, T is {self.t}", remedy="make it a multiple of T"
                )
        if self.revisit < self.sum_cycles:
            raise ConfigError(
                f"revisit is {self.revisit}, a sum takes {self.sum_cycles} cycles",
                remedy="take a larger one",
            )

    @property
    def macs(self) -> int:
        """Multiply-accumulates a cycle."""
        return self.array_m * self.array_n * self.pixels

    @property
    def output_words(self) -> int:
        """Words of `pixels` pixels of an output buffer."""
        return -(-self.output_depth // self.pixels)

    @property
    def peak_gflops(self) -> float:
        return 2 * self.macs * self.clock_mhz / 1e3

    @property
    def vector_lanes(self) -> int:
        """The vector unit takes what the widest port brings."""
        return max(self.feature_words, self.result_words)

    @property
    def window_width(self) -> int:
        """Words a cycle of a channel to the window: what both free ports of the feature buffers
        take."""
        return self.array_n * min(self.pixels, 2)

    @property
    def window_banks(self) -> int:
        """Words a cycle of all channels together."""
        return 2 * self.window_width

    @property
    def window_bram36(self) -> int:
        """Banks of one word, side by side."""
        return self.window_banks * math.ceil(self.window_words / self.window_banks / 1024)

    @property
    def sum_cycles(self) -> int:
        """To read a partial sum, add to it and write it."""
        return operators.fadd(self.fadd_sum).latency + 3

    @property
    def pipeline_cycles(self) -> int:
        """From the first operands of a pass to its last result, beyond one cycle each. Outer
        products of several pixels are summed by the adders of the trees, one of each tree behind
        another's."""
        levels = math.ceil(math.log2(self.array_n)) + math.ceil(math.log2(self.pixels))
        tree = levels * operators.fadd(self.fadd_tree).latency
        return operators.fmul(self.fmul).latency + tree + self.sum_cycles + 4


def bram36(words: int, *, reads_twice: bool = False) -> float:
    """Block RAMs of one bank of 32-bit words: half blocks of 512 words with a read and a write
    port, or whole ones of 1,024 with two free ports."""
    return math.ceil(words / 1024) if reads_twice else math.ceil(words / 512) / 2


def unloads_to_lut_ram(design: Design) -> bool:
    """Whether there is a buffer for gradients on their way out, and shallow enough for that."""
    return not design.traits.straight and design.output_words <= SHALLOW_WORDS


def buffer_bram36(design: Design) -> int:
    """Both copies of the three buffers, and one for gradients if they leave through it.

    Two pixels read an input bank through its two ports, three or four need the bank twice. The
    output buffer has a bank per pixel, as each pixel reads and writes a sum every cycle.
    """
    pixels = design.pixels
    ifm_copies = -(-pixels // 2)
    ifm = design.array_n * ifm_copies * bram36(design.feature_depth, reads_twice=pixels > 1)
    ofm = design.array_m * pixels * bram36(design.output_words)
    weights = design.array_m * design.array_n * bram36(design.weight_tiles)
    leaving = 0.0 if design.traits.straight or unloads_to_lut_ram(design) else ofm
    return math.ceil(2 * (ifm + ofm + weights) + leaving)


def resources(design: Design) -> Resources:
    """DSP, BRAM36 and LUT; this kernel uses no UltraRAM."""
    fmul = operators.fmul(design.fmul)
    tree, acc = operators.fadd(design.fadd_tree), operators.fadd(design.fadd_sum)
    sums = design.array_m * design.pixels
    in_tree = design.macs - sums
    lanes = design.vector_lanes
    side_fmul, side_fadd = operators.fmul("meddsp"), operators.fadd("fabric")
    muls, adds = VECTOR_FMULS * lanes, VECTOR_FADDS * lanes
    words = design.feature_words + design.weight_words + 2 * design.result_words
    dsp = design.macs * fmul.dsp + in_tree * tree.dsp + sums * acc.dsp
    lut = design.macs * fmul.lut + in_tree * tree.lut + sums * acc.lut
    lut += muls * side_fmul.lut + adds * side_fadd.lut
    lut += SCALAR_LUT + SEQUENCER_LUT + 5 * MASTER_LUT + MASTER_LUT_PER_WORD * words
    fifos = math.ceil(words / 2)
    if design.window_words:
        lut += WINDOW_LUT_PER_WORD * design.window_width + BANK_LUT * design.window_banks
    lut += FOLLOW_LUT * design.traits.follows
    lut += SHALLOW_LUT * sums * unloads_to_lut_ram(design)
    gathered = GATHER_BRAM36 * design.traits.gathers
    lut += LEAD_LUT * design.result_words
    return Resources(
        dsp=dsp + muls * side_fmul.dsp + SCALAR_DSP,
        bram36=buffer_bram36(design) + fifos + gathered + design.window_bram36,
        uram=0,
        lut=lut,
    )
