"""What programs of whole networks look like, for every shipped network and every way to train it:
no word is read before it is written, and no buffer is left."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from eftraind import graph_build, networks
from eftraind.accel.device import check_command
from eftraind.graph import Graph
from eftraind.isa import Command, Flag, Op, Program, Slot, decode
from eftraind.params import shapes
from eftraind.plan import lower
from eftraind.plan.bank import BankLayout
from eftraind.plan.lower import Plan
from eftraind.plan.tiles import extents

BRANCHES = graph_build.from_mapping(
    {
        "name": "branches",
        "input": {"shape": [9, 8, 3], "dtype": "float32"},
        "classes": 4,
        "layers": [
            {"name": "stem", "kind": "conv", "channels": 6, "kernel": 3, "bias": False},
            {"name": "norm", "kind": "batchnorm", "activation": "leaky", "slope": 0.2},
            {"name": "wise", "kind": "conv", "groups": 6, "kernel": 3, "relu": True},
            {"name": "sum", "kind": "add", "from": ["wise", "norm"], "relu": True},
            {"name": "mean", "kind": "avgpool", "window": 2},
            {"name": "most", "kind": "maxpool", "window": 2, "from": "sum"},
            {"name": "both", "kind": "concat", "from": ["mean", "most"]},
            {"name": "drop", "kind": "dropout", "rate": 0.5},
            {"name": "head", "kind": "linear", "channels": 4},
        ],
    }
)
GRAPHS = {name: networks.load(name) for name in networks.names()} | {"branches": BRANCHES}
SMALL = {name: graph for name, graph in GRAPHS.items() if graph.macs < 100e6}
WAYS = {
    "sgd": Plan(5, 2),
    "whole-batch": Plan(4, 4),
    "frozen-norms": Plan(5, 2, frozen_norms=True),
    "kept-norms": Plan(5, 2, keep_norms=True),
    "adam-clip": Plan(3, 3, optimizer="adam", clip=True, smoothing=0.1, class_weights=True),
}
READS = {
    Op.UPDATE: ("src", "dst", "extra", "aux", "weights"),
    Op.BN_STAT: ("src", "dst", "aux"),
    Op.BN_SUM: ("src", "aux"),
    Op.LOSS: ("src", "aux", "weights"),
}
"""Operands that a command reads; of others all but dst. BN_SUM's extra is half of each."""
GIVEN = (Slot.SERVING, Slot.LEARNER, Slot.CONSTS, Slot.POOL, Slot.TRAIN_BATCH, Slot.MOMENTUM,
         Slot.INFER_IN, Slot.INFER_BATCH)  # fmt: skip


class Written:
    """Which words of each slot have been written since the program began."""

    def __init__(self, program: Program) -> None:
        self._t = program.lanes
        self._words = {
            slot: np.full(words, slot in GIVEN) for slot, words in program.need_words.items()
        }

    def _spans(self, c: Command, names: tuple[str, ...]) -> Iterator[np.ndarray]:
        for name, words in extents(c, self._t).items():
            if name in names and words:
                place = getattr(c, name)
                span = self._words[place.slot][place.offset : place.offset + words]
                assert len(span) == words, f"{c.op.name} {name} leaves its buffer"
                yield span

    def run(self, c: Command) -> None:
        reads = READS.get(c.op, ("src", "weights", "aux", "extra"))
        if c.flags & Flag.ACCUMULATE or (c.op is Op.BN_STAT and c.flags & Flag.FROZEN):
            reads += ("dst",)
        if c.op is not Op.BN_BP or not c.flags & Flag.FROZEN:
            for span in self._spans(c, reads):
                assert span.all(), f"{c.op.name} of layer {c.layer} reads what nobody wrote"
        writes = ("dst", "extra") if c.op in (Op.LOSS, Op.BN_STAT, Op.BN_SUM) else ("dst",)
        for span in self._spans(c, writes):
            span[:] = True


def follow(program: Program) -> None:
    every = frozenset(Op)
    written = Written(program)
    for command in program.commands:
        check_command(command, program.lanes, every)
        assert decode(np.array(command.encode(), np.int32)) == replace(
            command, scalar=float(np.float32(command.scalar))
        )
        written.run(command)


@pytest.mark.parametrize("t", [4, 16])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_read_before_it_is_written(name: str, way: str, t: int) -> None:
    follow(lower.training(GRAPHS[name], t, WAYS[way]))


@pytest.mark.parametrize("name", SMALL)
def test_inference_reads_only_what_was_written(name: str) -> None:
    program = lower.inference(GRAPHS[name], 16, images=5, chunk=2)
    follow(program)
    assert Slot.LEARNER not in program.need_words
    outs = [c.dst for c in program.commands if c.dst.slot is Slot.INFER_OUT]
    words = lower.logits_words(GRAPHS[name], 16)
    assert [place.offset for place in outs] == [0, 2 * words, 4 * words]


@pytest.mark.parametrize("name", SMALL)
def test_latents_and_the_training_behind_them(name: str) -> None:
    graph = GRAPHS[name]
    cut = next(
        cut
        for cut in range(len(graph.layers) // 2, len(graph.layers))
        if all(n >= cut for layer in graph.layers[cut + 1 :] for n in layer.inputs)
    )
    follow(lower.latent(graph, 16, images=3, chunk=2, cut=cut))
    plan = Plan(4, 2, cut=cut, frozen_norms=True)
    program = lower.training(graph, 16, plan)
    follow(program)
    assert all(c.layer >= cut for c in program.commands if c.op not in (Op.UPDATE, Op.NORM))


def updated(graph: Graph, plan: Plan) -> set[int]:
    """Words of the bank that a step changes by UPDATE."""
    commands = lower.training(graph, 4, plan).commands
    spans = [(c.dst.offset, c.count) for c in commands if c.op is Op.UPDATE]
    words = [word for start, count in spans for word in range(start, start + count)]
    assert len(words) == len(set(words)), "a word is updated twice"
    return set(words)


def test_exactly_the_trainable_tensors_are_updated() -> None:
    bank = BankLayout.of(BRANCHES, 4)
    learning = [n for n in shapes(BRANCHES) if "running" not in n]
    assert updated(BRANCHES, Plan(2, 2)) == set(range(bank.trainable_words))
    found: set[int] = set()
    for name in learning:
        words = updated(BRANCHES, Plan(2, 2, frozenset({name})))
        zeros = {n: np.zeros(shape, np.float32) for n, shape in shapes(BRANCHES).items()}
        zeros[name] += 1
        assert set(np.flatnonzero(bank.pack(zeros)).tolist()) <= words
        assert not words & found
        found |= words
    assert found == set(range(bank.trainable_words))


@pytest.mark.parametrize("name", GRAPHS)
def test_fewer_trainable_layers_never_cost_more(name: str) -> None:
    """Operations and memory of last-k training grow with k."""
    graph = GRAPHS[name]
    names = [n for n in shapes(graph) if "running" not in n]
    costs = []
    for k in (1, len(names) // 2, len(names)):
        program = lower.training(graph, 16, Plan(2, 1, frozenset(names[-k:])))
        costs.append((len(program.commands), program.need_words[Slot.TRAIN_ARENA]))
    assert costs == sorted(costs)


@pytest.mark.parametrize("name", SMALL)
def test_the_arena_of_a_chunk_does_not_grow_with_the_batch(name: str) -> None:
    plans = [Plan(batch, 2, frozen_norms=True) for batch in (2, 8)]
    needs = [lower.training(GRAPHS[name], 16, plan).need_words[Slot.TRAIN_ARENA] for plan in plans]
    assert needs[0] == needs[1]


def test_programs_are_deterministic() -> None:
    plan = Plan(5, 2, optimizer="adam", clip=True)
    first, second = (lower.training(BRANCHES, 16, plan).words() for _ in range(2))
    np.testing.assert_array_equal(first, second)
