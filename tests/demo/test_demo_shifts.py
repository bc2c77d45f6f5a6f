"""The demo's shifts: deterministic, vectorised, strong enough to be a change of the world."""

import numpy as np
import pytest

from eftraind.demo import data, shifts
from eftraind.errors import ConfigError

IMAGES = data.load("digits").x_test[:50]
SHAPE = (8, 8, 1)
CHANGES = [name for name in shifts.SHIFTS if name != "none"]


@pytest.mark.parametrize("name", shifts.SHIFTS)
@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3), (5, 7, 2)])
def test_shape_and_type_stay_and_the_argument_is_not_touched(
    name: str, shape: tuple[int, ...]
) -> None:
    images = np.random.default_rng(3).integers(0, 256, (4, *shape), dtype=np.uint8)
    before = images.copy()
    seen = shifts.World(name, shape, seed=1).look(images)
    assert seen.shape == images.shape and seen.dtype == np.uint8
    assert not np.shares_memory(seen, images)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("name", shifts.SHIFTS)
def test_one_seed_is_one_world(name: str) -> None:
    first = shifts.World(name, SHAPE, seed=5, stream=2)
    again = shifts.World(name, SHAPE, seed=5, stream=2)
    for _ in range(2):
        np.testing.assert_array_equal(first.look(IMAGES), again.look(IMAGES))


def test_noise_differs_in_grain_between_viewers_and_in_pattern_between_places() -> None:
    flat = np.full((400, *SHAPE), 128, np.uint8)
    here, beside, elsewhere = (
        shifts.World("noise", SHAPE, seed=seed, stream=stream).look(flat).astype(float)
        for seed, stream in ((0, 1), (0, 2), (1, 1))
    )
    assert not np.array_equal(here, beside)
    assert abs(here.mean(axis=0) - beside.mean(axis=0)).max() < 5
    assert abs(here.mean(axis=0) - elsewhere.mean(axis=0)).max() > 50


@pytest.mark.parametrize("name", sorted(set(CHANGES) - {"noise"}))  # its grain is drawn per call
def test_a_batch_sees_what_single_images_see(name: str) -> None:
    world = shifts.World(name, SHAPE, seed=0)
    one_by_one = np.concatenate([world.look(IMAGES[i : i + 1]) for i in range(len(IMAGES))])
    np.testing.assert_array_equal(world.look(IMAGES), one_by_one)


def test_a_right_angle_is_exact() -> None:
    for quarter in (1, 2, 3):
        turned = shifts.rotated(IMAGES, 90.0 * quarter)
        np.testing.assert_array_equal(turned, np.rot90(IMAGES, quarter, axes=(1, 2)))


def test_any_other_angle_keeps_the_middle_and_blackens_the_corners() -> None:
    white = np.full((1, 9, 9, 1), 255, np.uint8)
    turned = shifts.rotated(white, 45.0)[0, :, :, 0]
    assert turned[4, 4] == 255
    assert turned[0, 0] == turned[8, 8] == 0


def test_invert_twice_is_nothing() -> None:
    world = shifts.World("invert", SHAPE, seed=0)
    np.testing.assert_array_equal(world.look(world.look(IMAGES)), IMAGES)


def test_blur_keeps_a_flat_image_flat() -> None:
    flat = np.full((1, 8, 8, 1), 100, np.float32)
    np.testing.assert_allclose(shifts.blurred(flat, 1.3), flat, rtol=1e-5)


def test_an_unknown_shift_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="rotate, invert, blur, noise, none"):
        shifts.World("fog", SHAPE, seed=0)


@pytest.mark.parametrize("name", CHANGES)
def test_a_frozen_classifier_visibly_fails(name: str) -> None:
    """Nearest class mean is no CNN, but it shows that every shift moves the images a lot."""
    digits = data.load("digits")
    flat = digits.x_train.reshape(len(digits.x_train), -1).astype(float)
    means = np.stack([flat[digits.y_train == label].mean(axis=0) for label in range(10)])

    def accuracy(images: np.ndarray) -> float:
        distance = ((images.reshape(len(images), 1, -1) - means) ** 2).sum(axis=-1)
        return float((distance.argmin(axis=1) == digits.y_test).mean())

    shifted = shifts.World(name, SHAPE, seed=0).look(digits.x_test)
    assert accuracy(digits.x_test) > 0.85
    assert accuracy(shifted) < accuracy(digits.x_test) - 0.05
