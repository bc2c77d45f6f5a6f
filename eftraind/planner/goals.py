"""What our kernel was to reach on the paper's boards, and what the models say: rows and a table.

Owns the goals, stated before there was a model; decides nothing. Every figure is modelled but those
called printed, which the EF-Train paper gives.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eftraind import boards, networks
from eftraind.plan import energy as energies
from eftraind.plan.energy import Energy
from eftraind.plan.outcome import Schedule
from eftraind.planner import kernels

Planned = tuple[Schedule, Energy]
Plan = Callable[[str, str, int], Planned]
"""Of our kernel, by board, network and batch."""


@dataclass(frozen=True)
class Goal:
    """One line of the table."""

    board: str
    network: str
    batch: int
    printed: str
    wanted: str
    is_met: Callable[[Planned, Plan], bool]


GOALS = (
    Goal(
        "zcu102", "vgg16", 16, "46.99 GFLOPS, 6.09 GFLOPS/W", "140 GFLOPS, 12 GFLOPS/W",
        lambda ours, _: ours[0].gflops >= 140 and ours[0].gflops / ours[1].watts >= 12,
    ),
    Goal(
        "zcu102", "vgg16bn", 16, "40.08 GFLOPS at batch 8", "95 % of that without BN",
        lambda ours, plan: ours[0].gflops >= 0.95 * plan("zcu102", "vgg16", 16)[0].gflops,
    ),
    Goal(
        "zcu102", "cifar1x", 128, "28.15 GFLOPS", "60 GFLOPS",
        lambda ours, _: ours[0].gflops >= 60,
    ),
    Goal(
        "zcu102", "cifar1x", 1, "not reported", "85 % of batch 128",
        lambda ours, plan: ours[0].gflops >= 0.85 * plan("zcu102", "cifar1x", 128)[0].gflops,
    ),
    Goal(
        "pynq-z1", "cifar1x", 128, "4.08 GFLOPS", "10 GFLOPS",
        lambda ours, _: ours[0].gflops >= 10,
    ),
    Goal(
        "pynq-z2", "cifar1x", 128, "4.08 GFLOPS on PYNQ-Z1", "10 GFLOPS",
        lambda ours, _: ours[0].gflops >= 10,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Reached:
    """A goal, what the paper's kernel is modelled to reach there, and what ours is."""

    goal: Goal
    theirs: Planned
    ours: Planned
    met: bool


def reached() -> list[Reached]:
    """All goals; each design is planned once."""
    known: dict[tuple[str, str, str, int], Planned] = {}

    def plan(kernel: str, board: str, network: str, batch: int) -> Planned:
        key = (kernel, board, network, batch)
        if key not in known:
            where = boards.load(board)
            graph = networks.load(network)
            schedule = kernels.find(kernel).plan(graph, where, batch, "throughput").schedule
            known[key] = schedule, energies.of_schedule(schedule, where.family, 1)
        return known[key]

    def ours(board: str, network: str, batch: int) -> Planned:
        return plan("eftraind", board, network, batch)

    found = []
    for goal in GOALS:
        # The paper's kernel has room for 8 images of VGG-16 with BN only.
        batch = 8 if goal.network == "vgg16bn" else goal.batch
        theirs = plan("ef_train", goal.board, goal.network, batch)
        mine = ours(goal.board, goal.network, goal.batch)
        found.append(Reached(goal, theirs, mine, goal.is_met(mine, ours)))
    return found


def markdown(found: Sequence[Reached]) -> str:
    """The table of docs/planner.md."""
    head = (
        "board, network, batch",
        "printed",
        "`ef_train`",
        "`eftraind`",
        "its design",
        "goal",
        "",
    )
    rows = [head, ("---",) * len(head), *(_row(one) for one in found)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _row(one: Reached) -> tuple[str, ...]:
    goal, (schedule, _) = one.goal, one.ours
    used = schedule.resources
    array = f"T = {schedule.t}, {schedule.macs or schedule.t**2} MACs, {schedule.clock_mhz:g} MHz"
    return (
        f"{goal.board}, {goal.network}, {goal.batch}",
        goal.printed,
        _rate(one.theirs),
        _rate(one.ours),
        f"{array}, {used.dsp} DSP, {used.bram36} BRAM36, {used.lut} LUT",
        goal.wanted,
        "reached" if one.met else "**not reached**",
    )


def _rate(planned: Planned) -> str:
    schedule, energy = planned
    return f"{schedule.gflops:.2f} GFLOPS, {schedule.gflops / energy.watts:.2f} GFLOPS/W"
