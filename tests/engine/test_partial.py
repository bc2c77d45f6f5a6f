"""Partial training and latent replay in the engine, rates set while it runs, memory refused."""

import dataclasses

import numpy as np
import pytest
from enginerig import Rig, whole_device

from eftraind import networks
from eftraind.accel.reference import ReferenceDevice
from eftraind.engine import offline, recipe
from eftraind.errors import ConfigError, GraphError
from eftraind.isa import Hyper, Op, Slot
from eftraind.plan import lower

NETWORK = """
name: tiny
input: {shape: [8, 8, 1], dtype: uint8, scale: 0.00392156862745098, mean: [0.5], std: [0.3]}
classes: 10
layers:
  - {name: c1, kind: conv, channels: 12, kernel: 3, bias: false}
  - {name: b1, kind: batchnorm, relu: true}
  - {name: p1, kind: maxpool, window: 2}
  - {name: d1, kind: dropout, rate: 0.1}
  - {name: fc, kind: linear, channels: 24, relu: true}
  - {name: out, kind: linear, channels: 10}
"""
LAST = {"trainable": ["last-2"], "steps_per_sample": 0.1, "learning_rate": 0.02}
GATE = {"candidate_steps": 10, "min_samples": 32, "max_samples": 300}


@pytest.fixture(params=["reference", "cpu"])
def make(request, tmp_path):
    kind = whole_device(request.param)
    path = tmp_path / "tiny.yaml"
    path.write_text(NETWORK)
    rigs = []

    def made(name="state", **sections):
        given = {"model": {"network": str(path), "seed": 3}, "gate": GATE} | sections
        given["device"] = {"kind": kind, "threads": 1} | sections.get("device", {})
        rigs.append(Rig(tmp_path / name, **given))
        return rigs[-1]

    yield made
    for rig in rigs:
        rig.close()


def weights(rig, slot=Slot.LEARNER):
    return rig.engine._executor.read_bank(slot)


def moved(before, after):
    return {name for name in before if not np.array_equal(before[name], after[name])}


@pytest.mark.parametrize("latent", [False, True])
def test_only_the_last_layers_learn_and_the_model_gets_better(make, latent):
    rig = make(train=LAST | {"latent": latent, "freeze_norms": True})
    before, rng = weights(rig), np.random.default_rng(0)
    rig.stream(rng, 30)
    learnt = {"fc.weight", "fc.bias", "out.weight", "out.bias"}
    assert moved(before, weights(rig)) == learnt
    assert moved(before, weights(rig, Slot.SERVING)) == learnt
    assert rig.accuracy(rng) > 0.8
    assert rig.engine.status()["swaps"] >= 1


def test_latent_replay_is_the_same_training_but_for_where_it_begins(make):
    """Without randomness behind the freeze point the two give the same losses."""
    losses = []
    for latent in (False, True):
        rig = make(f"latent-{latent}", train=LAST | {"latent": latent, "freeze_norms": True})
        rig.stream(np.random.default_rng(1), 4)
        losses.append(rig.engine.status()["loss"])
        frozen = rig.value("device_operations_total", work="latent")
        assert (frozen is not None) == latent
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_latent_training_does_less_work(make):
    done = []
    for latent in (False, True):
        rig = make(f"latent-{latent}", train=LAST | {"latent": latent})
        rig.stream(np.random.default_rng(1), 4)
        done.append(rig.value("device_operations_total", work="train"))
    assert done[1] < 0.7 * done[0]


def test_activations_of_other_frozen_layers_are_thrown_away(make):
    """Fallback to golden weights whose first layers are others."""
    whole = make(train={"learning_rate": 0.05, "steps_per_sample": 0.2})
    whole.stream(np.random.default_rng(0), 20)
    assert whole.engine.version > 1
    whole.close()
    rig = make(train=LAST | {"latent": True})
    rig.stream(np.random.default_rng(2), 2)
    kept = rig.engine.status()["replay"]["samples"]
    assert kept >= 80
    rig.engine.promoter.rollback(to_golden=True, reason="operator")
    rig.rest()
    assert rig.engine.status()["replay"]["samples"] == 0
    assert rig.value("samples_skipped_total", reason="stale_latent") >= kept
    rig.stream(np.random.default_rng(3), 2)
    assert rig.engine.status()["replay"]["samples"] == 80


def test_dropout_and_adam_are_reproducible(make):
    hashes = []
    for name in ("a", "b"):
        rig = make(name, train={"optimizer": "adam", "learning_rate": 0.005, "clip_norm": 1.0})
        rig.stream(np.random.default_rng(5), 3)
        hashes.append({key: value.tobytes() for key, value in weights(rig).items()})
    assert hashes[0] == hashes[1]


def test_rates_change_while_it_runs(make):
    rig = make(train={"clip_norm": 5.0})
    rig.stream(np.random.default_rng(0), 2)
    before = weights(rig)
    rates = {"train.learning_rate": 0.0, "train.norm_share": 0.0, "train.clip_norm": 1.0}
    rig.engine.set_rates(rates)
    rig.stream(np.random.default_rng(1), 2)
    assert moved(before, weights(rig)) == set()
    assert {"rates": rates} in rig.topics("training")
    rig.engine.set_rates({"train.learning_rate": 0.1})
    rig.stream(np.random.default_rng(1), 1)
    assert "out.weight" in moved(before, weights(rig))


@pytest.mark.parametrize(
    ("key", "value", "cause", "remedy"),
    [
        ("train.learning_rate", -1.0, "train.learning_rate is -1.0", "from 0 to 100"),
        ("train.learning_rate", float("nan"), "train.learning_rate", "from 0 to 100"),
        ("train.learning_rate", "1", "not a number", "write a number"),
        ("train.learning_rat", 1.0, "is no rate", "did you mean train.learning_rate?"),
        ("momentum", 0.5, "is no rate", "did you mean train.momentum?"),
        ("replay.capacity", 5, "cannot change while", "restart"),
        ("train.clip_norm", 1.0, "was 0 when", "restart"),
    ],
)
def test_what_cannot_be_set_is_refused_by_name(key, value, cause, remedy):
    plan = lower.Plan(1, 1)
    with pytest.raises(ConfigError) as caught:
        recipe.changed_rates(plan, {key: value})
    assert cause in caught.value.message and remedy in caught.value.remedy


def test_an_integer_is_a_rate_too():
    assert recipe.changed_rates(lower.Plan(1, 1), {"train.momentum": 0}) == {Hyper.MOMENTUM: 0.0}


def test_what_does_not_fit_is_refused_before_anything_is_allocated(make):
    with pytest.raises(ConfigError, match=r"allows 0\.1 MB: training arena"):
        make(device={"memory_bytes": 100_000})


def test_a_layer_that_the_device_lacks_is_named(tmp_path):
    class Lacking(ReferenceDevice):
        @property
        def capabilities(self):
            whole = super().capabilities
            return dataclasses.replace(whole, ops=whole.ops - {Op.BN_STAT})

    (tmp_path / "tiny.yaml").write_text(NETWORK)
    graph = networks.load(str(tmp_path / "tiny.yaml"))
    with pytest.raises(GraphError, match=r"b1 \(batchnorm\): device reference has no BN_STAT"):
        offline.executor_for(Lacking(), graph)


def test_class_weights_must_be_as_many_as_classes(make):
    with pytest.raises(ConfigError, match="3 numbers, network tiny has 10 classes"):
        make(train={"class_weights": [1.0, 2.0, 3.0]})


def test_the_statement_of_need_is_what_is_allocated(make):
    rig = make()
    executor = rig.engine._executor
    device = executor.device
    for slot, words in executor.need.words.items():
        assert len(device._buffers[device.bound(slot)]) == words
    assert sum(rig.engine.status()["memory_bytes"].values()) == executor.need.total_bytes
