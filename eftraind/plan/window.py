"""The window: a range of addresses that on-chip memory serves instead of DRAM, to all channels.

Owns how fast it is and how much a training step needs of it. All or nothing: a step is in it with
its maps, weights, velocities and program, or does without. Times nothing itself.
"""

from dataclasses import replace

from eftraind.isa import COMMAND_WORDS, Program, Slot
from eftraind.plan.board import Board
from eftraind.plan.design import Design

LATENCY_CYCLES = 6
"""Address to first word, last word to response: registers in and out of the banks and of the choice
between window and port."""
HELD = (Slot.TRAIN_ARENA, Slot.LEARNER, Slot.MOMENTUM, Slot.GRADS)


def need_words(program: Program, design: Design) -> int:
    """Words of a step."""
    held = sum(program.need_words.get(slot, 0) for slot in HELD)
    return held + COMMAND_WORDS * len(program.commands)


def holds(program: Program, design: Design) -> bool:
    return 0 < need_words(program, design) <= design.window_words


def inside(design: Design, board: Board) -> tuple[Design, Board]:
    """Channels and memory as commands in the window see them: each channel as wide as half
    the banks, all of them together as wide as the banks, reads and writes alike."""
    width, ns = design.window_width, 1e3 / design.clock_mhz
    ports = replace(
        board.ports, count=4, width_bits=32 * width, max_clock_mhz=design.clock_mhz,
        read_latency_ns=LATENCY_CYCLES * ns, write_latency_ns=LATENCY_CYCLES * ns,
    )  # fmt: skip
    peak = 4 * design.window_banks * design.clock_mhz
    memory = replace(board.memory, peak_mb_s=peak, usable_share=1.0)
    wide = replace(design, feature_words=width, weight_words=width, result_words=width)
    return wide, replace(board, ports=ports, memory=memory)
