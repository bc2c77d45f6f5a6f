"""docs/figures.md as text: what our kernel was asked for, what the model says, and why. Renders
only."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from eftraind import boards
from eftraind.isa import Op
from eftraind.plan.search import PLANNED, WRITTEN, Found
from eftraind.planner import figures, targets
from eftraind.planner.figures import Step

WIDTH = 125
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


def text() -> str:
    """The whole page."""
    parts = (*_asked(), *_reasons(), *_written(), *_sensitivity(), *_shortfalls())
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _asked() -> Iterator[str]:
    yield "# What our kernel reaches, modelled"
    yield _prose(
        "Written by `eftraind reference figures --plot docs/figures.svg`; a test holds it to the",
        "code. **Every figure here",
        "is calculated by the cost model `eftraind`; no design of ours was placed, routed or",
        "run.**",
        "Clocks are assumptions: what similar FP32 designs reach on such parts. Operators,",
        "look-up tables and so the watts are estimates, good to 30 %. Figures of the paper",
        "were measured by its authors, its watts estimated by the vendor's tool. The search ran",
        "under its default budget: 80 % of the DSP slices, 75 % of the block RAM, 70 % of the",
        "look-up tables.",
    )
    yield "![GFLOPS of the paper, of our sources and of our specification](figures.svg)"
    yield _prose(
        "Twice: for the kernel **as specified**",
        "([planner.md](planner.md#specified-beyond-hls)), and **as its sources in hls are**, which",
        "is what a bitstream could be made of today.",
    )
    rows = [(a, a.reached(PLANNED), a.reached(WRITTEN)) for a in targets.TARGETS]
    yield _table(
        ("network", "board", "batch", "paper", "asked", "as specified", "sources in hls"),
        (
            (a.network, a.board, f"{a.batch}", a.paper, a.asked, str(planned), str(written))
            for a, planned, written in rows
        ),
    )
    vgg = rows[0][1].found.schedule
    norms = all(planned.enough for a, planned, _ in rows if a.network == "vgg16bn")
    yield _prose(
        f"The {targets.per_watt(vgg):.2f} GFLOPS/W of VGG-16 are nearer to what was asked than the",
        "model of power is sure: what a LUT draws, an assumption, is alone worth",
        f"{targets.watts_spread(vgg):.2f} GFLOPS/W either way. Whether 12 would be reached is",
        "open.",
        f"Batch normalisation {'keeps within' if norms else 'misses'} its 5 % by less than closed",
        "form and simulator differ.",
    )
    yield _prose(
        "The design points (two copies of each buffer; words a cycle of each port), as specified,",
        "then of the sources:",
    )
    yield _table(
        ("network", "board", "batch", "T", "array", "MHz", "DSP", "BRAM36", "LUT", "operators",
         "pixels in / out, taps", "ports"),
        (
            (a.network, a.board, f"{a.batch}", *_point(reached[which].found))
            for which in range(2)
            for a, *reached in rows
        ),
    )  # fmt: skip


def _point(found: Found) -> Sequence[str]:
    design, need = found.design, found.schedule.resources
    fabric = boards.load(found.schedule.board).fabric
    lut = need.lut or 0
    return (
        f"{design.t}",
        figures.shape(design),
        f"{design.clock_mhz:g}",
        f"{need.dsp} ({need.dsp / fabric.dsp:.0%})",
        f"{need.bram36} ({need.bram36 / fabric.bram36:.0%})",
        f"{lut:,} ({lut / fabric.lut:.0%})",
        f"{design.fmul}, {design.fadd_tree}, {design.fadd_sum}",
        f"{design.feature_depth} / {design.output_depth}, {design.weight_tiles}",
        f"{design.feature_words}, {design.weight_words}, {design.result_words}",
    )


def _reasons() -> Iterator[str]:
    yield "## Where the difference comes from"
    yield _prose(
        "From the published kernel, by the paper's own cost model, to ours, one change after",
        "another. The third row is the published kernel as it is, at our clock and with our",
        "number of multipliers. GFLOPS, and what the change is worth.",
    )
    for network, board, batch in (
        ("vgg16", "zcu102", 16), ("cifar1x", "zcu102", 128), ("cifar1x", "zcu102", 1),
        ("cifar1x", "pynq-z1", 128),
    ):  # fmt: skip
        yield f"### {network}, {board}, batch {batch}"
        yield _steps(figures.ablation(network, board, batch))
    yield _prose(
        "On VGG-16 most of it is clock and array: its maps are large, so that the published",
        "kernel waits little. On small maps the published kernel waits for transfers to start.",
    )


def _written() -> Iterator[str]:
    yield "## What the sources in hls do otherwise"
    yield _prose(
        "The model is of the kernel as specified. Its array, loops, tiles and iterations are those",
        "of the sources; its memory side is not in every point. Each line by itself, GFLOPS:",
    )
    kept = {}
    for network, batch in (("vgg16", 16), ("cifar1x", 128), ("cifar1x", 1)):
        kept[f"{network}, batch {batch}"] = list(figures.as_written(network, "zcu102", batch))
    yield _table(
        ("zcu102", *kept),
        (
            (steps[0].change, *(f"{step.gflops:.1f}" for step in steps))
            for steps in zip(*kept.values(), strict=True)
        ),
    )

    yield "## All boards"
    yield _prose(
        '"1X" at batch 128, GFLOPS (array, GFLOPS/W): as specified, and with the sources as they',
        "are.",
    )
    yield _table(
        ("board", "specified", "hls today", "a larger array does not fit (specified)"),
        (
            (one.board, _short(one.planned), _short(one.written), one.planned.limit)
            for one in figures.everywhere("cifar1x", 128)
        ),
    )


def _short(found: Found) -> str:
    design, outcome = found.design, found.schedule
    efficiency = targets.per_watt(outcome)
    return f"{outcome.gflops:.1f} ({figures.shape(design)}, {efficiency:.1f})"


def _sensitivity() -> Iterator[str]:
    yield "## Clock"
    yield "VGG-16 on a ZCU102 at batch 16, the same design at other clocks:"
    yield _table(
        ("MHz", "GFLOPS", "GFLOPS/W", "share of the array's peak"),
        (
            (f"{clock:g}", f"{s.gflops:.1f}", f"{targets.per_watt(s):.2f}",
             f"{s.gflops / s.peak_gflops:.1%}")
            for clock, s in figures.clocks("vgg16", "zcu102", 16)
        ),
    )  # fmt: skip
    yield "## Batch"
    yield "The design for batch 128, GFLOPS:"
    curves = {
        board: dict(figures.batches("cifar1x", board, BATCHES)) for board in ("zcu102", "pynq-z1")
    }
    yield _table(
        ("cifar1x", *(f"{size}" for size in BATCHES)),
        ((board, *(f"{curve[size]:.1f}" for size in BATCHES)) for board, curve in curves.items()),
    )


def _shortfalls() -> Iterator[str]:
    yield "## What holds batch 1 up"
    one = figures.by_operation("cifar1x", "zcu102", 1)
    many = figures.by_operation("cifar1x", "zcu102", 128)
    yield "Cycles an image by kind of command, cifar1x on a ZCU102:"
    yield _table(
        ("command", "batch 1", "batch 128"),
        (
            (op.name, f"{one[op]:,.0f}", f"{many[op]:,.0f}")
            for op in sorted(one, key=one.__getitem__, reverse=True)
        ),
    )
    array = figures.array_cycles("cifar1x", "zcu102", 1)
    total, rest = sum(one.values()), sum(many.values())
    yield _prose(
        "At batch 1 the whole step lies in the window: maps, weights, velocities, commands",
        "([planner.md](planner.md#specified-beyond-hls)). Of the",
        f"{total:,.0f} cycles the array computes in {array.computing:,}; after {array.emptied} of",
        f"its {array.passes} passes its pipeline runs empty, {array.emptying:,} cycles; the rest",
        "is pools, loss, fetching commands, and the first load and last store of each command,",
        f"which nothing runs beside. At batch 128 an image takes {rest:,.0f}, {rest / total:.2%}",
        "of that: what was asked, with nothing to spare. The simulator says the same; but the",
        "design takes all look-up tables of its budget, which are estimates, and none is left for",
        "fetching commands ahead.",
    )
    yield "## What batch normalisation costs"
    yield from _norm_costs()


def _norm_costs() -> Iterator[str]:
    yield _prose(
        "Batch normalisation adds passes over all maps at the pace of ports and DRAM. As",
        "specified, two of them go: sums are taken while another command stores the map",
        "([planner.md](planner.md#specified-beyond-hls)).",
    )
    rows = [(change, f"{share:.1%}") for change, share in figures.norm_costs()]
    yield _table(("vgg16bn, zcu102, batch 8", "below vgg16"), rows)
    costs = figures.by_operation("vgg16bn", "zcu102", 8)
    total = sum(costs.values())
    yield _prose(
        f"What remains is BN_BP ({costs[Op.BN_BP] / total:.1%} of the step) and BN_FP",
        f"({costs[Op.BN_FP] / total:.1%}). Normalising while the next layer loads would save the",
        "latter, but takes a multiplier and an adder for each of 24 words a cycle that three ports",
        "bring: some 15,000 look-up tables that this design does not have left. The step keeps the",
        "outputs of BN for the way back where memory allows (`Plan.keep_norms`).",
    )


def _steps(steps: Iterable[Step]) -> str:
    rows, before = [], 0.0
    for step in steps:
        gain = f"{step.gflops - before:+.1f}" if before else ""
        rows.append((step.change, f"{step.gflops:.1f}", gain))
        before = step.gflops
    return _table(("", "GFLOPS", "change"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _prose(*lines: str) -> str:
    return textwrap.fill(" ".join(lines), WIDTH, break_long_words=False, break_on_hyphens=False)
