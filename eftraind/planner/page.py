"""docs/reproduction.md as text: the paper's figures and the model's, side by side. Renders only."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from eftraind.plan import energy
from eftraind.plan.ef_train import additions, parallel, published
from eftraind.plan.ef_train.cycles import START_CYCLES
from eftraind.plan.ef_train.model import CLOCK_MHZ
from eftraind.plan.outcome import gflops
from eftraind.planner import reproduction
from eftraind.planner.reproduction import OF_MEASUREMENT, OF_MODEL, Row, network

FAMILIES = {"zcu102": "zynqmp", "pynq-z1": "zynq7000"}
WIDTH = 125
EFFECTIVE = additions.EFFECTIVE_START_CYCLES


def text() -> str:
    """The whole page."""
    parts = (*_equations(), *_steps(), *_sizes(), *_energy())
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _equations() -> Iterator[str]:
    yield "# The paper's figures, reproduced"
    yield _prose(
        "Written by `eftraind reference reproduction`; a test holds it to the code.",
        '**Everything in a column "model" is calculated; nothing here was run on a board by',
        'us.** "Printed" is what the EF-Train paper (TODAES 2022) or its authors\' scheduling',
        "script says. The model is `eftraind.plan.ef_train`: the paper's equations 15-32 and",
        "its Algorithm 1 for convolutions, and additions of ours for what the paper leaves",
        f"out. A row may be {100 * OF_MODEL:.0f} % off what the paper calculates and",
        f"{100 * OF_MEASUREMENT:.0f} % off what it measured end to end.",
    )
    yield "## The paper's model"
    yield _rows([*reproduction.table6_rows(), *reproduction.script_rows()])
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
    yield _table6()
    yield "### VGG-16, layer by layer"
    yield _prose(
        "GFLOPS (M_on, Tr) of the released script's variant of the model at T = 16, 64 slots",
        "for weights, batch 16:",
    )
    yield _script()
    yield "### Sensitivity to T"
    yield _rows(reproduction.by_t_rows())


def _steps() -> Iterator[str]:
    yield "## What is added to the paper's equations"
    yield "They cover convolutions. The rest is modelled from the structure of the released kernel:"
    yield "\n".join(_additions())
    yield "## End to end"
    rows = [*reproduction.end_to_end_rows(), reproduction.bn_penalty_row()]
    yield _rows([*rows, *reproduction.reuse_rows()])
    yield _prose(reproduction.ALEXNET_REMARK)
    yield "Where the time goes, in milliseconds an image (model):"
    yield _shares()
    yield f"## Why t_start is not {START_CYCLES} here"
    yield _prose(
        f"The paper measured {START_CYCLES} cycles to start a DMA, and its equations pay them",
        "before the first load of every output tile. With that, large maps come out right and",
        "small ones do not:",
    )
    yield _rows(reproduction.end_to_end_rows(START_CYCLES))
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
    yield _rows(reproduction.figure21_rows())
    yield _prose(
        "The paper does not report batch 1. There the write-back of WU, which nothing overlaps",
        "where a whole map fits the chip, comes with every image (model):",
    )
    yield _batch_one()
    yield '### Phases of "1X", Figure 19'
    yield _prose(
        "Read off the figure to about 0.1 million cycles. Its axis says ns, but its MAC time is",
        "that of the array in cycles.",
    )
    yield _rows(reproduction.figure19_rows())


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
    yield _rows(reproduction.resource_rows())
    yield "Counted by running the host part of the released program on a PC, against the model:"
    yield _rows(reproduction.traffic_rows())
    yield "## Which loops run in parallel, Table 1"
    yield _prose(
        "The formulas of the paper's pages 7-8 for arrays of 256 multiply-accumulators: share",
        "of the array that works over all forward convolutions (model; memory left out). By",
        "channel depends on neither batch nor map; it is weak only where there are few",
        "channels.",
    )
    yield _parallel()


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
    yield _power()


def _prose(*lines: str) -> str:
    return textwrap.fill(" ".join(lines), WIDTH, break_long_words=False, break_on_hyphens=False)


def _item(*lines: str) -> str:
    return textwrap.fill(
        "- " + " ".join(lines), WIDTH, subsequent_indent="  ", break_on_hyphens=False
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _rows(rows: Iterable[Row]) -> str:
    return _table(
        ("", "printed", "model", "difference", "limit", ""),
        (
            (
                row.what,
                f"{_number(row.printed)} {row.unit}",
                f"{_number(row.modelled)} {row.unit}",
                f"{100 * row.difference + 0.0:+.2f} %".replace("-0.00", "+0.00"),
                f"{100 * row.allowed:.0f} %",
                "" if row.within else "**outside**",
            )
            for row in rows
        ),
    )


def _number(value: float) -> str:
    """
    >>> _number(69295691), _number(46.99), _number(0.33426)
    ('69,295,691', '46.99', '0.3343')
    """
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _table6() -> str:
    return _table(
        ("layer", "phase", "Tr", "M_on", "cycles", "own Tr", "own M_on", "cycles"),
        (
            (
                work.layer,
                work.phase.value,
                f"{tile.tr}",
                f"{tile.m_on}",
                f"{cycles:,}",
                f"{own.tr}",
                f"{own.m_on}",
                f"{own_cycles:,}",
            )
            for work, tile, cycles, own, own_cycles in reproduction.table6()
        ),
    )


def _script() -> str:
    cells: dict[str, dict[str, str]] = {}
    for cost in reproduction.script(16, 64):
        assert cost.tile is not None
        rate = gflops([cost], CLOCK_MHZ)
        cell = f"{rate:.1f} ({cost.tile.m_on}, {cost.tile.tr})"
        cells.setdefault(cost.layer, {})[cost.phase.value] = cell
    return _table(
        ("layer", "FP", "BP", "WU"),
        (
            (name, *(row.get(phase, "-") for phase in ("FP", "BP", "WU")))
            for name, row in cells.items()
        ),
    )


def _shares() -> str:
    kinds = ("conv", "maxpool", "avgpool", "batchnorm", "linear", "host")

    def line(build: published.Build) -> tuple[str, ...]:
        outcome = reproduction.step(build.network, build.board, build.batch or 128)
        spent = dict.fromkeys(kinds, 0)
        for cost in outcome.layers:
            spent[cost.kind if cost.layer != "host" else "host"] += cost.cycles
        per_ms = outcome.batch * outcome.clock_mhz * 1e3
        return (
            f"{build.network} on {build.board}",
            *(f"{spent[kind] / per_ms:.2f}" if spent[kind] else "-" for kind in kinds),
            f"{1e3 * outcome.seconds_per_image:.2f}",
        )

    return _table(("", *kinds, "all"), (line(build) for build in published.BUILDS))


def _batch_one() -> str:
    def line(build: published.Build) -> tuple[str, ...]:
        largest = build.batch or 128
        one, many = (
            reproduction.step(build.network, build.board, batch).gflops for batch in (1, largest)
        )
        name = f"{build.network} on {build.board}"
        return (name, f"{one:.2f}", f"{many:.2f} at {largest}", f"{100 * one / many:.0f} %")

    head = ("", "GFLOPS at batch 1", "at the paper's batch", "share")
    return _table(head, (line(build) for build in published.BUILDS))


def _parallel() -> str:
    lines = []
    for name in ("cifar1x", "alexnet", "vgg16"):
        for batch in (1, 16, 256):
            shares = parallel.utilisation(network(name), batch)
            lines.append((name, f"{batch}", *(f"{share:.1%}" for share in shares.values())))
    return _table(("network", "batch", "by batch", "by map", "by channel"), lines)


def _power() -> str:
    def line(build: published.Build) -> tuple[str, ...]:
        drawn = energy.power(
            FAMILIES[build.board], CLOCK_MHZ, dsp=build.dsp, bram36=build.bram36
        ).total_watts
        return (
            f"{build.network} on {build.board}",
            f"{build.dsp}",
            f"{build.bram36}",
            f"{build.power_watts:.2f} W",
            f"{drawn:.2f} W",
            f"{100 * (drawn / build.power_watts - 1):+.1f} %",
            f"{build.gflops_per_watt:.2f}",
            f"{_modelled_efficiency(build, drawn):.2f}",
        )

    head = ("", "DSP", "BRAM36", "printed", "model", "residual", "printed GFLOPS/W", "model")
    return _table(head, (line(build) for build in published.BUILDS))


def _modelled_efficiency(build: published.Build, watts: float) -> float:
    outcome = reproduction.step(build.network, build.board, build.batch or 128)
    return outcome.gflops / watts
