"""How the cost of a training step grows with the batch, the map and the part that learns.

    python benchmarks/scaling.py [--threads 2] [--json F] [--plot docs/scaling.svg]

Time per image should not depend on the batch, nor time per pixel on the map, and what does not
learn should cost no way back: `saved` is the share of the step's time that training the last K
layers leaves out, `saved_operations` the share of its multiply-adds.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from _versus import Ours

from eftraind import graph_build, networks
from eftraind.isa import Op
from eftraind.plan import lower, trainable
from eftraind.plan.tiles import macs

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
SIDES = (8, 16, 32, 64, 128, 224)
PARTS = ("all", "last-4", "last-2", "last-1", "norms-and-biases")


def seconds_of(ours, least_s=0.4):
    """Median of as many steps as take `least_s` together, at least five."""
    for _ in range(3):
        ours.step()
    taken = []
    while len(taken) < 5 or sum(taken) < least_s:
        start = time.perf_counter()
        ours.step()
        taken.append(time.perf_counter() - start)
    ours.device.close()
    return statistics.median(taken)


def step_of(graph, batch, threads, part="all"):
    learns = trainable.resolve(graph, (part,))
    plan = lower.Plan(batch, min(8, batch), trainable=learns)
    return Ours(graph, lambda t: lower.training(graph, t, plan), threads)


def over_batches(threads):
    graph = networks.load("cifar1x")
    for batch in BATCHES:
        seconds = seconds_of(step_of(graph, batch, threads))
        yield {"batch": batch, "us_per_image": round(1e6 * seconds / batch, 1)}


def square(side):
    """Two layers of 32 channels, whose maps fill the caches or do not."""
    layers = [
        {"name": "c1", "kind": "conv", "channels": 32, "kernel": 3, "relu": True},
        {"name": "c2", "kind": "conv", "channels": 32, "kernel": 3, "relu": True},
        {"name": "pool", "kind": "globalpool"},
        {"name": "out", "kind": "linear", "channels": 10},
    ]
    given = {"name": "square", "input": {"shape": [side, side, 3]}, "classes": 10, "layers": layers}
    return graph_build.from_mapping(given)


def over_maps(threads):
    for side in SIDES:
        seconds = seconds_of(step_of(square(side), 8, threads))
        yield {"side": side, "ns_per_pixel": round(1e9 * seconds / (8 * side * side), 1)}


def operations(ours):
    return sum(macs(c) for c in ours.program.commands if c.op is not Op.LOAD)


def over_parts(threads, network):
    graph, whole = networks.load(network), None
    for part in PARTS:
        ours = step_of(graph, 8, threads, part)
        count, seconds = operations(ours), seconds_of(ours)
        whole = whole or (seconds, count)
        yield {
            "network": network,
            "trainable": part,
            "us_per_image": round(1e6 * seconds / 8, 1),
            "saved": round(1 - seconds / whole[0], 3),
            "saved_operations": round(1 - count / whole[1], 3),
        }


def draw(path, batches, maps, threads):
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "eftraind", "svg.fonttype": "none"}):
        figure = Figure(figsize=(8.4, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        panels = (
            (left, batches, "batch", "us_per_image", "µs per image", "“1X”, a training step"),
            (right, maps, "side", "ns_per_pixel", "ns per pixel", "two layers of 32 channels"),
        )
        for axes, rows, x, y, label, title in panels:
            places = [row[x] for row in rows]
            axes.plot(places, [row[y] for row in rows], "o-", color="#1b6ca8")
            axes.set_xscale("log", base=2)
            axes.set_xticks(places, [str(place) for place in places])
            axes.set_ylim(0, 1.1 * max(row[y] for row in rows))
            axes.set_xlabel("images in a batch" if x == "batch" else "rows and columns of the map")
            axes.set_ylabel(label)
            axes.set_title(f"{title}, {threads} threads", fontsize=9, loc="left")
            axes.grid(axis="y", color="#dddddd", lw=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    tables = {
        "batches": list(over_batches(given.threads)),
        "maps": list(over_maps(given.threads)),
        "parts": [r for n in ("cifar1x", "resnet20") for r in over_parts(given.threads, n)],
    }
    for name, rows in tables.items():
        print(name)
        for row in rows:
            print("  " + "  ".join(f"{key} {value}" for key, value in row.items()))
    if given.json:
        given.json.write_text(json.dumps(tables, indent=2) + "\n", encoding="utf-8")
    if given.plot:
        draw(given.plot, tables["batches"], tables["maps"], given.threads)


if __name__ == "__main__":
    main()
