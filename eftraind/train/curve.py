"""The learning curve of one offline run: loss and accuracies over epochs. Owns the look only."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eftraind.train.progress import Epoch

TEST, TRAIN, LOSS = "#1b6ca8", "#8fb8d8", "#c0392b"


def draw(path: Path, title: str, epochs: Sequence[Epoch]) -> None:
    """Write the picture; its format follows the ending of `path`."""
    numbers = [epoch.number for epoch in epochs]
    # With a salt and without a date the same run gives the same SVG bytes.
    with matplotlib.rc_context(
        {"svg.hashsalt": "eftraind", "svg.fonttype": "none", "font.size": 10}
    ):
        figure = Figure(figsize=(8.0, 4.4), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        tests = [100 * epoch.test_accuracy for epoch in epochs]
        trains = [100 * epoch.train_accuracy for epoch in epochs]
        marker = "o" if len(epochs) == 1 else ""
        axes.plot(
            numbers, trains, marker=marker, ls="-", color=TRAIN, lw=1.6, label="accuracy, training"
        )
        axes.plot(
            numbers, tests, marker=marker, ls="-", color=TEST, lw=2.2, label="accuracy, test images"
        )
        axes.set_ylim(0, 105)
        axes.set_ylabel("accuracy [%]")
        axes.set_xlabel("epochs")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color="#dddddd", lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        losses = axes.twinx()
        values = [epoch.loss for epoch in epochs]
        losses.plot(
            numbers, values, marker=marker, ls="--", color=LOSS, lw=1.4, label="loss, training"
        )
        losses.set_ylim(bottom=0)
        losses.set_ylabel("loss [nats]", color=LOSS)
        losses.spines[["top", "left"]].set_visible(False)
        axes.set_title(f"{title}: {tests[-1]:.2f} % of the test images", fontsize=10, loc="left")
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
