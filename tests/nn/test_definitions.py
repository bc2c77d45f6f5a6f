"""The numpy definitions where PyTorch cannot be the judge: the dropout hash, extreme numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eftraind.nn import learn, norm, ops, pointwise

WORD = 0xFFFFFFFF


def mixed(h: int) -> int:
    """The formula of `dropout_keep`'s docstring, in plain integers."""
    h ^= h >> 16
    h = h * 0x7FEB352D & WORD
    h ^= h >> 15
    h = h * 0x846CA68B & WORD
    return h ^ h >> 16


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, WORD),
    layer=st.integers(0, 1023),
    first=st.integers(0, 10**7),
    shape=st.tuples(*[st.integers(1, 4)] * 4),
    rate=st.floats(0, 0.96875, width=32),
)
def test_dropout_follows_its_formula(
    seed: int, layer: int, first: int, shape: tuple[int, int, int, int], rate: float
) -> None:
    keep = pointwise.dropout_keep(seed, layer, first, shape, rate)
    key = mixed(seed ^ (layer + 1) * 0x9E3779B9 & WORD)
    threshold = int(rate * 2**32)
    for (image, channel, row, col), kept in np.ndenumerate(keep):
        index = (((first + image) * shape[1] + channel) * shape[2] + row) * shape[3] + col
        assert kept == (mixed(key + index & WORD) >= threshold)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_its_expectation(rate: float) -> None:
    shape = (8, 16, 32, 32)
    count = np.prod(shape)
    deviation = np.sqrt(rate * (1 - rate) / count)
    masks = [
        pointwise.dropout_keep(seed, layer, 0, shape, rate) for seed in (1, 2) for layer in (0, 1)
    ]
    for keep in masks:
        assert abs(keep.mean() - (1 - rate)) < 4 * deviation
        for axis in range(4):  # no stripes along any direction
            other = tuple(a for a in range(4) if a != axis)
            lines = keep.mean(axis=other)
            assert np.abs(lines - (1 - rate)).max() < 5 * deviation * np.sqrt(shape[axis])
        ones = np.ones(shape, np.float32)
        assert abs(pointwise.dropout(ones, keep, rate).mean() - 1) < 5 * deviation / (1 - rate)
    for index, one in enumerate(masks):
        for other_mask in masks[:index]:
            both = np.corrcoef(one.ravel(), other_mask.ravel())[0, 1]
            assert abs(both) < 5 / np.sqrt(count)


def test_neighbouring_seeds_do_not_shuffle_one_mask() -> None:
    """With the seed merely xored into the index, seeds 0 and 1 would swap neighbours."""
    first, second = (pointwise.dropout_keep(s, 0, 0, (1, 1, 1, 4096), 0.5)[0, 0, 0] for s in (0, 1))
    swapped = first.reshape(-1, 2)[:, ::-1].ravel()
    assert abs(np.corrcoef(swapped, second)[0, 1]) < 0.1


def test_dropout_of_rate_0_changes_nothing() -> None:
    x = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    keep = pointwise.dropout_keep(5, 0, 0, (1, 2, 3, 4), 0.0)
    np.testing.assert_array_equal(pointwise.dropout(x, keep, 0.0), x)


def test_statistics_survive_a_large_mean_and_a_large_map() -> None:
    rng = np.random.default_rng(0)
    spread = rng.standard_normal((4, 2, 64, 64))
    x = (3e4 + spread).astype(np.float32)
    mean, variance = norm.statistics(x)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(variance, exact.var(axis=(0, 2, 3)), rtol=1e-5)


def test_statistics_of_one_value_and_of_equal_values_are_finite() -> None:
    for x in (np.full((1, 2, 1, 1), 7.0, np.float32), np.full((3, 2, 2, 2), -4.0, np.float32)):
        mean, variance = norm.statistics(x)
        inverse = norm.inverse_deviation(variance, 1e-5)
        assert np.isfinite(inverse).all() and not variance.any()
        assert not norm.forward(x, inverse, np.zeros_like(mean), mean, inverse).any()
        assert np.isfinite(norm.unbiased(variance, x.size // 2)).all()


def test_loss_of_huge_logits_is_finite() -> None:
    logits = np.array([[1e4, -1e4, 0], [88, 89, -1e30]], np.float32)
    losses, gradient = learn.cross_entropy(logits, np.array([1, 1]), 2, smoothing=0.1)
    assert np.isfinite(losses).all() and np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-6)


def test_clipping_scales_only_what_is_too_long() -> None:
    assert learn.clip_scale(4.0, 1.0) == pytest.approx(0.5, rel=1e-5)
    assert learn.clip_scale(4.0, 3.0) == 1.0 == learn.clip_scale(0.0, float("inf"))


def test_the_first_of_equal_maxima_gets_the_gradient() -> None:
    x = np.zeros((1, 1, 3, 3), np.float32)
    dx = ops.maxpool_backward(np.ones((1, 1, 2, 2), np.float32), x, (2, 2), (1, 1), (0, 0))
    assert dx[0, 0].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("kind", ["none", "relu", "relu6", "leaky"])
def test_derivatives_are_the_slopes_of_their_activations(kind: str) -> None:
    x = np.array([-3.1, -0.4, 0.3, 2.0, 5.9, 6.4, 9.0], np.float32)
    step = np.float32(1e-2)
    slope = (pointwise.activate(x + step, kind, 0.3) - pointwise.activate(x - step, kind, 0.3)) / (
        2 * step
    )
    y = pointwise.activate(x, kind, 0.3)
    np.testing.assert_allclose(pointwise.derivative(y, kind, 0.3), slope, atol=1e-3)
