"""Which commands take the sums of a batch normalisation while they store its map."""

from dataclasses import replace

import pytest

from eftraind import boards, networks
from eftraind.isa import Flag, Op, Slot
from eftraind.plan import fuse, lower, search, step
from eftraind.plan.design import AS_WRITTEN, SPECIFIED, resources
from eftraind.plan.lower import Plan
from eftraind.plan.tiles import extents

WRITERS = {Op.BN_STAT: {Op.CONV_FP}, Op.BN_SUM: {Op.CONV_BP, Op.POOL_BP}}


@pytest.mark.parametrize("chunk", [1, 3, 4])
@pytest.mark.parametrize("network", ["vgg16bn", "resnet20"])
def test_every_word_of_a_gathered_map_passed_through_a_command_that_gathers(network, chunk):
    program = lower.training(networks.load(network), 16, Plan(4, chunk))
    found = fuse.jobs(program, replace(SPECIFIED, fuses=False))
    assert [job.command for job in found] == list(program.commands)
    gathering: list[tuple[int, int]] = []
    for job in found:
        c = job.command
        if job.gathers:
            gathering.append((c.dst.offset, extents(c, 16)["dst"]))
            assert not c.flags & Flag.ACCUMULATE
        elif c.op in WRITERS:
            read = c.src if c.op is Op.BN_STAT else c.aux
            words = extents(c, 16)["src"]
            if job.gathered:
                covered = sum(n for offset, n in gathering if 0 <= offset - read.offset < words)
                assert covered == words == sum(n for _, n in gathering)
            gathering = []
    gathered = {op: [j.gathered for j in found if j.command.op is op] for op in WRITERS}
    assert all(gathered[Op.BN_STAT])
    # Behind an addition dy has two writers, or comes from a command that cannot gather.
    assert all(gathered[Op.BN_SUM]) == (network == "vgg16bn") and any(gathered[Op.BN_SUM])


def test_frozen_statistics_and_the_kernel_as_written_gather_nothing():
    graph = networks.load("resnet20")
    frozen = lower.training(graph, 16, Plan(4, 4, frozen_norms=True))
    jobs = fuse.jobs(frozen, SPECIFIED)
    assert not any(job.gathered for job in jobs if job.command.op is Op.BN_STAT)
    written = fuse.jobs(lower.training(graph, 16, Plan(4, 4)), AS_WRITTEN)
    assert not any(job.gathers or job.gathered for job in written)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam"])
@pytest.mark.parametrize(("chunk", "clip"), [(4, False), (2, False), (4, True)])
@pytest.mark.parametrize("network", ["cifar1x", "resnet20"])
def test_every_word_steps_once_and_no_way_back_meets_stepped_weights(
    network, chunk, clip, optimizer
):
    graph = networks.load(network)
    plan = Plan(4, chunk, clip=clip, optimizer=optimizer)
    apart = lower.training(graph, 16, plan).commands
    fused = lower.training(graph, 16, replace(plan, fuse=True)).commands
    stepping = [c for c in fused if c.flags & Flag.STEP]
    words = [place for c in fused if c.op is Op.UPDATE for place in span(c.dst, c.count)]
    words += [place for c in stepping for place in span(c.dst, extents(c, 16)["dst"])]
    assert sorted(words) == [
        place for c in apart if c.op is Op.UPDATE for place in span(c.dst, c.count)
    ]
    assert bool(stepping) == (chunk == 4 and not clip and optimizer != "adam")
    if stepping:
        # Scale and shift of a batch normalisation come from no CONV_WU.
        assert any(c.op is Op.UPDATE for c in fused) == (network == "resnet20")
        assert all(bool(c.flags & Flag.NESTEROV) == (optimizer == "nesterov") for c in stepping)
    done = set()
    for c in fused:
        if c.flags & Flag.STEP:
            assert (c.extra.slot, c.extra.offset) == (Slot.MOMENTUM, c.dst.offset)
            done.add(c.layer)
        assert c.op is not Op.CONV_BP or c.layer not in done


def span(place, words):
    assert place.slot is Slot.LEARNER
    return range(place.offset, place.offset + words)


def test_gathering_pays_and_takes_what_it_takes():
    norm, plain = networks.load("vgg16bn"), networks.load("vgg16")
    board = boards.load("zcu102")
    ours = search.plan(norm, board, 8)
    assert ours.design.traits.gathers
    apart = replace(ours.design, traits=replace(ours.design.traits, gathers=False))
    rate = search.plan(plain, board, 8).schedule.gflops
    assert 0.945 * rate <= ours.schedule.gflops < rate
    assert step.schedule(norm, board, 8, apart).gflops < 0.92 * rate
    neither = replace(apart, traits=replace(apart.traits, fuses=False))
    more, less = resources(ours.design), resources(neither)
    assert more.bram36 > less.bram36
    assert (more.lut, more.dsp) == (less.lut, less.dsp)
    assert not search.plan(plain, board, 8).design.traits.gathers
