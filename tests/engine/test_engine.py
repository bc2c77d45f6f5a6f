"""The engine as a whole: it learns, judges, swaps, goes back, restarts, distrusts bad weights."""

import json

import numpy as np
import pytest
import safetensors.numpy
from enginerig import Rig, configuration, labelled_images

from eftraind import networks, wire
from eftraind.clock import FakeClock
from eftraind.engine.boot import boot
from eftraind.errors import ConfigError, EftraindError
from eftraind.fsio import FileOps
from eftraind.isa import Slot
from eftraind.metrics import Metrics

BY_HAND = {"min_samples": 1_000_000, "max_samples": 1_000_000}
"""A gate that promotes nothing by itself."""


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path)
    yield made
    made.close()


@pytest.fixture
def manual(tmp_path):
    made = Rig(tmp_path, gate=BY_HAND)
    yield made
    made.close()


def test_learns_a_stream_from_nothing_and_follows_a_change(rig):
    rng = np.random.default_rng(0)
    rig.stream(rng, 40)
    assert rig.accuracy(rng) > 0.9
    rig.stream(rng, 60, world=3)
    assert rig.accuracy(rng, world=3) > 0.9
    status = rig.engine.status()
    assert status["swaps"] >= 2 and status["version"] > 1
    swap = rig.topics("swapped")[0]
    assert swap["from_version"] == 1 and all(swap["conditions"].values())
    assert status["scored_samples"] == 100 * 40
    assert status["steps"] == 100 * 40 // 4
    json.dumps(status)


def test_same_stream_same_seed_gives_the_same_weights_bit_for_bit(tmp_path):
    hashes = []
    for name in ("a", "b"):
        rig = Rig(tmp_path / name, device={"threads": 1 if name == "a" else 2})
        rig.stream(np.random.default_rng(5), 30)
        learner = rig.engine._executor.read_bank(Slot.LEARNER)
        digest = b"".join(learner[key].tobytes() for key in sorted(learner))
        hashes.append((digest, [event for event in rig.events if event[0] == "swapped"]))
        rig.close()
    assert hashes[0] == hashes[1]
    assert hashes[0][1]


def test_restart_serves_the_last_good_weights_and_rebuilds_replay(tmp_path):
    rng = np.random.default_rng(1)
    first, payloads = Rig(tmp_path), []
    for _ in range(40):
        images, labels = labelled_images(rng, 40)
        body = wire.samples_body(labels, images)
        payloads.append(first.payload(wire.Op.SAMPLES, 40, body))
        first.feed(payloads[-1])
    served = first.engine.version, first.engine.weights_hash
    learnt = first.topics("swapped")[-1]
    first.close()

    second = Rig(tmp_path)
    assert (second.engine.version, second.engine.weights_hash) == served
    for payload in payloads:
        second.seq += 1
        second.feed(payload)
    status = second.engine.status()
    rebuilt = second.value("samples_skipped_total", reason="rebuilt")
    assert rebuilt + status["scored_samples"] == 1600
    assert 0 < rebuilt <= learnt["samples"]
    assert status["replay"]["samples"] == 1600
    assert status["golden_version"] == 1
    second.close()


def test_late_labels_teach_and_orphans_are_counted(rig):
    rng = np.random.default_rng(2)
    images, labels = labelled_images(rng, 40)
    rig.samples(images, np.full(40, -1, np.int32))
    assert rig.engine.status()["pending_samples"] == 40
    assert rig.engine.status()["scored_samples"] == 0
    rig.label(np.arange(1, 31), labels[:30])
    status = rig.engine.status()
    assert (status["pending_samples"], status["scored_samples"]) == (10, 30)
    assert status["replay"]["samples"] == 30
    rig.withdraw([1])
    rig.label([1, 2], [3, 4])  # gone; corrected
    assert rig.value("samples_skipped_total", reason="label_without_sample") == 1
    per_class = np.bincount([4, *labels[2:30]], minlength=10)
    assert rig.engine.status()["replay"]["per_class"] == per_class.tolist()


def test_withdrawn_samples_leave_replay_and_pending(rig):
    rng = np.random.default_rng(3)
    images, labels = labelled_images(rng, 20)
    labels[10:] = -1
    rig.samples(images, labels)
    rig.withdraw([1, 2, 11])
    status = rig.engine.status()
    assert (status["replay"]["samples"], status["pending_samples"]) == (8, 9)
    rig.label([11], [5])
    assert rig.engine.status()["replay"]["samples"] == 8


def test_operator_promotes_rolls_back_and_falls_back(manual):
    rig = manual
    rng = np.random.default_rng(4)
    rig.stream(rng, 3)
    promoter = rig.engine.promoter
    with pytest.raises(EftraindError, match="no previous"):
        promoter.rollback(to_golden=False, reason="operator")
    before = rig.engine.version
    promoter.promote_now()
    rig.rest()
    promoted = rig.engine.version
    assert promoted > before
    promoter.rollback(to_golden=False, reason="operator")
    rig.rest()
    assert rig.engine.version == before
    promoter.promote_now()
    rig.rest()
    promoter.rollback(to_golden=True, reason="operator")
    rig.rest()
    assert rig.engine.version == 1
    assert rig.engine.status()["rollbacks"] == 2
    assert rig.value("weights_swaps_total", result="rolled_back") == 2


def test_rollback_during_a_promotion_wins(manual):
    rig = manual
    rng = np.random.default_rng(4)
    rig.stream(rng, 3)
    rig.engine.promoter.promote_now()
    rig.rest()
    rig.engine.promoter.promote_now()
    rig.engine.promoter.rollback(to_golden=False, reason="operator")
    rig.rest()
    assert rig.engine.version == 1


def test_restart_after_rollback_finds_what_served(tmp_path):
    rig = Rig(tmp_path, gate=BY_HAND)
    rig.stream(np.random.default_rng(4), 3)
    rig.engine.promoter.promote_now()
    rig.rest()
    rig.engine.promoter.rollback(to_golden=False, reason="operator")
    rig.rest()
    served = rig.engine.weights_hash
    rig.close()
    again = Rig(tmp_path, gate=BY_HAND)
    assert again.engine.weights_hash == served
    again.close()


def test_pause_stops_training_and_not_scoring(rig):
    rng = np.random.default_rng(6)
    rig.engine.pause()
    rig.stream(rng, 5)
    assert rig.engine.status()["steps"] == 0
    assert rig.engine.status()["scored_samples"] == 200
    rig.engine.resume()
    rig.stream(rng, 5)
    assert rig.engine.status()["steps"] == 50


def test_diverging_training_never_reaches_serving(tmp_path):
    rig = Rig(tmp_path, train={"learning_rate": 100.0, "momentum": 0.9})
    rig.stream(np.random.default_rng(7), 20)
    assert rig.engine.version == 1
    assert rig.value("train_nonfinite_total") >= 1
    assert any(event["code"] == "nonfinite" for event in rig.topics("alarm"))
    rng = np.random.default_rng(8)
    images, _ = labelled_images(rng, 4)
    assert np.isfinite(rig.engine.infer(rig.engine.pack(images))).all()
    rig.close()


def test_shuffled_labels_do_no_harm(tmp_path):
    """Poison: once good weights serve, labels without meaning must not replace them."""
    rig, rng = Rig(tmp_path), np.random.default_rng(9)
    rig.stream(rng, 40)
    good = rig.accuracy(rng)
    assert good > 0.9
    for _ in range(40):
        images, labels = labelled_images(rng, 40)
        rig.samples(images, rng.permutation(labels))
    assert rig.accuracy(rng) > good - 0.05
    rig.close()


def test_damaged_record_is_reported_and_passed_over(rig):
    rig.engine.feed(1, b"no record")
    rig.stream(np.random.default_rng(0), 1)
    assert rig.topics("alarm")[0]["code"] == "damaged_record"
    assert rig.engine.status()["scored_samples"] == 40


def test_lagging_engine_stores_without_training(tmp_path):
    rig = Rig(tmp_path, train={"max_lag_samples": 100})
    rng = np.random.default_rng(0)
    for _ in range(10):
        rig.samples(*labelled_images(rng, 40), rest=False)
    rig.rest()
    skipped = rig.value("samples_skipped_total", reason="lag")
    assert skipped == 280  # then 88 samples are left behind the next piece
    assert rig.engine.status()["replay"]["samples"] == 400
    rig.close()


def test_a_slow_start_shows_its_progress(tmp_path):
    """Weights read, device open, its times known, buffers there."""
    rig = Rig(tmp_path)
    assert rig.stages == 4
    rig.close()


def test_state_of_another_network_is_refused(tmp_path):
    Rig(tmp_path).close()
    with pytest.raises(ConfigError, match="digits"):
        boot(
            configuration(tmp_path, model={"network": "lenet5"}),
            metrics=Metrics(owner="engine"),
            clock=FakeClock(),
            emit=lambda topic, data: None,
            ops=FileOps(),
            graph=networks.load("lenet5"),
        )


def test_unusable_first_weights_are_a_configuration_error(tmp_path):
    garbage, other = tmp_path / "garbage.safetensors", tmp_path / "other.safetensors"
    garbage.write_bytes(b"\xff" * 100)
    safetensors.numpy.save_file({"out.bias": np.zeros(10, np.float32)}, other)
    for path in (tmp_path / "missing", garbage, other):
        with pytest.raises(ConfigError, match=r"model\.weights"):
            Rig(tmp_path, model={"weights": str(path)})


def test_damaged_newest_checkpoint_is_skipped_and_golden_loss_survived(tmp_path):
    rig = Rig(tmp_path, gate=BY_HAND)
    rig.stream(np.random.default_rng(4), 3)
    rig.engine.promoter.promote_now()
    rig.rest()
    rig.close()
    files = sorted((tmp_path / "checkpoints").glob("*.safetensors"))
    data = bytearray(files[-1].read_bytes())
    data[-5] ^= 1
    files[-1].write_bytes(data)
    again = Rig(tmp_path, gate=BY_HAND)
    assert again.engine.version == 1
    again.stream(np.random.default_rng(4), 3)
    again.engine.promoter.promote_now()
    again.rest()
    again.close()
    files[0].write_bytes(files[0].read_bytes()[:100])  # the golden generation
    last = Rig(tmp_path, gate=BY_HAND)
    assert last.topics("alarm")[0]["message"].startswith("golden weights lost")
    assert last.engine.version > 1
    last.close()
