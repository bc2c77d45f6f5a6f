"""Watts and joules: the fit, its residuals, and that it errs on the safe side."""

import dataclasses

import pytest

from eftraind.errors import ConfigError
from eftraind.plan import energy
from eftraind.plan.ef_train import model
from eftraind.plan.ef_train.published import BUILDS
from eftraind.planner import reproduction


def test_the_constants_are_the_fit() -> None:
    points = [(b.dsp, b.bram36, b.power_watts) for b in BUILDS if b.board == "zcu102"]
    board, dsp, ram = energy.fit(points)
    assert board == pytest.approx(energy.BOARD_WATTS["zynqmp"], abs=0.005)
    assert dsp == pytest.approx(energy.DSP_WATTS, rel=0.005)
    assert ram == pytest.approx(energy.BLOCK_RAM_WATTS, rel=0.02)


@pytest.mark.parametrize("build", BUILDS, ids=lambda b: f"{b.network}-{b.board}")
def test_the_papers_designs_draw_what_it_says(build: object) -> None:
    family = "zynqmp" if build.board == "zcu102" else "zynq7000"  # type: ignore[attr-defined]
    drawn = energy.power(family, 100, dsp=build.dsp, bram36=build.bram36)  # type: ignore[attr-defined]
    assert drawn.total_watts == pytest.approx(build.power_watts, rel=0.02)  # type: ignore[attr-defined]


def test_only_the_dynamic_part_grows_with_the_clock() -> None:
    slow, fast = (energy.power("zynqmp", mhz, dsp=1000, bram36=500) for mhz in (100, 200))
    assert fast.board_watts == slow.board_watts
    assert fast.array_watts == pytest.approx(2 * slow.array_watts)
    assert fast.memory_watts == pytest.approx(2 * slow.memory_watts)


def test_luts_and_traffic_cost_and_less_of_them_than_seen_saves_nothing() -> None:
    def watts(**more: float) -> float:
        return energy.power("zynqmp", 200, dsp=1000, bram36=500, **more).total_watts  # type: ignore[arg-type]

    assert watts(lut=64_000) == pytest.approx(watts())
    assert watts(lut=164_000) == pytest.approx(watts() + 2.0)
    assert watts(traffic_gb_s=11.1) == pytest.approx(watts() + 1.0)
    assert watts(traffic_gb_s=0.2) == watts()
    assert watts(uram=64) > watts()


def test_the_spread_is_that_of_the_assumption_about_luts() -> None:
    def power(**more: int) -> energy.Power:
        return energy.power("zynqmp", 200, dsp=1000, bram36=500, **more)

    assert power().spread_watts == power(lut=64_000).spread_watts == 0
    assert power(lut=164_000).spread_watts == pytest.approx(1.0)
    assert power(lut=44_000).spread_watts == pytest.approx(0.2)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ConfigError, match="zynqmp, zynq7000"):
        energy.power("versal", 100, dsp=1, bram36=1)


def test_joules_of_an_image_a_step_and_an_adaptation_belong_together() -> None:
    step = model.plan(reproduction.network("cifar1x"), model.ZCU102, 8)
    found = energy.of_schedule(step, "zynqmp", adaptation_steps=50)
    assert found.step_joules == pytest.approx(found.watts * step.seconds)
    assert found.image_joules == pytest.approx(found.step_joules / 8)
    assert found.adaptation_joules == pytest.approx(50 * found.step_joules)
    double = dataclasses.replace(step, clock_mhz=200)
    assert energy.of_schedule(double, "zynqmp", 1).step_joules < found.step_joules
