"""All kernels on several boards, side by side. A plan that cannot be is a line that says why."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eftraind.errors import ConfigError, GraphError
from eftraind.graph import Graph
from eftraind.plan import energy as energies
from eftraind.plan.board import Board
from eftraind.plan.energy import Energy
from eftraind.plan.outcome import Schedule
from eftraind.planner import report
from eftraind.planner.kernels import Kernel
from eftraind.planner.table import columns


@dataclass(frozen=True)
class Entry:
    """One kernel on one board: a plan with its energy, or the reason why there is none."""

    board: Board
    kernel: Kernel
    plan: tuple[Schedule, Energy] | None
    refusal: str


def compare(
    graph: Graph,
    boards: Sequence[Board],
    kernels: Sequence[Kernel],
    batch: int,
    objective: str,
    steps: int,
) -> list[Entry]:
    """Boards in the order given, kernels within."""
    return [
        _entry(graph, board, kernel, batch, objective, steps)
        for board in boards
        for kernel in kernels
    ]


def _entry(
    graph: Graph, board: Board, kernel: Kernel, batch: int, objective: str, steps: int
) -> Entry:
    try:
        schedule = kernel.plan(graph, board, batch, objective).schedule
    except (ConfigError, GraphError) as error:
        return Entry(board, kernel, None, error.message)
    return Entry(board, kernel, (schedule, energies.of_schedule(schedule, board.family, steps)), "")


def text(graph: Graph, batch: int, entries: Sequence[Entry]) -> str:
    head = (
        "board", "kernel", "T", "MACs", "MHz", "DSP", "BRAM36", "LUT", "ms/image", "GFLOPS", "W",
        "GFLOPS/W", "J/image",
    )  # fmt: skip
    made = [entry for entry in entries if entry.plan is not None]
    lines = [f"{graph.name}, batch {batch}: modelled, never run on any of these boards"]
    if made:
        lines += ["", *columns(head, [_row(entry) for entry in made])]
    lines += _refusals(entries)
    return "\n".join(lines)


def _row(entry: Entry) -> tuple[str, ...]:
    assert entry.plan is not None
    schedule, energy = entry.plan
    return (
        entry.board.name,
        entry.kernel.name,
        f"{schedule.t}",
        f"{schedule.macs or schedule.t**2}",
        f"{schedule.clock_mhz:g}",
        f"{schedule.resources.dsp}",
        f"{schedule.resources.bram36}",
        "-" if schedule.resources.lut is None else f"{schedule.resources.lut}",
        _milliseconds(schedule),
        f"{schedule.gflops:.2f}",
        f"{energy.watts:.2f}",
        f"{schedule.gflops / energy.watts:.2f}",
        f"{energy.image_joules:.3g}",
    )


def _milliseconds(schedule: Schedule) -> str:
    value = 1e3 * schedule.seconds_per_image
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _refusals(entries: Sequence[Entry]) -> Iterator[str]:
    refused = [entry for entry in entries if entry.plan is None]
    if refused:
        yield ""
    for entry in refused:
        yield f"refused: {entry.kernel.name} on {entry.board.name}: {entry.refusal}"


def mapping(graph: Graph, batch: int, entries: Sequence[Entry]) -> dict[str, Any]:
    """Plain data: one element a board and kernel, with `totals` or `refused`."""
    return {
        "kind": "modelled",
        "network": graph.name,
        "batch": batch,
        "plans": [
            {
                "board": entry.board.name,
                "kernel": entry.kernel.name,
                **(
                    {"refused": entry.refusal}
                    if entry.plan is None
                    else {"totals": report.totals(*entry.plan)}
                ),
            }
            for entry in entries
        ],
    }
