"""Table 1 of the paper: cycles of one convolution by which loops run in parallel. Equal arrays of
256 multiply-accumulators are compared; memory is left out."""

from eftraind.graph import Graph
from eftraind.plan.ef_train.cycles import ceil_div
from eftraind.plan.ef_train.work import Work, convolutions
from eftraind.plan.outcome import Phase

SIDE = 16
LANES = SIDE * SIDE


def by_batch(work: Work, batch: int) -> int:
    """Tb = 256 images at once."""
    return ceil_div(batch, LANES) * work.macs


def by_map(work: Work, batch: int) -> int:
    """16 x 16 pixels at once."""
    pixels = ceil_div(work.r, SIDE) * ceil_div(work.c, SIDE)
    return batch * work.m * work.n * pixels * work.taps


def by_channel(work: Work, batch: int) -> int:
    """16 x 16 channels at once, the paper's choice."""
    channels = ceil_div(work.m, SIDE) * ceil_div(work.n, SIDE)
    return batch * channels * work.r * work.c * work.taps


def utilisation(graph: Graph, batch: int) -> dict[str, float]:
    """Share of the array that works, over all forward convolutions of a network."""
    works = [work for work in convolutions(graph) if work.phase is Phase.FP]
    ideal = batch * sum(work.macs for work in works) / LANES
    ways = {"batch": by_batch, "map": by_map, "channel": by_channel}
    return {
        name: ideal / sum(cycles(work, batch) for work in works) for name, cycles in ways.items()
    }
