"""A plan as plain data for `--json`. Units are in the names; every figure is modelled."""

from dataclasses import asdict
from typing import Any

from eftraind.plan.board import Board
from eftraind.plan.energy import Energy
from eftraind.plan.outcome import LayerCost, Schedule, gflops
from eftraind.planner.kernels import Planned


def mapping(planned: Planned, board: Board, energy: Energy) -> dict[str, Any]:
    """`totals` and `layers`, what was asked, and the sizes of the bitstream, or what hls lacks."""
    schedule, build = planned.schedule, planned.build
    return {
        "kind": "modelled",
        "kernel": schedule.kernel,
        "network": schedule.network,
        "board": board.name,
        "batch": schedule.batch,
        "totals": totals(schedule, energy),
        "layers": [_layer(cost, schedule) for cost in schedule.layers],
        "build": None if build is None else asdict(build),
        "hls_lacks": list(planned.lacking),
    }


def totals(schedule: Schedule, energy: Energy) -> dict[str, Any]:
    resources = schedule.resources
    return {
        "cycles": schedule.cycles,
        "seconds": schedule.seconds,
        "seconds_per_image": schedule.seconds_per_image,
        "gflops": schedule.gflops,
        "peak_gflops": schedule.peak_gflops,
        "operations": schedule.operations,
        "watts": energy.watts,
        "watts_spread": energy.power.spread_watts,
        "gflops_per_watt": schedule.gflops / energy.watts,
        "joules_per_image": energy.image_joules,
        "joules_per_step": energy.step_joules,
        "joules_per_adaptation": energy.adaptation_joules,
        "adaptation_steps": energy.adaptation_steps,
        "dsp": resources.dsp,
        "bram36": resources.bram36,
        "uram": resources.uram,
        "lut": resources.lut,
        "clock_mhz": schedule.clock_mhz,
        "t": schedule.t,
        "memory_bytes": schedule.memory_bytes,
        "moved_bytes": sum(cost.moved_bytes for cost in schedule.layers),
    }


def _layer(cost: LayerCost, schedule: Schedule) -> dict[str, Any]:
    tile = cost.tile
    return {
        "layer": cost.layer,
        "kind": cost.kind,
        "phase": cost.phase.value,
        "cycles": cost.cycles,
        "operations": cost.operations,
        "gflops": gflops([cost], schedule.clock_mhz) if cost.operations else None,
        "read_bytes": cost.read_bytes,
        "written_bytes": cost.written_bytes,
        "bound_by": cost.bound_by,
        "tile": None
        if tile is None
        else {"tm": tile.tm, "tn": tile.tn, "tr": tile.tr, "tc": tile.tc, "m_on": tile.m_on},
    }
