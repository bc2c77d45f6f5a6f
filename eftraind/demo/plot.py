"""The picture of one demo run: accuracy of the served and of the frozen model over samples.

Owns the look of the plot. Reads a finished Story; matplotlib is used without its global state.
"""

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eftraind.demo.story import Result, Story
from eftraind.errors import ConfigError

SERVED, FROZEN, SHIFT, SWAP, ROLLBACK = "#1b6ca8", "#9a9a9a", "#c0392b", "#2e8b57", "#d35400"
FORMATS = (".png", ".svg", ".pdf")


def check_path(path: Path) -> None:
    """Complain before the run, not after it."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"cannot tell the picture format of {path}", remedy=f"end it in {', '.join(FORMATS)}"
        )
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"there is no directory for {path}", remedy="create it first")


def draw(path: Path, story: Story, result: Result) -> None:
    """Write the picture; its format follows the ending of `path`."""
    # With a salt and without a date the same run gives the same SVG bytes.
    with matplotlib.rc_context(
        {"svg.hashsalt": "eftraind", "svg.fonttype": "none", "font.size": 10}
    ):
        figure = Figure(figsize=(9.0, 4.6), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        _curves(axes, story)
        handles = [
            Line2D([], [], color=SERVED, lw=2.2, label="served (keeps learning)"),
            Line2D([], [], color=FROZEN, lw=1.6, ls="--", label="frozen (as it was at the start)"),
            *_marks(axes, story),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
        _labels(axes, story, result)
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        figure.savefig(path, metadata=metadata)


def _curves(axes: Axes, story: Story) -> None:
    samples = [point.samples for point in story.points]
    axes.plot(samples, [100 * p.frozen for p in story.points], color=FROZEN, lw=1.6, ls="--")
    axes.plot(samples, [100 * p.served for p in story.points], color=SERVED, lw=2.2)


def _marks(axes: Axes, story: Story) -> list[Line2D]:
    handles = []
    for mark in story.at("shift"):
        axes.axvline(mark.samples, color=SHIFT, lw=1.4)
        axes.annotate(
            f" the world changes: {story.shift}",
            (mark.samples, 103.5),
            color=SHIFT,
            annotation_clip=False,
        )
    for kind, marker, colour in (("swap", "^", SWAP), ("rollback", "v", ROLLBACK)):
        places = [mark.samples for mark in story.at(kind)]
        if places:
            axes.plot(places, [2.0] * len(places), marker, color=colour, ms=7, clip_on=False)
            handles.append(
                Line2D([], [], color=colour, marker=marker, ls="", label=f"{kind} ({len(places)})")
            )
    return handles


def _labels(axes: Axes, story: Story, result: Result) -> None:
    axes.set_ylim(0, 108)
    axes.set_xlim(left=0)
    axes.set_yticks(range(0, 101, 20))
    axes.grid(axis="y", color="#dddddd", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("labelled samples scored")
    axes.set_ylabel("accuracy on recent samples, before learning them [%]")
    axes.set_title(
        f"{story.network}, shift {story.shift}: on held-out images "
        f"{result.accuracy_before_shift:.1%} before, then served "
        f"{result.accuracy_after_shift_served:.1%}, frozen "
        f"{result.accuracy_after_shift_frozen:.1%}",
        fontsize=10,
        loc="left",
    )
