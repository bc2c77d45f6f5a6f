"""Watts of a design, and joules of an image, a step and an adaptation: modelled, never measured.

    P = board + clock / 100 MHz * (DSP, LUT and block RAM times what each draws) + DRAM traffic

The board's share and what DSP and block RAM draw are fitted to the six designs of the EF-Train
paper, all at 100 MHz. The paper's figures are estimates of the vendor's tool after placement, not
measurements, and so is everything built on them. `SPLIT_LUT_WATTS` says how LUTs come in, which
the paper does not print. Real boards have sensors: `eftraind.power` reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eftraind.errors import ConfigError
from eftraind.plan.outcome import Schedule

REFERENCE_MHZ = 100.0

BOARD_WATTS: Mapping[str, float] = {"zynqmp": 3.18, "zynq7000": 1.21}
"""Processors, DRAM controller and leakage by family: what the fit leaves at zero clock."""

DSP_WATTS = 2.83e-3
"""At 100 MHz, with the LUTs and wires that go with a DSP slice in the paper's designs."""

BLOCK_RAM_WATTS = 0.33e-3
"""Of one 36-Kbit block at 100 MHz."""

ULTRA_RAM_WATTS = 8 * BLOCK_RAM_WATTS
"""Assumed: as eight block RAMs of 36 Kbit, which hold as much."""

SPLIT_LUT_WATTS = 10e-6
"""Of one LUT and its registers at 100 MHz. Assumed. It is taken off DSP_WATTS for the LUTs that a
DSP slice of the paper's designs brings (`LUTS_PER_DSP`), so that a design with the paper's mix
draws the same and one with more LUTs per DSP slice draws more."""

LUT_SPREAD = 0.5
"""SPLIT_LUT_WATTS may be this share larger or smaller. It matters only to designs whose mix of
LUTs and DSP slices is not the paper's."""

LUTS_PER_DSP = 64
"""Assumed: an FP32 multiplier and adder on 5 DSP slices take about 320 LUTs."""

TRAFFIC_WATTS_PER_GB_S = 0.1
"""Assumed: DRAM interface and chips, for traffic beyond TRAFFIC_INCLUDED_GB_S."""

TRAFFIC_INCLUDED_GB_S = 1.1
"""Of VGG-16 on the paper's ZCU102; what the fit has seen."""


@dataclass(frozen=True)
class Power:
    """Modelled watts, by what draws them."""

    board_watts: float
    array_watts: float
    """DSP slices and LUTs"""
    memory_watts: float
    """block RAM and UltraRAM"""
    traffic_watts: float
    spread_watts: float
    """How far the total may be off either way by the assumption about LUTs alone."""

    @property
    def total_watts(self) -> float:
        return self.board_watts + self.array_watts + self.memory_watts + self.traffic_watts


@dataclass(frozen=True)
class Energy:
    """Modelled joules."""

    power: Power
    image_joules: float
    step_joules: float
    adaptation_joules: float
    adaptation_steps: int

    @property
    def watts(self) -> float:
        return self.power.total_watts


def power(
    family: str,
    clock_mhz: float,
    *,
    dsp: int,
    bram36: int,
    uram: int = 0,
    lut: int | None = None,
    traffic_gb_s: float = 0.0,
) -> Power:
    """Of a design that is busy all the time. `lut=None`: as many as the paper's mix has.

    >>> round(power("zynqmp", 100, dsp=1508, bram36=787).total_watts, 2)  # 7.712 in the paper
    7.71
    """
    if family not in BOARD_WATTS:
        known = ", ".join(BOARD_WATTS)
        raise ConfigError(f"no power is known of family {family!r}", remedy=f"known: {known}")
    scale = clock_mhz / REFERENCE_MHZ
    luts = LUTS_PER_DSP * dsp if lut is None else lut
    slice_watts = DSP_WATTS - LUTS_PER_DSP * SPLIT_LUT_WATTS
    return Power(
        BOARD_WATTS[family],
        scale * (dsp * slice_watts + luts * SPLIT_LUT_WATTS),
        scale * (bram36 * BLOCK_RAM_WATTS + uram * ULTRA_RAM_WATTS),
        TRAFFIC_WATTS_PER_GB_S * max(0.0, traffic_gb_s - TRAFFIC_INCLUDED_GB_S),
        scale * abs(luts - LUTS_PER_DSP * dsp) * SPLIT_LUT_WATTS * LUT_SPREAD,
    )


def of_schedule(schedule: Schedule, family: str, adaptation_steps: int) -> Energy:
    """Of one modelled step, and of so many of them."""
    moved = sum(cost.moved_bytes for cost in schedule.layers)
    resources = schedule.resources
    drawn = power(
        family,
        schedule.clock_mhz,
        dsp=resources.dsp,
        bram36=resources.bram36,
        uram=resources.uram,
        lut=resources.lut,
        traffic_gb_s=moved / schedule.seconds / 1e9,
    )
    step = drawn.total_watts * schedule.seconds
    return Energy(drawn, step / schedule.batch, step, adaptation_steps * step, adaptation_steps)


def fit(points: Sequence[tuple[int, int, float]]) -> tuple[float, float, float]:
    """Least squares of (DSP, block RAM, watts) at 100 MHz: watts of the board, of a DSP slice and
    of a block RAM. The constants above are its outcome for the paper's five ZCU102 designs."""
    given = np.array(points, dtype=np.float64)
    columns = np.column_stack([np.ones(len(given)), given[:, :2]])
    board, dsp, bram = np.linalg.lstsq(columns, given[:, 2], rcond=None)[0]
    return float(board), float(dsp), float(bram)
