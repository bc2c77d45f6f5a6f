"""What a network needs of a device's memory, slot by slot, known before anything is allocated.

Counts the buffers that programs name. What a device keeps for itself (programs, scratch of a
kernel) is not in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eftraind.errors import ConfigError
from eftraind.graph import Graph
from eftraind.isa import Program, Slot
from eftraind.plan import lower
from eftraind.plan.bank import BankLayout
from eftraind.plan.draft import ConstsLayout
from eftraind.plan.lower import Plan
from eftraind.plan.tiles import map_words, sample_words

INFER_SIZES = (1, 2, 4, 8, 16, 32)
"""Batch sizes compiled for inference; a request is padded to the next one."""
INFER_CHUNKS = (8, 4, 2, 1)
INFER_ARENA_WORDS = 4 << 20
"""Inference may take as much arena as training, and this much in any case."""
WEIGHT_SLOTS = (Slot.SERVING, Slot.CANDIDATE, Slot.PREVIOUS, Slot.GOLDEN, Slot.LEARNER)

_PARTS: dict[str, tuple[Slot, ...]] = {
    "training arena": (Slot.TRAIN_ARENA,),
    "weights": WEIGHT_SLOTS,
    "gradients": (Slot.GRADS,),
    "momentum": (Slot.MOMENTUM,),
    "replay": (Slot.POOL,),
    "inference": (Slot.INFER_ARENA, Slot.INFER_IN, Slot.INFER_BATCH, Slot.INFER_OUT),
    "other": (Slot.CONSTS, Slot.TRAIN_BATCH, Slot.TRAIN_OUT),
}


@dataclass(frozen=True)
class Need:
    """Words of each slot's buffer."""

    words: Mapping[Slot, int]
    infer_chunk: int
    """Images that pass through the network together in inference."""

    @property
    def total_bytes(self) -> int:
        return 4 * sum(self.words.values())

    def parts_bytes(self) -> dict[str, int]:
        """Bytes by what they hold."""
        return {
            part: 4 * sum(self.words.get(slot, 0) for slot in slots)
            for part, slots in _PARTS.items()
        }

    def check(self, network: str, limit_bytes: int) -> None:
        """Raise ConfigError with the figures if it is more than `limit_bytes` (0: no limit)."""
        if not limit_bytes or self.total_bytes <= limit_bytes:
            return
        figures = ", ".join(f"{part} {mb(size)}" for part, size in self.parts_bytes().items())
        raise ConfigError(
            f"network {network} needs {mb(self.total_bytes)} of device memory, "
            f"device.memory_bytes allows {mb(limit_bytes)}: {figures}",
            remedy="lower train.batch, device.chunk or replay.capacity, or take a smaller network",
        )


def mb(size_bytes: int) -> str:
    """Megabytes, as people read them.

    >>> mb(126_085_120), mb(2_500)
    ('126.1 MB', '0.0025 MB')
    """
    size = size_bytes / 1e6
    return f"{size:.1f} MB" if size >= 1 else f"{size:.2g} MB"


def sample_row_words(graph: Graph, t: int) -> int:
    """Words of one packed sample."""
    rows, cols, channels = graph.input.shape
    return sample_words(channels, rows, cols, t, u8=graph.input.dtype == "uint8")


def pool_row_words(graph: Graph, t: int, plan: Plan) -> int:
    """Words of one row of POOL: a packed sample, or the activations of the freeze point."""
    if plan.cut is None:
        return sample_row_words(graph, t)
    return map_words(*graph.layers[plan.cut].output_shape, t)


def need(
    graph: Graph,
    t: int,
    plan: Plan,
    training: Program,
    *,
    pool_rows: int,
    banks: Sequence[Slot] = WEIGHT_SLOTS,
) -> Need:
    """Of an engine that trains by `training` and answers inference."""
    arena_words = training.need_words[Slot.TRAIN_ARENA]
    chunk, infer_words = _inference_arena(graph, t, max(arena_words, INFER_ARENA_WORDS))
    largest, row = INFER_SIZES[-1], sample_row_words(graph, t)
    out_words = largest * lower.logits_words(graph, t)
    if plan.cut is not None:
        latent = lower.latent(graph, t, images=chunk, chunk=chunk, cut=plan.cut)
        infer_words = max(infer_words, latent.need_words[Slot.INFER_ARENA])
        out_words = max(out_words, latent.need_words[Slot.INFER_OUT])
    words = dict.fromkeys(banks, BankLayout.of(graph, t).size_words)
    words |= {
        Slot.TRAIN_ARENA: arena_words,
        Slot.GRADS: training.need_words.get(Slot.GRADS, 0),
        Slot.MOMENTUM: training.need_words.get(Slot.MOMENTUM, 0),
        Slot.CONSTS: ConstsLayout.of(graph, t).size_words,
        Slot.POOL: pool_rows * pool_row_words(graph, t, plan),
        Slot.TRAIN_BATCH: 2 * plan.batch,
        Slot.TRAIN_OUT: 2 * plan.batch,
        Slot.INFER_IN: largest * row,
        Slot.INFER_BATCH: largest,
        Slot.INFER_ARENA: infer_words,
        Slot.INFER_OUT: out_words,
    }
    return Need(words, chunk)


def _inference_arena(graph: Graph, t: int, at_most_words: int) -> tuple[int, int]:
    """(chunk, arena words): the largest chunk whose arena fits, or 1."""
    for chunk in INFER_CHUNKS:
        program = lower.inference(graph, t, images=INFER_SIZES[-1], chunk=chunk)
        words = program.need_words[Slot.INFER_ARENA]
        if words <= at_most_words or chunk == 1:
            break
    return chunk, words
