"""A training step on a design of our kernel: compiled for the board's memory, and costed."""

from eftraind.errors import ConfigError
from eftraind.graph import Graph
from eftraind.isa import Program, Slot
from eftraind.plan import lower, window
from eftraind.plan.board import Board
from eftraind.plan.cost import Coster
from eftraind.plan.design import Design, resources
from eftraind.plan.lower import Plan
from eftraind.plan.machine import Machine
from eftraind.plan.memory import WEIGHT_SLOTS, mb
from eftraind.plan.outcome import Schedule

KERNEL = "eftraind"


def schedule(graph: Graph, board: Board, batch: int, design: Design) -> Schedule:
    """A training step of `batch` images on a given design."""
    program = training_program(graph, board, batch, design.t, fuse=design.traits.fuses)
    return costed(graph, board, batch, design, program)


def training_program(graph: Graph, board: Board, batch: int, t: int, *, fuse: bool) -> Program:
    """The step compiled with as many images at a time as the board's memory holds, and with the
    outputs of batch normalisation kept if they fit too; `fuse` as in `Plan`.

    Raises ConfigError with need and budget if not even one image fits.
    """
    chunk = batch
    while True:
        for keep in (True, False):
            program = lower.training(graph, t, Plan(batch, chunk, keep_norms=keep, fuse=fuse))
            need = memory_bytes(program)
            if need <= board.memory.cma_bytes:
                return program
        if chunk == 1:
            raise ConfigError(
                f"{graph.name} needs {mb(need)} of contiguous memory to train on a batch of "
                f"{batch}; {board.name} has {mb(board.memory.cma_bytes)}",
                remedy="a smaller batch, or a larger CMA area (memory.cma_mib)",
            )
        chunk = -(-chunk // 2)


def memory_bytes(program: Program) -> int:
    """DRAM that training needs beside serving: every weight bank, and the program's slots."""
    bank = program.need_words.get(Slot.LEARNER, 0)
    slots = sum(words for slot, words in program.need_words.items() if slot not in WEIGHT_SLOTS)
    return 4 * (slots + len(WEIGHT_SLOTS) * bank)


def coster_of(design: Design, board: Board, program: Program) -> Coster:
    """With the window, if the design has one that holds the step."""
    inside = window.holds(program, design)
    near = Machine.of(*window.inside(design, board)) if inside else None
    return Coster(design, Machine.of(design, board), near)


def costed(graph: Graph, board: Board, batch: int, design: Design, program: Program) -> Schedule:
    coster = coster_of(design, board, program)
    return Schedule(
        kernel=KERNEL,
        board=board.name,
        network=graph.name,
        batch=batch,
        t=design.t,
        clock_mhz=design.clock_mhz,
        resources=resources(design),
        layers=coster.program(program, tuple(layer.kind for layer in graph.layers)),
        memory_bytes=memory_bytes(program),
        macs=design.macs,
    )
