"""Whole training runs against PyTorch: each step agrees, and what comes out is as good."""

import itertools

import numpy as np
import pytest
from training_rig import BATCH, DIGITS, FAMILIES, TorchCourse, course, network

from eftraind import params
from eftraind.config import TrainConfig
from eftraind.plan import trainable

SGD = {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
RECIPES = {
    "sgd": SGD,
    "nesterov": SGD | {"optimizer": "nesterov", "label_smoothing": 0.1},
    "clipped": SGD | {"clip_norm": 0.5},
    "weighted": SGD | {"class_weights": tuple(np.linspace(0.5, 2.0, 10).tolist())},
    "adam": {"optimizer": "adam", "learning_rate": 0.003, "momentum": 0.9, "weight_decay": 1e-3},
}
ENDS = {"plain": (0.02, 8)} | dict.fromkeys(("normed", "residual", "depthwise"), (0.05, 3))
"""Step size and epochs after which a network has learnt what it can."""


def made(device, family, **keys):
    graph, train = network(family), TrainConfig(batch=BATCH, **keys)
    start = params.initial(graph, np.random.default_rng(3))
    learns = trainable.resolve(graph, train.trainable)
    return course(device, graph, train, start), TorchCourse(graph, train, start, learns), start


def batches(epochs):
    rng = np.random.default_rng(7)
    for _ in range(epochs):
        order = rng.permutation(len(DIGITS.x_train))
        for first in range(0, len(order) - BATCH + 1, BATCH):
            yield order[first : first + BATCH]


def check_same_weights(ours, theirs, start, tolerance=2e-3):
    """Relative to how far each tensor has moved."""
    for name, expected in theirs.items():
        moved = np.abs(expected - start[name]).max()
        error = np.abs(ours[name] - expected).max()
        assert error <= tolerance * moved + 1e-6, (name, error, moved)


@pytest.mark.parametrize(
    ("family", "recipe"),
    [
        *itertools.product(FAMILIES, ("sgd", "adam")),
        *(("residual", name) for name in ("nesterov", "clipped", "weighted")),
    ],
)
def test_single_steps_agree(device, family, recipe):
    ours, theirs, start = made(device, family, **RECIPES[recipe])
    for number, rows in enumerate(batches(1)):
        if number == 6:
            break
        loss, _ = ours.step(rows)
        assert loss == pytest.approx(theirs.step(rows), rel=1e-4)
    # A gradient that is all but 0 has a sign by rounding alone, and Adam's step is the sign.
    check_same_weights(ours.weights(), theirs.weights(), start, 0.05 if recipe == "adam" else 2e-3)


@pytest.mark.parametrize(
    "choice", [("last-1",), ("norms-and-biases",), ("c2", "b2.bias", "out")], ids=str
)
def test_partial_training_moves_only_what_was_chosen(device, choice):
    ours, theirs, start = made(device, "residual", **SGD, trainable=choice, freeze_norms=True)
    for number, rows in enumerate(batches(1)):
        if number == 4:
            break
        assert ours.step(rows)[0] == pytest.approx(theirs.step(rows), rel=1e-4)
    weights = ours.weights()
    check_same_weights(weights, theirs.weights(), start)
    learns = trainable.resolve(network("residual"), choice)
    same = {name for name, value in weights.items() if np.array_equal(value, start[name])}
    assert same == set(weights) - learns


@pytest.mark.parametrize("family", FAMILIES)
def test_final_accuracy_is_that_of_pytorch(device, family):
    rate, epochs = ENDS[family]
    ours, theirs, _ = made(device, family, **SGD | {"learning_rate": rate})
    for rows in batches(epochs):
        ours.step(rows)
        theirs.step(rows)
    mine, other = ((c.predict(DIGITS.x_test) == DIGITS.y_test).mean() for c in (ours, theirs))
    assert mine > 0.95
    assert abs(mine - other) <= 0.005
