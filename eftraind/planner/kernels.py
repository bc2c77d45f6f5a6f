"""The kernels that can be planned for: each a function from a network and a board to a Schedule."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields

from eftraind.errors import ConfigError
from eftraind.graph import Graph
from eftraind.plan import build, search
from eftraind.plan.board import Board
from eftraind.plan.build import Build
from eftraind.plan.design import Design, Traits
from eftraind.plan.ef_train import model
from eftraind.plan.ef_train.model import Target
from eftraind.plan.outcome import Schedule

EF_TRAIN_MEMORY_BYTES = 1 << 31
"""The bare-metal program of the paper's kernel uses the lower bank only."""
STREAM_WORDS = {"zynqmp": 4, "zynq7000": 1}
"""128-bit streams on the paper's ZCU102, 32-bit ones on its PYNQ-Z1."""


@dataclass(frozen=True)
class Planned:
    """A schedule and, for a design that hls can be built for, the sizes of its bitstream."""

    schedule: Schedule
    build: Build | None
    limit: str = ""
    """What keeps the array from being larger, if the search knows."""
    lacking: tuple[str, ...] = ()
    """What the design has and the sources in hls have not."""


Plan = Callable[[Graph, Board, int, str], Planned]


@dataclass(frozen=True)
class Kernel:
    """One design of an accelerator and its cost model."""

    name: str
    title: str
    plan: Plan
    """(network, board, batch, objective); raises GraphError or ConfigError for what it cannot."""


def ef_train_target(board: Board) -> Target:
    """A board as the paper's kernel would use it."""
    memory = min(board.memory.size_mib << 20, EF_TRAIN_MEMORY_BYTES)
    words = STREAM_WORDS[board.family]
    return Target(board.name, board.fabric.dsp, board.fabric.bram36, memory, words)


def ef_train(graph: Graph, board: Board, batch: int, objective: str) -> Planned:
    """The paper's kernel. It has one design a board, so that every objective gives the same."""
    return Planned(model.plan(graph, ef_train_target(board), batch), None)


def eftraind(graph: Graph, board: Board, batch: int, objective: str) -> Planned:
    """Ours as specified, in the design that the search finds."""
    found = search.plan(graph, board, batch, objective)
    lacks = tuple(lacking(found.design, board))
    sizes = None if lacks else build.describe(found.design, board)
    return Planned(found.schedule, sizes, found.limit, lacks)


def lacking(design: Design, board: Board) -> Iterator[str]:
    """What of a design the sources in hls cannot be built with so far, part by part."""
    limits = search.WRITTEN
    traits = [one.name for one in fields(Traits) if getattr(design.traits, one.name)]
    beyond = [name for name in traits if not getattr(limits.traits, name)]
    if beyond:
        yield f"traits {', '.join(beyond)}"
    t, m, n = design.t, design.array_m, design.array_n
    if t not in limits.lanes or {m // t, n // t} - set(limits.across):
        yield f"an array of {m} x {n} lanes"
    if design.pixels not in limits.pixels:
        yield f"{design.pixels} pixels a cycle"
    ports = (design.feature_words, design.weight_words, design.result_words)
    if max(ports) > max(limits.ports) * board.ports.width_bits // 32:
        yield f"ports of {', '.join(map(str, ports))} words"
    if design.window_words and not limits.windows:
        yield f"a window of {design.window_words:,} words"


def written(graph: Graph, board: Board, batch: int, objective: str) -> Planned:
    """Ours as the sources in hls are so far: what they can be built for, and its build
    description."""
    found = search.plan(graph, board, batch, objective, limits=search.WRITTEN)
    return Planned(found.schedule, build.describe(found.design, board), found.limit)


DEFAULT = "eftraind"
KERNELS: Mapping[str, Kernel] = {
    "ef_train": Kernel("ef_train", "the EF-Train paper's kernel", ef_train),
    "eftraind": Kernel("eftraind", "our kernel as specified", eftraind),
    "hls": Kernel("hls", "our kernel as its sources are so far", written),
}


def find(name: str) -> Kernel:
    """Raises ConfigError that lists the known ones."""
    if name in KERNELS:
        return KERNELS[name]
    raise ConfigError(f"no kernel {name!r}", remedy=f"known: {', '.join(KERNELS)}")
