"""Where the difference between our kernel and the published one comes from, change by change, and
what else its figures depend on. All modelled; renders nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from eftraind import boards, networks
from eftraind.isa import Op
from eftraind.plan import conv_cost, fuse, search, step
from eftraind.plan.cost import CONVOLUTIONS
from eftraind.plan.design import Design, Traits
from eftraind.plan.ef_train import model
from eftraind.plan.outcome import Schedule
from eftraind.plan.search import Found
from eftraind.plan.tiling import tiling_of
from eftraind.planner import kernels
from eftraind.planner.targets import found


@dataclass(frozen=True)
class Step:
    """One change on the way from the published kernel to ours, with all changes before it."""

    change: str
    gflops: float


def ablation(network: str, board_name: str, batch: int) -> Iterator[Step]:
    """From the published kernel to ours, one change after another."""
    graph, board = networks.load(network), boards.load(board_name)
    ours = found(network, board_name, batch).design
    target = kernels.ef_train_target(board)
    published = model.design_for(graph, target, batch)
    yield Step(
        f"published kernel, {published.kernel.t} x {published.kernel.t} at 100 MHz",
        model.plan(graph, target, batch, published).gflops,
    )
    faster = published.at_clock(ours.clock_mhz)
    yield Step(f"clock of {ours.clock_mhz:g} MHz", model.plan(graph, target, batch, faster).gflops)
    wider = replace(faster, kernel=replace(faster.kernel, pixels=ours.pixels))
    yield Step(
        f"{ours.pixels} pixels a cycle: the published kernel at our clock and array",
        model.plan(graph, target, batch, wider).gflops,
    )
    alone = Traits(
        folds=False, shares=False, overlaps=False, fuses=False, splits=False, follows=False
    )
    port = board.ports.width_bits // 32
    outside = replace(ours, window_words=0)
    narrow = replace(
        outside, feature_words=port, weight_words=port, result_words=port, traits=alone
    )
    overlapping = replace(narrow, traits=replace(alone, overlaps=True))
    folding = replace(narrow, traits=replace(alone, overlaps=True, folds=True))
    draining = replace(ours.traits, follows=False)
    sharing = replace(narrow, traits=replace(draining, fuses=False, splits=False))
    stepping = replace(narrow, traits=replace(draining, splits=False))
    splitting = replace(narrow, traits=draining)
    following = replace(narrow, traits=ours.traits)
    for change, design in (
        (f"T = {ours.t}, array {shape(ours)}; addresses made in the fabric, no host between tiles",
         narrow),
        ("loads, stores and gradients overlap across output tiles", overlapping),
        ("taps of the first layer folded into the lanes", folding),
        ("small maps share a tile", sharing),
        ("weights step as their gradients are stored", stepping),
        ("no command has fewer than four passes", splitting),
        ("a pass follows while the results of the one before come out", following),
        ("as many ports a channel as the board gives", outside),
        ("a window of on-chip memory, if it holds the step", ours),
    ):  # fmt: skip
        yield Step(change, step.schedule(graph, board, batch, design).gflops)


def shape(design: Design) -> str:
    return f"{design.array_m} x {design.array_n} x {design.pixels}"


def as_written(network: str, board_name: str, batch: int) -> Iterator[Step]:
    """What the sources in hls do otherwise than specified, each change alone, then all. The array
    of these designs is T x T, which hls can be built for too."""
    graph, board = networks.load(network), boards.load(board_name)
    ours = found(network, board_name, batch).design
    port = board.ports.width_bits // 32
    narrow = replace(ours, feature_words=port, weight_words=port, result_words=port)
    for change, design in (
        ("as specified", ours),
        ("masks are read and results written by turns", _with(ours, streams=False)),
        ("the second map of POOL_BP comes behind the first", _with(ours, beside=False)),
        ("gradients move to a buffer of their own first", _with(ours, straight=False)),
        ("commands may be a single pass", _with(ours, splits=False)),
        ("the array's pipeline runs empty after each pass", _with(ours, follows=False)),
        ("no window", replace(ours, window_words=0)),
        ("one port a channel", narrow),
    ):
        yield Step(change, step.schedule(graph, board, batch, design).gflops)
    written = found(network, board_name, batch, search.WRITTEN)
    yield Step("all of these: `--kernel hls`", written.schedule.gflops)


def _with(design: Design, **traits: bool) -> Design:
    return replace(design, traits=replace(design.traits, **traits))


@dataclass(frozen=True)
class OnBoard:
    """A network on a board: planned, and with the sources as they are."""

    board: str
    planned: Found
    written: Found


def everywhere(network: str, batch: int) -> Iterator[OnBoard]:
    for name in boards.names():
        yield OnBoard(
            name,
            found(network, name, batch),
            found(network, name, batch, search.WRITTEN),
        )


def clocks(network: str, board_name: str, batch: int) -> Iterator[tuple[float, Schedule]]:
    """The design at every clock of the board."""
    graph, board = networks.load(network), boards.load(board_name)
    ours = found(network, board_name, batch).design
    for clock in board.clocks.mhz:
        design = replace(ours, clock_mhz=clock)
        yield clock, step.schedule(graph, board, batch, design)


def batches(network: str, board_name: str, sizes: tuple[int, ...]) -> Iterator[tuple[int, float]]:
    """GFLOPS of the design for the largest batch, at every batch."""
    graph, board = networks.load(network), boards.load(board_name)
    ours = found(network, board_name, max(sizes)).design
    for size in sizes:
        yield size, step.schedule(graph, board, size, ours).gflops


def by_operation(network: str, board_name: str, batch: int) -> dict[Op, float]:
    """Cycles an image of each kind of command, in the design for this batch."""
    graph, board = networks.load(network), boards.load(board_name)
    design = found(network, board_name, batch).design
    program = step.training_program(graph, board, batch, design.t, fuse=design.traits.fuses)
    coster = step.coster_of(design, board, program)
    cycles: dict[Op, float] = {}
    for job in fuse.jobs(program, design.traits):
        op = job.command.op
        cycles[op] = cycles.get(op, 0.0) + coster.job(job).cycles / batch
    return cycles


@dataclass(frozen=True)
class ArrayCycles:
    """Of a step."""

    computing: int
    emptying: int
    passes: int
    emptied: int
    """Passes after which the array's pipeline runs empty."""


def array_cycles(network: str, board_name: str, batch: int) -> ArrayCycles:
    """What the array does in the convolutions of a step."""
    graph, board = networks.load(network), boards.load(board_name)
    design = found(network, board_name, batch).design
    program = step.training_program(graph, board, batch, design.t, fuse=design.traits.fuses)
    tiled = [(c, tiling_of(c, design), design) for c in program.commands if c.op in CONVOLUTIONS]
    counts = [conv_cost.iterations(*one) for one in tiled]
    emptied = sum(conv_cost.emptied(*one) for one in tiled)
    return ArrayCycles(
        sum(cycles for cycles, _ in counts), emptied * design.pipeline_cycles,
        sum(number for _, number in counts), emptied,
    )  # fmt: skip


def norm_costs() -> Iterator[tuple[str, float]]:
    """How far VGG-16 with batch normalisation is below VGG-16, as shares of its rate."""
    norm, plain = networks.load("vgg16bn"), networks.load("vgg16")
    board = boards.load("zcu102")
    ours = found("vgg16bn", "zcu102", 8).design
    rate = step.schedule(plain, board, 8, found("vgg16", "zcu102", 8).design).gflops

    def below(traits: Traits) -> float:
        return 1 - step.schedule(norm, board, 8, replace(ours, traits=traits)).gflops / rate

    apart = replace(ours.traits, gathers=False)
    yield ("statistics and sums in passes of their own, as in hls", below(apart))
    yield ("as specified: sums taken while the map is stored", below(ours.traits))
