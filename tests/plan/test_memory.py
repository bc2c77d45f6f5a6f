"""What a network needs, from programs alone: the targets, the parts, the refusal."""

import pytest

from eftraind import networks
from eftraind.errors import ConfigError
from eftraind.isa import Slot
from eftraind.plan import lower, memory
from eftraind.plan.lower import Plan

MB = 1e6


def need_of(name, plan, t=16, **keys):
    graph = networks.load(name)
    program = lower.training(graph, t, plan)
    return memory.need(graph, t, plan, program, pool_rows=0, **keys)


@pytest.mark.parametrize("t", [4, 8, 16])
def test_a_vgg16_step_with_norms_fits(t):
    """Target: 250 MB of arena plus weights, where the paper's release takes 475 MB."""
    plan = Plan(2, 2)
    need = need_of("vgg16bn", plan, t, banks=(Slot.LEARNER,))
    parts = need.parts_bytes()
    assert parts["training arena"] < 130 * MB
    assert parts["training arena"] + parts["weights"] < 190 * MB
    assert parts["training arena"] + parts["weights"] + parts["gradients"] < 250 * MB


@pytest.mark.parametrize(("chunk", "limit_mb"), [(128, 38), (8, 3)])
def test_the_paper_s_1x_at_batch_128_fits(chunk, limit_mb):
    """Target: 40 MB in all."""
    parts = need_of("cifar1x", Plan(128, chunk), banks=(Slot.LEARNER,)).parts_bytes()
    assert parts["training arena"] < limit_mb * MB
    step = ("training arena", "weights", "gradients", "momentum")
    assert sum(parts[part] for part in step) < 40 * MB


def test_without_norms_the_arena_holds_a_chunk_and_not_the_batch():
    sizes = [need_of("cifar1x", Plan(batch, 8)).words[Slot.TRAIN_ARENA] for batch in (8, 32, 128)]
    assert len(set(sizes)) == 1


def test_inference_takes_no_more_than_training_or_a_few_images():
    for name in networks.names():
        need = need_of(name, Plan(1, 1))
        at_most = max(need.words[Slot.TRAIN_ARENA], memory.INFER_ARENA_WORDS)
        assert need.infer_chunk == 1 or need.words[Slot.INFER_ARENA] <= at_most


def test_adam_keeps_two_moments_and_frozen_layers_cost_none():
    one, two = (need_of("cifar1x", Plan(8, 8, optimizer=o)) for o in ("sgd", "adam"))
    assert two.words[Slot.MOMENTUM] == 2 * one.words[Slot.MOMENTUM]
    first = need_of("cifar1x", Plan(8, 8, frozenset({"conv1.weight", "conv1.bias"})))
    assert first.words[Slot.GRADS] < one.words[Slot.GRADS] / 50


def test_latent_replay_keeps_activations():
    graph, plan = networks.load("cifar1x"), Plan(8, 8, frozenset({"out.weight"}), cut=8)
    need = memory.need(graph, 16, plan, lower.training(graph, 16, plan), pool_rows=10)
    assert need.words[Slot.POOL] == 10 * 64 * 4 * 4
    assert need.words[Slot.INFER_OUT] >= need.infer_chunk * 64 * 4 * 4


def test_too_much_is_refused_with_the_figures():
    need = need_of("vgg16bn", Plan(2, 2))
    need.check("vgg16bn", 0)
    need.check("vgg16bn", need.total_bytes)
    with pytest.raises(ConfigError) as caught:
        need.check("vgg16bn", 500_000_000)
    message = caught.value.message
    assert "vgg16bn needs 6" in message and "allows 500.0 MB" in message
    assert "training arena 126.1 MB" in message and "train.batch" in caught.value.remedy
