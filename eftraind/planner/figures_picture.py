"""The picture of docs/figures.md: the paper's boards, and what our kernel would do on them.

Owns the look only."""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from eftraind.planner.targets import Rival

PAPER, WRITTEN, PLANNED, FAINT = "#e08a1e", "#1b6ca8", "#9cc3e0", "#dddddd"


def draw(path: Path, rivals: list[Rival]) -> None:
    """Write it; its format follows the ending of `path`."""
    # With a salt and without a date the same model gives the same SVG bytes.
    with matplotlib.rc_context(
        {"svg.hashsalt": "eftraind", "svg.fonttype": "none", "font.size": 9.5}
    ):
        figure = Figure(figsize=(9.5, 2.9), dpi=150, layout="constrained")
        axes = figure.subplots(1, len(rivals), width_ratios=[1.0] * len(rivals))
        for one, rival in zip(axes, rivals, strict=True):
            _bars(one, rival)
        handles = [
            Patch(color=PAPER, label="EF-Train paper, measured, 100 MHz"),
            Patch(color=WRITTEN, label="our sources, modelled"),
            Patch(
                color=PLANNED,
                label="our specification, modelled; both 143 or 200 MHz, assumed",
            ),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _bars(axes: Any, rival: Rival) -> None:
    rates = (rival.paper, rival.written, rival.planned)
    for place, (rate, color) in enumerate(zip(rates, (PAPER, WRITTEN, PLANNED), strict=True)):
        axes.bar(place, rate, width=0.75, color=color, zorder=2)
        axes.text(place, rate, f"{rate:.1f}", ha="center", va="bottom", fontsize=9)
    axes.set_xticks([])
    axes.set_ylim(0, 1.15 * max(rates))
    axes.set_title(rival.title, fontsize=9.5)
    axes.grid(axis="y", color=FAINT, lw=0.5, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_subplotspec().is_first_col():
        axes.set_ylabel("GFLOPS of a training step, FP32")
