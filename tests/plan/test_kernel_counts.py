"""The model's iterations and passes against what the HLS kernel counts when csim runs it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eftraind import networks
from eftraind.accel import kernel
from eftraind.isa import Op, Program, Slot
from eftraind.plan import conv_cost, lower, map_cost
from eftraind.plan.cost import CONVOLUTIONS
from eftraind.plan.design import AS_WRITTEN, Design
from eftraind.plan.job import Job
from eftraind.plan.tiling import tiling_of

csim = pytest.importorskip("eftraind.accel.csim", reason="this tree has no csim device")
registers = pytest.importorskip("eftraind.registers")

OTHERWISE = (Op.LOSS, Op.UPDATE, Op.LOAD, Op.NORM, Op.COPY)
"""Commands whose steps the kernel counts in other units than cycles of the model."""


def counted(program: Program, library: Path | None) -> tuple[Any, Design]:
    """The kernel's report on a program over zeros, and the design it is."""
    device = csim.CsimDevice(program.lanes, memory_bytes=1 << 28, library=library)
    for slot, words in program.need_words.items():
        if slot is not Slot.NONE:
            buffer = device.allocate(max(words, 64))
            device.bind(slot, buffer)
            if slot is Slot.CONSTS:
                device.write(buffer, np.ones(words, np.float32))
    device.run(device.load(program), 0, len(program.commands))
    report, sizes = device.last_report, device.sizes
    device.close()
    t = program.lanes
    design = Design(
        t, t, t, sizes.pixels, 100.0, "fulldsp", "fabric", "fabric", sizes.feature_depth,
        sizes.output_depth, sizes.weight_tiles, 4, 4, 4, traits=AS_WRITTEN, revisit=sizes.revisit,
    )  # fmt: skip
    return report.entries, design


def agree(network: str, t: int, batch: int, library: Path | None = None) -> None:
    program = lower.training(networks.load(network), t, lower.Plan(batch, batch))
    entries, design = counted(program, library)
    steps, passes = registers.Entry.STEPS, registers.Entry.PASSES
    for c, entry in zip(program.commands, entries, strict=True):
        if c.op in CONVOLUTIONS:
            modelled = conv_cost.iterations(c, tiling_of(c, design), design)
            assert modelled == (entry[steps], entry[passes]), c
        elif c.op not in OTHERWISE:
            assert map_cost.traffic(Job(c), design).work == entry[steps], c


@pytest.mark.parametrize(
    ("network", "t", "batch"), [("cifar1x", 16, 3), ("resnet20", 16, 2), ("lenet5", 8, 4)]
)
def test_iterations_are_the_kernel_s(network: str, t: int, batch: int) -> None:
    agree(network, t, batch)


@pytest.mark.parametrize("pixels", [2, 3])
def test_iterations_of_several_pixels_are_the_kernel_s(pixels: int, tmp_path: Path) -> None:
    """Of an odd depth, so that the last word of an output buffer is not whole."""
    sizes = registers.KernelSizes(8, 2048, 1023, 64, pixels=pixels)
    kernel.build(tmp_path / "kernel.so", sizes)
    for network, batch in (("cifar1x", 3), ("resnet20", 2), ("lenet5", 4)):
        agree(network, 8, batch, tmp_path / "kernel.so")
