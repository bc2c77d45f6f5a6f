"""The picture of docs/reproduction.md: printed and modelled throughputs. Owns the look only."""

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.patches
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from eftraind.plan.ef_train import published
from eftraind.planner import reproduction
from eftraind.planner.reproduction import Row

MODEL, PRINTED, INK, FAINT = "#1b6ca8", "#e08a1e", "#333333", "#dddddd"
CURVES = {"vgg16": "VGG-16", "vgg16bn": "VGG-16 with BN", "alexnet": "AlexNet"}
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


def draw(path: Path) -> None:
    """Write it; its format follows the ending of `path`."""
    # With a salt and without a date the same model gives the same SVG bytes.
    with matplotlib.rc_context(
        {"svg.hashsalt": "eftraind", "svg.fonttype": "none", "font.size": 9.5}
    ):
        figure = Figure(figsize=(11.5, 3.9), dpi=150, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
        _end_to_end(left, reproduction.end_to_end_rows())
        _batches(right)
        figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _end_to_end(axes: Any, rows: list[Row]) -> None:
    ordered = sorted(rows, key=lambda row: row.printed)
    for place, row in enumerate(ordered):
        axes.barh(place + 0.19, row.printed, height=0.36, color=PRINTED, zorder=2)
        axes.barh(place - 0.19, row.modelled, height=0.36, color=MODEL, zorder=2)
        label = f" {row.modelled:.4g}  ({100 * row.difference:+.1f} %)"
        axes.text(row.modelled, place - 0.21, label, va="center", fontsize=8, color=MODEL)
        axes.text(row.printed, place + 0.17, f" {row.printed:.4g}", va="center", fontsize=8,
                  color=PRINTED)  # fmt: skip
    axes.set_yticks(range(len(ordered)), [row.what.partition(",")[0] for row in ordered])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.22 * max(row.printed for row in rows))
    axes.set_xlabel("GFLOPS")
    axes.grid(axis="x", color=FAINT, lw=0.5, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("a whole training step", fontsize=9.5, loc="left")
    handles = [
        matplotlib.patches.Patch(color=PRINTED, label="printed, measured by the authors"),
        matplotlib.patches.Patch(color=MODEL, label="modelled here"),
    ]
    axes.legend(handles=handles, loc="lower right", frameon=False)


def _batches(axes: Any) -> None:
    for name, label in CURVES.items():
        printed = published.FIGURE21[name]
        batches = [batch for batch in BATCHES if batch <= max(printed)]
        rates = [reproduction.step(name, "zcu102", batch).gflops for batch in batches]
        axes.plot(batches, rates, color=MODEL, lw=1.8, zorder=2)
        axes.scatter(list(printed), list(printed.values()), s=30, color=PRINTED, zorder=3)
        axes.text(batches[-1], rates[-1] + 0.7, label, ha="right", va="bottom", color=INK)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(BATCHES))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(30, 50)
    axes.set_xlabel("batch")
    axes.set_ylabel("GFLOPS")
    axes.grid(color=FAINT, lw=0.5, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("Figure 21: dots printed, lines modelled", fontsize=9.5, loc="left")
