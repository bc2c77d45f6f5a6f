"""docs/reproduction.md as text: the paper's figures and the model's, side by side. Renders only."""

import textwrap
from collections.abc import Iterator

from eftraind.plan import energy
from eftraind.plan.ef_train import additions
from eftraind.plan.ef_train.cycles import START_CYCLES
from eftraind.planner import page_tables as tables
from eftraind.planner import reproduction
from eftraind.planner.reproduction import OF_MEASUREMENT, OF_MODEL

WIDTH = 125
EFFECTIVE = additions.EFFECTIVE_START_CYCLES


def text() -> str:
    """The whole page."""
    parts = (*_equations(), *_steps(), *_sizes(), *_energy())
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _equations() -> Iterator[str]:
    yield "# The paper's figures, reproduced"
    yield _prose(
        "Written by `eftraind reference reproduction --plot docs/reproduction.svg`; a test",
        'holds it to the code. **Everything in a column "model" is calculated; nothing here',
        'was run on a board by us.** "Printed" is what the EF-Train paper (TODAES 2022) or its',
        "authors' scheduling script says. The model is `eftraind.plan.ef_train`: the paper's",
        "equations 15-32 and its Algorithm 1 for convolutions, and additions of ours for what",
        f"the paper leaves out. A row may be {100 * OF_MODEL:.0f} % off what the paper",
        f"calculates and {100 * OF_MEASUREMENT:.0f} % off what it measured end to end.",
    )
    yield "![printed and modelled throughput of six builds](reproduction.svg)"
    yield "## The paper's model"
    yield tables.rows([*reproduction.table6_rows(), *reproduction.script_rows()])
    yield _prose(
        "Two readings of the equations are fixed by these totals: the last, smaller group of",
        "M_on channels is costed as it is (rounded up, Table 6 would be 15 % higher), and the",
        "first layer streams only the channels there are (else 11 % higher).",
    )
    yield "### Table 6, tile by tile"
    yield _prose(
        "The paper prints a difference of 0.04 to 3.91 % between its model and the board by",
        "row. Cycles of the paper's tiles, and what Algorithm 1 takes here when it may choose",
        "within the same block RAMs (both model):",
    )
    yield tables.table6()
    yield "### VGG-16, layer by layer"
    yield _prose(
        "GFLOPS (M_on, Tr) of the released script's variant of the model at T = 16, 64 slots",
        "for weights, batch 16:",
    )
    yield tables.script()
    yield "### Sensitivity to T"
    yield tables.rows(reproduction.by_t_rows())


def _steps() -> Iterator[str]:
    yield "## What is added to the paper's equations"
    yield "They cover convolutions. The rest is modelled from the structure of the released kernel:"
    yield "\n".join(_additions())
    yield "## End to end"
    rows = [*reproduction.end_to_end_rows(), reproduction.bn_penalty_row()]
    yield tables.rows([*rows, *reproduction.reuse_rows()])
    yield _prose(reproduction.ALEXNET_REMARK)
    yield "Where the time goes, in milliseconds an image (model):"
    yield tables.shares()
    yield f"## Why t_start is not {START_CYCLES} here"
    yield _prose(
        f"The paper measured {START_CYCLES} cycles to start a DMA, and its equations pay them",
        "before the first load of every output tile. With that, large maps come out right and",
        "small ones do not:",
    )
    yield tables.rows(reproduction.end_to_end_rows(START_CYCLES))
    yield _prose(
        "The rows outside have small maps: a tile of 8 x 8 pixels computes for 576 cycles, so",
        f"{START_CYCLES} cycles before it weigh much, and {EFFECTIVE} bring all six rows within",
        "their limit. The reason is not in the paper. A likely one: the ARM core starts the",
        "next transfer as soon as the last has ended, while the array still computes, so that",
        "only a part of the start shows. What the paper's Figure 19 shows fits 100 to 200",
        f"cycles, too. The tables of the paper's own model above keep {START_CYCLES}.",
    )
    yield _prose(
        "LeNet-10 is the least certain row: the paper prints its operations, but neither its",
        "widths (ours meet the operations) nor its batch.",
    )
    yield "### Batch, Figure 21"
    yield "Read off the figure to 0.05 GFLOPS; the largest batch is printed."
    yield tables.rows(reproduction.figure21_rows())
    yield _prose(
        "The paper does not report batch 1. There the write-back of WU, which nothing overlaps",
        "where a whole map fits the chip, comes with every image (model):",
    )
    yield tables.batch_one()
    yield '### Phases of "1X", Figure 19'
    yield _prose(
        "Read off the figure to about 0.1 million cycles. Its axis says ns, but its MAC time",
        "is that of the array in cycles.",
    )
    yield tables.rows(reproduction.figure19_rows())


def _additions() -> Iterator[str]:
    yield _item(
        "*Pools*: half of the lanes work; FP overlaps the load of a tile with comparing and",
        "storing the one before, BP the store with load and scatter; indices travel with the",
        "maps.",
    )
    yield _item(
        f"*BN*: {additions.BN_SUM_CYCLES} + {additions.BN_SCALE_CYCLES} cycles for the channels",
        "of a tile at each pixel, in FP and again in BP, of which 4 + 4 carry data.",
    )
    yield _item(
        f"*Fully connected*: weights stream once a phase; {additions.FC_TILE_CYCLES} cycles a",
        "tile, because the unit is not pipelined across tiles (its latencies are assumed).",
    )
    yield _item(
        f"*Host*: softmax and loss on the ARM core, uncached: {additions.LOGIT_CYCLES} cycles",
        "of 100 MHz a class and image. **Calibrated** on one figure, AlexNet at batch 128, so",
        "that this row is no evidence.",
    )
    yield _item(
        f"*t_start*: {EFFECTIVE} cycles instead of the paper's {START_CYCLES} in whole steps.",
        "**Calibrated**, one constant for six figures; see below.",
    )


def _sizes() -> Iterator[str]:
    yield "## DSP slices, block RAM, memory"
    yield _prose(
        "The depths of AlexNet's and VGG-16's buffers follow from the tiles and from the",
        'released constants. Those of "1X" on ZCU102 are the deepest that give the printed',
        "number, so that row is only consistent: a bank that fits half of a block counts half.",
        "The printed totals of the builds contain more than convolution, which the paper does",
        "not explain; the planner adds the printed difference.",
    )
    yield tables.rows(reproduction.resource_rows())
    yield _prose(
        "What that is made of (model): depth of a bank in words, and block RAMs of one of the",
        "two copies.",
    )
    yield tables.blocks()
    yield "Counted by running the host part of the released program on a PC, against the model:"
    yield tables.rows(reproduction.traffic_rows())
    yield "## Which loops run in parallel, Table 1"
    yield _prose(
        "The formulas of the paper's pages 7-8 for arrays of 256 multiply-accumulators: share",
        "of the array that works over all forward convolutions (model; memory left out). By",
        "channel depends on neither batch nor map; it is weak only where there are few",
        "channels.",
    )
    yield tables.parallel()


def _energy() -> Iterator[str]:
    board, dsp, ram = energy.BOARD_WATTS["zynqmp"], energy.DSP_WATTS, energy.BLOCK_RAM_WATTS
    yield "## Power"
    yield _prose(
        "The paper's watts are estimates of the vendor's tool after placement, not",
        f"measurements. Fitted to the five designs on ZCU102: {board:.2f} W for the board,",
        f"{1e3 * dsp:.2f} mW a DSP slice and {1e3 * ram:.2f} mW a block RAM at 100 MHz. There",
        "is one design on PYNQ-Z1, so only its board's share is fitted, and its row is no",
        "evidence.",
    )
    yield tables.power()


def _prose(*lines: str) -> str:
    return textwrap.fill(" ".join(lines), WIDTH, break_long_words=False, break_on_hyphens=False)


def _item(*lines: str) -> str:
    return textwrap.fill(
        "- " + " ".join(lines), WIDTH, subsequent_indent="  ", break_on_hyphens=False
    )
