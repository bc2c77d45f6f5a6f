"""What a configuration leaves open about a training step, chosen from predictions and memory.

Owns batch, chunk, and whether outputs of batch normalisation are kept; says why. A figure that is
given wins. Runs nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from eftraind.graph import Graph
from eftraind.isa import Op, Program
from eftraind.plan import lower, memory
from eftraind.plan.predict import Predictor, seconds
from eftraind.plan.task import Plan

CHUNKS = (1, 2, 4, 8, 16, 32)
BATCHES = (8, 16, 32, 64, 128)
UPDATE_SHARE = 0.1
"""A batch is large enough when the update takes at most this share of its step."""
KEEPING_ADDS = 1.25
"""Without a limit of memory, outputs of batch normalisation are kept if all buffers together grow
by no more than this."""
AS_FAST = 1.02
"""Of chunks that are this near to the fastest, the smallest is taken: it takes least memory."""


@dataclass(frozen=True)
class Limits:
    """What a step must keep within."""

    slice_s: float
    """No command longer, if a chunk of one image allows it."""
    memory_bytes: int
    """0: no limit."""
    pool_rows: Callable[[int], int]
    """Samples that replay keeps, for a batch."""


@dataclass(frozen=True)
class Choice:
    """A plan, its program, and the predictions it was chosen by."""

    plan: Plan
    program: Program
    step_s: float
    longest_s: float
    """Of one command."""
    need_bytes: int

    def within(self, limits: Limits) -> bool:
        return not limits.memory_bytes or self.need_bytes <= limits.memory_bytes

    def suits(self, limits: Limits) -> bool:
        return self.within(limits) and self.longest_s <= limits.slice_s


def choose(
    graph: Graph,
    t: int,
    wanted: Plan,
    predictor: Predictor,
    limits: Limits,
    *,
    batch: bool = False,
    chunk: bool = False,
) -> Choice:
    """`wanted` with batch and chunk chosen if told so, and `keep_norms` as memory and time allow.

    Where nothing keeps within the memory it is a plan that does not: the executor refuses it with
    the figures.
    """
    chooser = _Chooser(graph, t, predictor, limits)
    sizes = chooser.batches(wanted) if batch else [wanted.batch]
    for size in sizes:
        plan = replace(wanted, batch=size, chunk=min(wanted.chunk, size))
        found = chooser.chunked(plan) if chunk else chooser.choice(plan)
        if found.within(limits) or size == sizes[-1]:
            return chooser.keeping(found)
    raise AssertionError("no batch to choose from")


class _Chooser:
    def __init__(self, graph: Graph, t: int, predictor: Predictor, limits: Limits) -> None:
        self._graph = graph
        self._t = t
        self._predictor = predictor
        self._limits = limits

    def choice(self, plan: Plan) -> Choice:
        program = lower.training(self._graph, self._t, plan)
        times = seconds(self._predictor, program.commands)
        rows = self._limits.pool_rows(plan.batch)
        need = memory.need(self._graph, self._t, plan, program, pool_rows=rows)
        return Choice(plan, program, float(times.sum()), float(times.max()), need.total_bytes)

    def batches(self, wanted: Plan) -> list[int]:
        """The smallest batch whose update weighs little, then smaller ones for a lack of memory."""
        program = lower.training(
            self._graph, self._t, replace(wanted, batch=1, chunk=1, fuse=False)
        )
        times = seconds(self._predictor, program.commands)
        ends = [c.op in (Op.UPDATE, Op.NORM) for c in program.commands]
        update_s = float(times[ends].sum())
        image_s = float(times.sum()) - update_s
        enough = [b for b in BATCHES if update_s <= UPDATE_SHARE * (update_s + b * image_s)]
        best = enough[0] if enough else BATCHES[-1]
        return [b for b in reversed(BATCHES) if b <= best]

    def chunked(self, plan: Plan) -> Choice:
        """Of the chunks that suit, the smallest that is nearly the fastest; one image if none."""
        found = [self.choice(replace(plan, chunk=CHUNKS[0]))]
        for size in CHUNKS[1:]:
            if size > plan.batch or not found[-1].suits(self._limits):
                break
            found.append(self.choice(replace(plan, chunk=size)))
        suiting = [one for one in found if one.suits(self._limits)] or found[:1]
        fastest = min(one.step_s for one in suiting)
        return next(one for one in suiting if one.step_s <= AS_FAST * fastest)

    def keeping(self, found: Choice) -> Choice:
        """The same with outputs of batch normalisation kept, if that fits and is faster."""
        if not any(layer.kind == "batchnorm" for layer in self._graph.layers):
            return found
        kept = self.choice(replace(found.plan, keep_norms=True))
        fits = keeping_fits(kept.need_bytes, found.need_bytes, self._limits.memory_bytes)
        return kept if fits and kept.step_s < found.step_s else found


def keeping_fits(kept_bytes: int, else_bytes: int, limit_bytes: int) -> bool:
    """Whether outputs of batch normalisation may be kept: within the limit or, with none (0), if
    all buffers together do not grow too much."""
    return kept_bytes <= (limit_bytes or KEEPING_ADDS * else_bytes)
