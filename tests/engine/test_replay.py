"""Replay: never more than its capacity, balanced, uniform, seeded, and forgetful when told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eftraind.store.pending import Pending
from eftraind.store.replay import EMPTY, Replay


def replay(policy="balanced", capacity=40, recent=8, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return Replay(policy=policy, capacity=capacity, recent=recent, classes=classes, rng=rng)


def admit(target, labels, first=0):
    identity = np.arange(first, first + len(labels))
    return target.admit(identity, np.asarray(labels, dtype=np.int64))


@settings(deadline=None)
@given(
    st.sampled_from(["balanced", "uniform", "fresh"]),
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=30), min_size=1, max_size=20),
)
def test_rows_always_agree_with_a_shadow_store(policy, batches):
    target, shadow, first = replay(policy), {}, 0
    for labels in batches:
        placement = admit(target, labels, first)
        assert len(set(placement.rows.tolist())) == len(placement.rows)
        for source, row in zip(placement.source, placement.rows, strict=True):
            shadow[int(row)] = (first + int(source), labels[int(source)])
        first += len(labels)
        assert min(first, 38) <= target.size <= 40
        for row in np.flatnonzero(target.labels != EMPTY):
            assert shadow[int(row)][1] == target.labels[row]
        drawn = target.draw(16, 0.5)
        assert (target.labels[drawn] != EMPTY).all()


def test_rare_classes_keep_everything_and_common_ones_share():
    target = replay()
    labels = np.random.default_rng(3).permutation([0] * 900 + [1] * 90 + [2] * 5 + [3] * 2)
    for first in range(0, len(labels), 50):
        admit(target, labels[first : first + 50], first)
    common, rare = target.class_sizes()[:2], target.class_sizes()[2:]
    assert 15 <= min(common) <= max(common) <= 18 and rare.tolist() == [5, 2]


def test_fresh_keeps_the_newest():
    target = replay("fresh")
    for first in range(0, 200, 10):
        admit(target, [0] * 10, first)
    kept = sorted(target._identity[:40][target._identity[:40] != EMPTY].tolist())
    assert kept == list(range(200 - len(kept), 200)) and len(kept) >= 38


@pytest.mark.parametrize("policy", ["balanced", "uniform"])
def test_every_sample_has_the_same_chance(policy):
    counts = np.zeros(200)
    for seed in range(300):
        target = replay(policy, classes=1, seed=seed)
        for first in range(0, 200, 7):
            admit(target, [0] * min(7, 200 - first), first)
        kept = target._identity[:40]
        counts[kept[kept != EMPTY]] += 1
    # 300 trials at about 39/200: deviation about 7 per sample; blocks of 50 average that out.
    for block in counts.reshape(4, 50).mean(axis=1):
        assert abs(block - counts.mean()) < 4


def test_same_seed_same_rows():
    first, second = replay(seed=7), replay(seed=7)
    for batch in range(20):
        labels = np.random.default_rng(batch).integers(0, 4, 13)
        assert np.array_equal(admit(first, labels, 13 * batch).rows,
                              admit(second, labels, 13 * batch).rows)  # fmt: skip
        assert np.array_equal(first.draw(8, 0.5), second.draw(8, 0.5))


def test_withdrawn_samples_are_never_drawn_and_their_rows_come_back():
    target = replay()
    admit(target, [0, 1, 2, 3] * 10)
    assert target.withdraw(np.arange(0, 40, 4)) >= 10
    assert 0 not in target.labels[target.draw(64, 0.5)]
    admit(target, [0] * 10, 100)
    assert target.size >= 38


def test_relabelled_samples_teach_the_new_label():
    target = replay()
    admit(target, [0] * 20)
    found = target.relabel(np.array([3, 999]), np.array([2, 1]))
    assert found.tolist() == [True, False]
    assert (target.labels == 2).sum() == 1


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="nothing"):
        replay().draw(4, 0.5)


def test_pending_is_bounded_and_hands_out_each_sample_once():
    pending = Pending(4, 2)
    rows = np.arange(12, dtype=np.uint32).reshape(6, 2)
    assert pending.add(np.array([10, 11, 12]), rows[:3]) == 0
    assert pending.add(np.array([13, 14, 15]), rows[3:]) == 2
    found, got = pending.take(np.array([15, 10, 12]))
    assert found.tolist() == [True, False, True]
    assert got.tolist() == [rows[5].tolist(), rows[2].tolist()]
    assert pending.take(np.array([15]))[0].tolist() == [False]
    assert pending.size == 2
    assert pending.add(np.arange(100, 110), np.zeros((10, 2), np.uint32)) == 6 + 2


def test_pending_of_no_capacity_keeps_nothing():
    pending = Pending(0, 2)
    assert pending.add(np.array([1]), np.zeros((1, 2), np.uint32)) == 1
    assert pending.take(np.array([1]))[0].tolist() == [False]
