"""A plan as text: one line a layer and phase, then the totals. Every figure in it is modelled."""

from collections.abc import Iterator, Sequence

from eftraind.plan.board import Board
from eftraind.plan.energy import Energy, Power
from eftraind.plan.memory import mb
from eftraind.plan.outcome import LayerCost, Phase, Schedule, gflops

Row = tuple[str, ...]
RIGHT = {
    "M_on", "cycles", "share", "GFLOPS", "MB moved",
    "T", "MACs", "MHz", "DSP", "BRAM36", "LUT", "ms/image", "W", "GFLOPS/W", "J/image",
}  # fmt: skip
"""Columns of numbers."""


def text(schedule: Schedule, board: Board, energy: Energy, title: str) -> str:
    """The whole answer of `eftraind plan`."""
    head = (
        f"{schedule.network} on {board.title}, batch {schedule.batch}, {title}\n"
        "modelled, never run on this board: all figures are calculated"
    )
    return "\n\n".join(
        [head, "\n".join(_layers(schedule)), "\n".join(_totals(schedule, board, energy))]
    )


def _layers(schedule: Schedule) -> Iterator[str]:
    head = ("layer", "phase", "tile", "M_on", "cycles", "share", "GFLOPS", "MB moved", "bound by")
    return columns(head, [_layer(cost, schedule) for cost in schedule.layers])


def _layer(cost: LayerCost, schedule: Schedule) -> Row:
    tile = cost.tile
    rate = f"{gflops([cost], schedule.clock_mhz):.1f}" if cost.operations else "-"
    return (
        cost.layer,
        cost.phase.value,
        "-" if tile is None else f"{tile.tm}x{tile.tn}, {tile.tr}x{tile.tc}",
        "-" if tile is None else f"{tile.m_on}",
        f"{cost.cycles:,}",
        f"{100 * cost.cycles / schedule.cycles:.1f} %",
        rate,
        f"{cost.moved_bytes / 1e6:.1f}",
        cost.bound_by,
    )


def columns(head: Row, rows: Sequence[Row]) -> Iterator[str]:
    """Aligned; those of `RIGHT` to the right."""
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    for row in (head, *rows):
        cells = (
            cell.rjust(width) if name in RIGHT else cell.ljust(width)
            for cell, width, name in zip(row, widths, head, strict=True)
        )
        yield "  ".join(cells).rstrip()


def _totals(schedule: Schedule, board: Board, energy: Energy) -> Iterator[str]:
    seconds, batch = schedule.seconds, schedule.batch
    peak = schedule.peak_gflops
    power, resources, fabric = energy.power, schedule.resources, board.fabric
    moved = sum(cost.moved_bytes for cost in schedule.layers)
    lut = "not modelled" if resources.lut is None else _of(resources.lut, fabric.lut)
    lines = {
        "time": f"{1e3 * schedule.seconds_per_image:.4g} ms an image, {seconds:.4g} s a step",
        "rate": f"{schedule.gflops:.2f} GFLOPS, {100 * schedule.gflops / peak:.0f} % of the "
        f"array's {peak:.1f}; {batch / seconds:.4g} images/s",
        "power": f"{energy.watts:.2f} W (board {power.board_watts:.2f}, array "
        f"{power.array_watts:.2f}, on-chip memory {power.memory_watts:.2f}, DRAM traffic "
        f"{power.traffic_watts:.2f}){_spread(power)}, "
        f"{schedule.gflops / energy.watts:.2f} GFLOPS/W",
        "energy": f"{joules(energy.image_joules)} an image, {joules(energy.step_joules)} a step, "
        f"{joules(energy.adaptation_joules)} an adaptation of {energy.adaptation_steps} steps",
        "design": f"T = {schedule.t} at {schedule.clock_mhz:g} MHz",
        "DSP": _of(resources.dsp, fabric.dsp),
        "block RAM": _of(resources.bram36, fabric.bram36),
        "LUT": lut,
        "DRAM": f"{mb(schedule.memory_bytes)} used, {mb(moved)} moved a step "
        f"({moved / seconds / 1e9:.2f} GB/s)",
        "phases": _shares(schedule, [(p.value, schedule.of_phase(p)) for p in Phase]),
        "bound by": _shares(schedule, _by_bound(schedule)),
    }
    if resources.uram:
        lines["UltraRAM"] = _of(resources.uram, fabric.uram)
    yield "totals of one step, modelled"
    yield from (f"  {name:<10} {line}" for name, line in lines.items())


def _spread(power: Power) -> str:
    """What the assumption about LUTs is worth, where it shows."""
    return f" +- {power.spread_watts:.2f} by LUTs" if power.spread_watts >= 0.005 else ""


def joules(value: float) -> str:
    """
    >>> joules(0.0156), joules(15.07), joules(24_100)
    ('15.6 mJ', '15.1 J', '24.1 kJ')
    """
    for unit, size in (("MJ", 1e6), ("kJ", 1e3), ("J", 1.0)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{1e3 * value:.3g} mJ"


def _of(used: int, there: int) -> str:
    """
    >>> _of(1280, 2520)
    '1280 of 2520 (51 %)'
    """
    return f"{used} of {there} ({100 * used / there:.0f} %)"


def _by_bound(schedule: Schedule) -> list[tuple[str, list[LayerCost]]]:
    found: dict[str, list[LayerCost]] = {}
    for cost in schedule.layers:
        found.setdefault(cost.bound_by, []).append(cost)
    return sorted(found.items(), key=lambda item: -sum(cost.cycles for cost in item[1]))


def _shares(schedule: Schedule, parts: Sequence[tuple[str, Sequence[LayerCost]]]) -> str:
    sums = [(name, sum(cost.cycles for cost in costs)) for name, costs in parts]
    return ", ".join(
        f"{name} {100 * cycles / schedule.cycles:.1f} %" for name, cycles in sums if cycles
    )
