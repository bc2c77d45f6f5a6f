"""The gate: promotes the better, refuses the rest, watches what serves, errs as rarely as said."""

import numpy as np
import pytest

from eftraind.engine.gate import Gate, Race, Rules, Window

RULES = Rules(
    alpha=0.05, min_samples=20, max_samples=300, probation_samples=100, window_samples=50,
    max_norm_ratio=4.0, min_class_share=0.1,
)  # fmt: skip
CLASSES = 4


def answers(rng, labels, accuracy):
    """Predictions right with the given probability, else some other class."""
    wrong = (labels + rng.integers(1, CLASSES, len(labels))) % CLASSES
    return np.where(rng.random(len(labels)) < accuracy, labels, wrong)


def run(gate, rng, batches, **accuracy):
    for _ in range(batches):
        labels = rng.integers(0, CLASSES, 10)
        predicted = {name: answers(rng, labels, value) for name, value in accuracy.items()}
        if "candidate" in predicted:
            predicted.setdefault("learner", predicted["candidate"])
        verdict = gate.score(labels, predicted)
        if verdict is not None:
            return verdict
    return None


def gate_with_trial(**facts):
    gate = Gate(RULES, CLASSES)
    gate.open_trial(2, facts.get("norm_ratio", 1.0), facts.get("finite", True))
    return gate


def test_better_candidate_is_promoted_with_all_conditions():
    verdict = run(gate_with_trial(), np.random.default_rng(0), 40,
                  serving=0.3, golden=0.3, candidate=0.9)  # fmt: skip
    assert verdict.action == "promote" and all(verdict.conditions.values())


def test_worse_candidate_is_rejected():
    verdict = run(gate_with_trial(), np.random.default_rng(0), 40,
                  serving=0.9, golden=0.9, candidate=0.3)  # fmt: skip
    assert verdict.action == "reject" and "worse" in verdict.reason


def test_equal_candidate_ends_undecided():
    gate, rng = gate_with_trial(), np.random.default_rng(1)
    verdict = run(gate, rng, 40, serving=0.8, golden=0.8, candidate=0.8)
    assert verdict.action == "reject" and "better_than_serving" in verdict.reason


@pytest.mark.parametrize("facts", [{"finite": False}, {"norm_ratio": 5.0}])
def test_spoilt_weights_are_rejected_at_once(facts):
    verdict = run(gate_with_trial(**facts), np.random.default_rng(0), 1,
                  serving=0.3, golden=0.3, candidate=0.9)  # fmt: skip
    assert verdict.action == "reject"


def test_stale_candidate_is_renewed_when_the_learner_outruns_it():
    verdict = run(gate_with_trial(), np.random.default_rng(0), 40,
                  serving=0.2, golden=0.2, candidate=0.2, learner=0.8)  # fmt: skip
    assert verdict.action == "renew"


def test_candidate_that_is_ahead_is_not_renewed():
    verdict = run(gate_with_trial(), np.random.default_rng(0), 40,
                  serving=0.2, golden=0.2, candidate=0.6, learner=0.95)  # fmt: skip
    assert verdict.action == "promote"


def test_candidate_that_forgot_a_class_is_not_promoted():
    gate, rng = gate_with_trial(), np.random.default_rng(0)
    verdict = None
    while verdict is None:
        labels = rng.integers(0, CLASSES, 10)
        candidate = np.where(labels == 3, 0, labels)
        verdict = gate.score(labels, {"serving": answers(rng, labels, 0.2),
                                      "golden": answers(rng, labels, 0.2),
                                      "candidate": candidate, "learner": candidate})  # fmt: skip
        if gate.trial.labelled.min() < 20:
            verdict = None
    assert verdict.action == "reject" and "no_class_collapsed" in verdict.reason


def test_false_promotions_stay_below_alpha():
    """Equal models, looked at after every batch: at most alpha of the candidates get through."""
    rng = np.random.default_rng(7)
    promoted = 0
    for _ in range(400):
        verdict = run(gate_with_trial(), rng, 40, serving=0.7, golden=0.7, candidate=0.7)
        promoted += verdict.action == "promote"
    assert promoted / 400 <= RULES.alpha


def test_probation_rolls_back_and_ends():
    gate, rng = Gate(RULES, CLASSES), np.random.default_rng(2)
    gate.swapped(probation=True)
    verdict = run(gate, rng, 10, serving=0.2, golden=0.2, previous=0.9)
    assert verdict.action == "rollback"
    gate.swapped(probation=True)
    assert run(gate, rng, 11, serving=0.8, golden=0.8, previous=0.8) is None
    assert not gate.on_probation


def test_serving_worse_than_golden_falls_back():
    gate = Gate(RULES, CLASSES)
    verdict = run(gate, np.random.default_rng(3), 20, serving=0.3, golden=0.9)
    assert verdict.action == "fallback"


def test_race_counts_only_disagreement():
    race = Race()
    race.add(np.array([True, True, False, False]), np.array([True, False, True, False]))
    assert (race.wins, race.losses, race.samples) == (1, 1, 4)


def test_window_forgets():
    window = Window(4)
    window.add(np.array([True, True, True]))
    assert window.accuracy == 1.0
    window.add(np.array([False] * 3))
    assert (window.samples, window.accuracy) == (4, 0.25)
    window.add(np.array([True] * 9))
    assert window.accuracy == 1.0
