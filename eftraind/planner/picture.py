"""The picture of a plan: where its layers stand under the roofline, and what each costs. Owns the
look only; every figure in it is modelled."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.patches
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from eftraind.plan.board import Board
from eftraind.plan.outcome import LayerCost, Phase, Schedule, gflops

COLOURS = {
    Phase.FP: "#1b6ca8",
    Phase.BP: "#e08a1e",
    Phase.WU: "#4a9d5f",
    Phase.OTHER: "#9a9a9a",
}
ORDER = tuple(Phase)
INK, FAINT = "#333333", "#dddddd"
BAR_INCHES = 0.21
MOST_BARS, MOST_NAMES = 60, 8


def draw(path: Path, schedule: Schedule, board: Board) -> None:
    """Write it; its format follows the ending of `path`."""
    names = _names(schedule)
    height = max(4.6, 1.9 + BAR_INCHES * min(len(names), MOST_BARS))
    # With a salt and without a date the same plan gives the same SVG bytes.
    with matplotlib.rc_context(
        {"svg.hashsalt": "eftraind", "svg.fonttype": "none", "font.size": 9.5}
    ):
        figure = Figure(figsize=(11.5, height), dpi=150, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.15))
        _roofline(left, schedule, board)
        _bars(right, schedule, names)
        figure.suptitle(
            f"{schedule.network} on {board.title}, batch {schedule.batch}, kernel "
            f"{schedule.kernel}: {schedule.gflops:.1f} GFLOPS, "
            f"{1e3 * schedule.seconds_per_image:.4g} ms an image (modelled)",
            fontsize=11.5,
            color=INK,
        )
        figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _roofline(axes: Any, schedule: Schedule, board: Board) -> None:
    """Work for each byte of DRAM against the rate, on logarithmic axes."""
    points = [c for c in schedule.layers if c.operations and c.moved_bytes]
    intensity = [cost.operations / cost.moved_bytes for cost in points]
    rates = [gflops([cost], schedule.clock_mhz) for cost in points]
    peak, bandwidth = schedule.peak_gflops, board.memory.usable_bytes_per_s / 1e9
    low = min([*intensity, peak / bandwidth]) / 2.5
    high = max([*intensity, peak / bandwidth]) * 2.5
    ridge = peak / bandwidth
    axes.plot([low, ridge, high], [low * bandwidth, peak, peak], color=INK, lw=1.6, zorder=2)
    axes.fill_between(
        [low, ridge, high], [low * bandwidth, peak, peak], 1e-6, color="#f3f5f7", zorder=0
    )
    largest = max((cost.cycles for cost in points), default=1)
    for phase in (Phase.FP, Phase.BP, Phase.WU):
        chosen = [n for n, cost in enumerate(points) if cost.phase is phase]
        axes.scatter(
            [intensity[n] for n in chosen],
            [rates[n] for n in chosen],
            s=[18 + 150 * points[n].cycles / largest for n in chosen],
            color=COLOURS[phase],
            alpha=0.75,
            lw=0.6,
            edgecolor="white",
            zorder=3,
            label=phase.value,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(min([*rates, peak]) / 2.2, peak * 2.0)
    axes.text(
        high / 1.08, peak * 1.07, f"array: {peak:.4g} GFLOPS", ha="right", va="bottom", color=INK
    )
    _slope_label(axes, low, bandwidth, ridge)
    _name_the_slow(axes, points, schedule.clock_mhz, peak)
    axes.set_xlabel("operations for each byte of DRAM traffic")
    axes.set_ylabel("GFLOPS")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)
    axes.grid(color=FAINT, lw=0.5, zorder=1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("roofline: a dot a layer and phase, its area the time", fontsize=9.5, loc="left")
    axes.legend(loc="lower right", frameon=False)


def _slope_label(axes: Any, low: float, bandwidth: float, ridge: float) -> None:
    """Below the slope; left out where the slope is hardly seen."""
    start = max(low, axes.get_ylim()[0] / bandwidth)
    if ridge / start > 3:
        at = math.sqrt(start * ridge)
        label = f"  DRAM: {bandwidth:.3g} GB/s"
        axes.text(at, at * bandwidth / 1.25, label, ha="left", va="top", color=INK)


def _name_the_slow(axes: Any, points: Sequence[LayerCost], clock_mhz: float, peak: float) -> None:
    """Names of layers that reach less than half of the array, once each."""
    named: set[str] = set()
    for cost in sorted(points, key=lambda cost: -cost.cycles):
        rate = gflops([cost], clock_mhz)
        if rate < peak / 2 and cost.layer not in named and len(named) < MOST_NAMES:
            named.add(cost.layer)
            at = (cost.operations / cost.moved_bytes, rate)
            axes.annotate(
                cost.layer,
                at,
                xytext=(8, -3),
                textcoords="offset points",
                fontsize=8,
                color="#777777",
            )


def _names(schedule: Schedule) -> list[str]:
    """Layers in the order of the forward pass, then what belongs to none."""
    return list(dict.fromkeys(cost.layer for cost in schedule.layers))


def _bars(axes: Any, schedule: Schedule, names: Sequence[str]) -> None:
    """Milliseconds an image by layer and phase; of very deep networks the longest layers."""
    per_ms = schedule.clock_mhz * 1e3 * schedule.batch
    spent = {name: [c for c in schedule.layers if c.layer == name] for name in names}
    total = {name: sum(c.cycles for c in costs) for name, costs in spent.items()}
    kept = set(sorted(names, key=lambda name: -total[name])[:MOST_BARS])
    shown = [name for name in names if name in kept]
    for row, name in enumerate(shown):
        start = 0.0
        for cost in sorted(spent[name], key=lambda cost: ORDER.index(cost.phase)):
            width = cost.cycles / per_ms
            axes.barh(row, width, left=start, height=0.72, color=COLOURS[cost.phase], zorder=2)
            start += width
        axes.text(start, row, f"  {_bounds(spent[name])}", va="center", fontsize=8, color="#777777")
    axes.set_yticks(range(len(shown)), shown)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 1.22 * max(total.values()) / per_ms)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=FAINT, lw=0.5, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("milliseconds an image")
    left_out = f"; the {len(shown)} longest of {len(names)}" if len(shown) < len(names) else ""
    axes.set_title(
        f"time by layer and phase, and what binds it{left_out}", fontsize=9.5, loc="left"
    )
    parts = [p for p in Phase if any(c.phase is p for c in schedule.layers)]
    handles = [matplotlib.patches.Patch(color=COLOURS[p], label=p.value) for p in parts]
    axes.legend(handles=handles, loc="lower right", frameon=False)


def _bounds(costs: Sequence[LayerCost]) -> str:
    """What binds its phases, the longest first."""
    ordered = sorted(costs, key=lambda cost: -cost.cycles)
    return ", ".join(dict.fromkeys(cost.bound_by for cost in ordered))
