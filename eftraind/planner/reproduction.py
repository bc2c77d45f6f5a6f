"""The model beside the paper's figures: rows with their differences, for tests and for a page.

Owns which design stands for which printed figure, and how far off each row may be.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from eftraind import networks
from eftraind.graph import Graph
from eftraind.plan.ef_train import additions, buffers, published, schedule
from eftraind.plan.ef_train.buffers import Buffers
from eftraind.plan.ef_train.cycles import START_CYCLES, Kernel, phase_cycles
from eftraind.plan.ef_train.model import (
    CLOCK_MHZ,
    PYNQ_Z1,
    ZCU102,
    Design,
    convolution,
    memory_bytes,
    plan,
)
from eftraind.plan.ef_train.published import BUILDS, Build
from eftraind.plan.ef_train.work import Work, convolutions, counted_operations
from eftraind.plan.outcome import LayerCost, Schedule, Tile, gflops

OF_MODEL, OF_MEASUREMENT = 0.04, 0.10
"""How far a row may be from what the paper calculates, and from what it measures end to end."""
TARGETS = {"zcu102": ZCU102, "pynq-z1": PYNQ_Z1}

ALEXNET = Buffers(ifm_words=4096, ofm_words=1024, weight_words=1024)
SMALL_ZCU102 = Buffers(ifm_words=512, ofm_words=512, weight_words=512)
SMALL_PYNQ = Buffers(ifm_words=2048, ofm_words=1024, weight_words=1024)
"""Bank depths that hold the tiles of Table 6 and give the printed block RAMs."""
LENET_ZCU102 = Buffers(ifm_words=1024, ofm_words=512, weight_words=512)
"""Nothing is printed of it but the total of 340 block RAMs, 16 more than "1X"."""


@dataclass(frozen=True)
class Row:
    """One printed figure and the model's."""

    what: str
    printed: float
    modelled: float
    unit: str
    allowed: float
    """Relative difference."""

    @property
    def difference(self) -> float:
        return self.modelled / self.printed - 1

    @property
    def within(self) -> bool:
        return abs(self.difference) <= self.allowed


def network(name: str) -> Graph:
    """As the paper ran it: of AlexNet the convolutions and pools, whose operations are what it
    counts; see `ALEXNET_REMARK`."""
    graph = networks.load(name)
    if name != "alexnet":
        return graph
    last = max(n for n, layer in enumerate(graph.layers) if layer.kind == "maxpool")
    return dataclasses.replace(graph, layers=graph.layers[: last + 1])


ALEXNET_REMARK = (
    "AlexNet here is its convolutions and pools. The printed 34.52 GFLOPS go with 6.25 GFLOP an "
    "image, the convolutions alone; and the curve over the batch leaves less than 10 ms a step for "
    "anything else that does not grow with the batch, while moving the 58.6 million weights of the "
    "original's classifier four times (FP, BP, in and out in WU) would take 586 ms."
)


def design(name: str, board: str, start_cycles: int) -> Design:
    """The build that the paper used for a network."""
    target = TARGETS[board]
    kernel = Kernel(16 if board == "zcu102" else 6, target.stream_words, start_cycles)
    if board == "pynq-z1":
        return Design(kernel, SMALL_PYNQ)
    if name in ("cifar1x", "lenet10"):
        return Design(kernel, SMALL_ZCU102 if name == "cifar1x" else LENET_ZCU102)
    return Design(kernel, ALEXNET if name == "alexnet" else schedule.RELEASED)


def step(
    name: str, board: str, batch: int, start: int = additions.EFFECTIVE_START_CYCLES
) -> Schedule:
    """A whole modelled training step on the paper's build."""
    return plan(network(name), TARGETS[board], batch, design(name, board, start))


# Table 6


def table6() -> Iterator[tuple[Work, Tile, int, Tile, int]]:
    """Of each convolution and phase: the paper's tile and its cycles, then what Algorithm 1 takes
    here and its cycles."""
    kernel = Kernel(16, 4)
    for work in convolutions(network("alexnet")):
        rows, m_on = published.TABLE6_TILES[work.layer, work.phase.value]
        tile = Tile(16, 16, rows, work.c, min(m_on, work.m))
        own = schedule.best_tile(work, ALEXNET, kernel, 4)
        yield (
            work,
            tile,
            phase_cycles(work, tile, 4, kernel),
            own,
            phase_cycles(work, own, 4, kernel),
        )


def table6_rows() -> list[Row]:
    total = sum(cycles for _, _, cycles, _, _ in table6())
    label = "AlexNet convolutions, batch 4, Table 6"
    return [
        Row(f"{label}, modelled", published.TABLE6_MODELLED, total, "cycles", OF_MODEL),
        Row(f"{label}, measured", published.TABLE6_MEASURED, total, "cycles", OF_MEASUREMENT),
    ]


def reuse_rows() -> list[Row]:
    """What it costs if each image brings its weights along, as at batch 1."""
    label, table = "AlexNet, no weight reuse", published.TABLE5_NO_REUSE
    convolution_only = sum(
        phase_cycles(work, tile, 1, Kernel(16, 4)) for work, tile, _, _, _ in table6()
    )
    batch = published.FIGURE18_BATCH
    whole, single = (step("alexnet", "zcu102", images) for images in (batch, 1))
    again = sum(
        images * sum(cost.cycles for cost in outcome.layers if cost.kind == "conv")
        for outcome, images in ((single, batch), (whole, -1))
    )
    seconds = whole.seconds + again / (CLOCK_MHZ * 1e6)
    return [
        Row(f"{label}, convolutions, batch 4, Table 5, measured", table, 4 * convolution_only,
            "cycles", OF_MEASUREMENT),
        Row(f"{label}, one step, batch {batch}, Figure 18, measured",
            published.FIGURE18_NO_REUSE_SECONDS, seconds, "s", OF_MEASUREMENT),
        Row(f"AlexNet, weight reuse, one step, batch {batch}, Figure 18, measured",
            published.FIGURE18_REUSE_SECONDS, whole.seconds, "s", OF_MEASUREMENT),
    ]  # fmt: skip


# The released script


def script(t: int, slots: int) -> list[LayerCost]:
    """VGG-16's convolutions at batch 16 as the released script costs them."""
    kernel = Kernel(t, 4, released=True)
    depth = dataclasses.replace(schedule.RELEASED, weight_words=9 * slots)
    works = convolutions(network("vgg16"))
    return [convolution(work, Design(kernel, depth), 16) for work in works]


def script_rows() -> list[Row]:
    costs = script(16, 64)
    rows = []
    for phase, printed in published.SCRIPT_VGG16.items():
        chosen = [cost for cost in costs if phase in ("all", cost.phase.value)]
        label = f"VGG-16 convolutions, batch 16, released script, {phase}"
        rows.append(Row(label, printed, gflops(chosen, CLOCK_MHZ), "GFLOPS", OF_MODEL))
    seconds = sum(cost.cycles for cost in costs) / (CLOCK_MHZ * 1e6)
    label = "VGG-16 convolutions, batch 16, released script, one step"
    rows.append(Row(label, published.SCRIPT_SECONDS, seconds, "s", OF_MODEL))
    return rows


def by_t_rows() -> list[Row]:
    cases = [(t, 64, printed) for t, printed in published.SCRIPT_BY_T.items()]
    return [
        Row(
            f"VGG-16, released script, T = {t}, {slots} slots",
            printed,
            gflops(script(t, slots), CLOCK_MHZ),
            "GFLOPS",
            OF_MODEL,
        )
        for t, slots, printed in (*cases, published.SCRIPT_DEFAULT)
    ]


# End to end


def end_to_end_row(build: Build, start: int = additions.EFFECTIVE_START_CYCLES) -> Row:
    outcome = step(build.network, build.board, build.batch or 128, start)
    batch = f"batch {build.batch}" if build.batch else "batch not printed, 128 taken"
    label = f"{build.network} on {build.board}, {batch}"
    return Row(label, build.gflops, outcome.gflops, "GFLOPS", OF_MEASUREMENT)


def end_to_end_rows(start: int = additions.EFFECTIVE_START_CYCLES) -> list[Row]:
    return [end_to_end_row(build, start) for build in BUILDS]


def bn_penalty_row() -> Row:
    """Seconds an image that BN adds to VGG-16 at batch 8, from two printed throughputs."""
    operations = counted_operations(network("vgg16")) / 1e9
    curves = published.FIGURE21
    printed = operations / curves["vgg16bn"][8] - operations / curves["vgg16"][8]
    with_bn, without = (step(name, "zcu102", 8) for name in ("vgg16bn", "vgg16"))
    modelled = with_bn.seconds_per_image - without.seconds_per_image
    return Row("VGG-16, what BN adds, batch 8", printed, modelled, "s/image", OF_MEASUREMENT)


def figure21_rows() -> list[Row]:
    return [
        Row(
            f"{name}, batch {batch}",
            printed,
            step(name, "zcu102", batch).gflops,
            "GFLOPS",
            OF_MEASUREMENT,
        )
        for name, curve in published.FIGURE21.items()
        for batch, printed in curve.items()
    ]


def figure19_rows() -> list[Row]:
    """Cycles of "1X" by phase, and those in which the array multiplies."""
    outcome = step("cifar1x", "zcu102", 128)
    rows = []
    for phase, (cycles, macs) in published.FIGURE19.items():
        costs = [c for c in outcome.layers if c.kind == "conv" and c.phase.value == phase]
        total = sum(cost.cycles for cost in costs)
        works = [w for w in convolutions(network("cifar1x")) if w.phase.value == phase]
        busy = 128 * sum(
            -(-work.m // 16) * -(-work.n // 16) * work.r * work.c * work.taps for work in works
        )
        rows.append(Row(f"1X, batch 128, {phase}", cycles, total, "cycles", OF_MEASUREMENT))
        rows.append(Row(f"1X, batch 128, {phase}, MAC only", macs, busy, "cycles", OF_MODEL))
    return rows


# Sizes


def resource_rows() -> list[Row]:
    rows = []
    for build in BUILDS:
        if build.conv_dsp is None or build.conv_bram36 is None:
            continue
        chosen = design(build.network, build.board, START_CYCLES)
        t, label = chosen.kernel.t, f"{build.network} on {build.board}"
        dsp, blocks = buffers.conv_dsp(t), chosen.buffer.total_blocks(t)
        rows.append(Row(f"{label}, D_Conv", build.conv_dsp, dsp, "DSP", OF_MODEL))
        rows.append(Row(f"{label}, B_Conv", build.conv_bram36, blocks, "BRAM36", OF_MODEL))
    return rows


def traffic_rows() -> list[Row]:
    """With the tiles that the paper's t_start leads to, as the released program has them."""
    outcome = step("vgg16bn", "zcu102", 2, START_CYCLES)
    moved = sum(cost.moved_bytes for cost in outcome.layers)
    memory = memory_bytes(network("vgg16bn"), 2)
    label = "VGG-16 with BN, batch 2"
    return [
        Row(f"{label}, DRAM traffic of a step", published.STEP_BYTES, moved, "bytes", OF_MODEL),
        Row(f"{label}, DRAM used", published.STEP_MEMORY_BYTES, memory, "bytes", OF_MODEL),
    ]


def all_rows() -> list[Row]:
    """Every row with the effective t_start; the tests hold each to its limit."""
    return [
        *table6_rows(),
        *script_rows(),
        *by_t_rows(),
        *end_to_end_rows(),
        bn_penalty_row(),
        *reuse_rows(),
        *figure21_rows(),
        *figure19_rows(),
        *resource_rows(),
        *traffic_rows(),
    ]
