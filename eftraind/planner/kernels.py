"""The kernels that can be planned for: each a function from a network and a board to a Schedule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from eftraind.errors import ConfigError
from eftraind.graph import Graph
from eftraind.plan import build, search
from eftraind.plan.board import Board
from eftraind.plan.build import Build
from eftraind.plan.ef_train import model
from eftraind.plan.ef_train.model import Target
from eftraind.plan.outcome import Schedule

EF_TRAIN_MEMORY_BYTES = 1 << 31
"""The bare-metal program of the paper's kernel uses the lower bank only."""
STREAM_WORDS = {"zynqmp": 4, "zynq7000": 1}
"""128-bit streams on the paper's ZCU102, 32-bit ones on its PYNQ-Z1."""


@dataclass(frozen=True)
class Planned:
    """A schedule and, for our kernel, the sizes of the bitstream that would keep it."""

    schedule: Schedule
    build: Build | None
    limit: str = ""
    """What keeps the array from being larger, if the search knows."""


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
    """Ours, in the design that the search finds."""
    found = search.plan(graph, board, batch, objective)
    return Planned(found.schedule, build.describe(found.design, board), found.limit)


def written(graph: Graph, board: Board, batch: int, objective: str) -> Planned:
    """Ours as the sources in hls are so far: what they can be built for, and its build
    description."""
    found = search.plan(graph, board, batch, objective, limits=search.WRITTEN)
    return Planned(found.schedule, build.describe(found.design, board), found.limit)


DEFAULT = "eftraind"
KERNELS: Mapping[str, Kernel] = {
    "ef_train": Kernel("ef_train", "the EF-Train paper's kernel", ef_train),
    "eftraind": Kernel("eftraind", "our kernel", eftraind),
    "hls": Kernel("hls", "our kernel as its sources are so far", written),
}


def find(name: str) -> Kernel:
    """Raises ConfigError that lists the known ones."""
    if name in KERNELS:
        return KERNELS[name]
    raise ConfigError(f"no kernel {name!r}", remedy=f"known: {', '.join(KERNELS)}")
