"""Batch, chunk and kept maps, chosen from predictions and memory."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eftraind import networks
from eftraind.isa import Op, Program
from eftraind.plan import lower, memory
from eftraind.plan.choice import CHUNKS, Limits, choose
from eftraind.plan.lower import Plan
from eftraind.plan.predict import Calibrated, Line, kind_of, size, work
from eftraind.plan.probe import MOST_WORK, probes, program_of

DIGITS = networks.load("digits")
CIFAR = networks.load("cifar1x")
RESNET = networks.load("resnet20")
T = 16


class Linear:
    """So many seconds a command, a multiply-accumulate and a word."""

    def __init__(self, command=1e-6, mac=1e-10, word=1e-9):
        self.rates = command, mac, word

    def seconds(self, c):
        command, mac, word = self.rates
        convolves = c.op in (Op.CONV_FP, Op.CONV_BP, Op.CONV_WU)
        return command + work(c, T) * (mac if convolves else word)


def limits(slice_s=1.0, memory_bytes=0):
    return Limits(slice_s, memory_bytes, lambda batch: 4 * batch)


@settings(max_examples=40)
@given(slice_s=st.floats(1e-5, 1e-2), command=st.floats(1e-9, 1e-3), batch=st.integers(1, 70))
def test_no_command_outlasts_a_slice_unless_one_image_does(slice_s, command, batch):
    chosen = choose(DIGITS, T, Plan(batch, 1), Linear(command), limits(slice_s), chunk=True)
    assert chosen.plan.batch == batch and chosen.plan.chunk in CHUNKS
    assert chosen.longest_s <= slice_s or chosen.plan.chunk == 1


def test_a_chunk_grows_while_it_pays():
    dear = choose(CIFAR, T, Plan(32, 1), Linear(command=1e-2), limits(), chunk=True)
    free = choose(CIFAR, T, Plan(32, 1), Linear(command=0.0), limits(), chunk=True)
    assert dear.plan.chunk == 32 and free.plan.chunk == 1
    assert dear.step_s < choose(CIFAR, T, Plan(32, 8), Linear(command=1e-2), limits()).step_s


def test_a_batch_is_as_large_as_its_update_asks():
    def batch(word):
        return choose(
            CIFAR, T, Plan(1, 1), Linear(word=word), limits(), batch=True
        ).plan.batch  # fmt: skip

    assert [batch(word) for word in (1e-12, 1e-7)] == [8, 32]


def test_norms_are_kept_where_memory_allows():
    wide = choose(RESNET, T, Plan(16, 4), Linear(), limits())
    assert wide.plan.keep_norms
    kept = memory.need(RESNET, T, wide.plan, wide.program, pool_rows=64).total_bytes
    assert wide.need_bytes == kept
    tight = choose(RESNET, T, Plan(16, 4), Linear(), limits(memory_bytes=kept - 1))
    assert not tight.plan.keep_norms and tight.need_bytes < kept and tight.step_s > wide.step_s
    assert not choose(CIFAR, T, Plan(16, 4), Linear(), limits()).plan.keep_norms


def test_too_little_memory_takes_a_smaller_batch_and_then_says_so():
    whole = choose(RESNET, T, Plan(1, 1), Linear(word=1e-7), limits(), batch=True)
    less = limits(memory_bytes=whole.need_bytes // 2)
    smaller = choose(RESNET, T, Plan(1, 1), Linear(word=1e-7), less, batch=True)
    assert smaller.plan.batch < whole.plan.batch or smaller.need_bytes > less.memory_bytes
    none = choose(RESNET, T, Plan(1, 1), Linear(), limits(memory_bytes=1000), batch=True)
    assert none.need_bytes > 1000  # the executor refuses it, with these figures


@pytest.mark.parametrize("name", networks.names())
def test_probes_stand_for_every_kind_and_are_small(name):
    graph = networks.load(name)
    program = lower.training(graph, T, Plan(2, 1, optimizer="adam", clip=True))
    found = probes(program)
    assert {probe.kind for probe in found} == {kind_of(c) for c in program.commands}
    for probe in found:
        heaviest = work(probe.commands[0], T) / max(probe.commands[0].images, 1)
        assert heaviest <= 17 * MOST_WORK and probe.scale >= 1.0
    bench = program_of(found, program)
    assert isinstance(bench, Program)
    assert sum(bench.need_words.values()) < 80e6


def test_a_line_goes_through_what_was_measured_and_others_take_the_pace_of_their_operation():
    program = lower.training(CIFAR, T, Plan(8, 8))
    copies = [c for c in program.commands if c.op is Op.CONV_FP]
    line = Line(1e-6, 2e-6)
    known = Calibrated(T, {kind_of(copies[0]): line}, 1e-6, {Op.CONV_FP: 1e-10})
    assert known.seconds(copies[0]) == pytest.approx(1e-6 + 8 * 2e-6)
    assert size(copies[0]) == 8
    other = next(c for c in copies if kind_of(c) != kind_of(copies[0]))
    assert known.seconds(other) == pytest.approx(1e-6 + 1e-10 * work(other, T))
    fewer = dataclasses.replace(copies[0], images=1)
    assert known.seconds(fewer) == pytest.approx(3e-6)
