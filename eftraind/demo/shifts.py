"""The ways in which the demo's world changes: from images to images, labels untouched.

Images are uint8, (count, height, width, channels), and come back so. Everything is vectorised
over the batch. A `World` draws only from its own generators: one seed, one world; the argument is
never written to. Strengths are chosen so that a small CNN trained on clean digits visibly fails
and one that goes on learning recovers.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from eftraind.errors import ConfigError

Images = NDArray[np.uint8]

ROTATION_DEGREES = 90.0
BLUR_CONTRAST = 0.6
NOISE_CONTRAST = 0.5
NOISE_DARK_LEVEL = 60.0
NOISE_PATTERN_SIGMA = 75.0
NOISE_GRAIN_SIGMA = 12.0


class World:
    """What a camera sees once shift `name` has happened.

    `seed` decides what belongs to the place (the pattern of a failing sensor), `stream` what
    differs from viewer to viewer (the grain of each picture).
    """

    def __init__(self, name: str, shape: tuple[int, ...], *, seed: int, stream: int = 0) -> None:
        if name not in SHIFTS:
            raise ConfigError(
                f"there is no shift called {name!r}", remedy=f"choose one of {', '.join(SHIFTS)}"
            )
        self.name = name
        self._look = SHIFTS[name]
        self._rng = np.random.default_rng([seed, 1, stream])
        pattern_rng = np.random.default_rng([seed, 0])
        self.pattern = pattern_rng.standard_normal(shape, dtype=np.float32)

    def look(self, images: Images) -> Images:
        """A new array: `images` as this world shows them."""
        return self._look(images, self.pattern, self._rng)


Look = Callable[[Images, NDArray[np.float32], np.random.Generator], Images]


def none(images: Images, pattern: NDArray[np.float32], rng: np.random.Generator) -> Images:
    """The world stays as it is."""
    return images.copy()


def rotate(images: Images, pattern: NDArray[np.float32], rng: np.random.Generator) -> Images:
    """The camera was mounted sideways."""
    return rotated(images, ROTATION_DEGREES)


def invert(images: Images, pattern: NDArray[np.float32], rng: np.random.Generator) -> Images:
    """Contrast is inverted: a negative, or light where there was shadow."""
    return np.subtract(255, images, dtype=np.uint8)


def blur(images: Images, pattern: NDArray[np.float32], rng: np.random.Generator) -> Images:
    """A wet lens: out of focus, and much of the contrast gone in a bright veil."""
    sigma_pixels = float(np.sqrt(images.shape[1] / 8.0))
    soft = blurred(images.astype(np.float32), sigma_pixels)
    return _to_bytes(soft * BLUR_CONTRAST + 255.0 * (1.0 - BLUR_CONTRAST))


def noise(images: Images, pattern: NDArray[np.float32], rng: np.random.Generator) -> Images:
    """A failing sensor in the dark: each pixel has its own offset, and each picture its grain."""
    grain = rng.standard_normal(images.shape, dtype=np.float32)
    return _to_bytes(
        images * NOISE_CONTRAST
        + NOISE_DARK_LEVEL
        + NOISE_PATTERN_SIGMA * pattern
        + NOISE_GRAIN_SIGMA * grain
    )


SHIFTS: Mapping[str, Look] = MappingProxyType(
    {"rotate": rotate, "invert": invert, "blur": blur, "noise": noise, "none": none}
)


def rotated(images: Images, degrees: float) -> Images:
    """Turn counter-clockwise about the centre, bilinear, black outside; exact at right angles.

    >>> rotated(np.array([[[1], [2]], [[3], [4]]], np.uint8)[None], 90.0)[0, :, :, 0].tolist()
    [[2, 4], [1, 3]]
    """
    height, width = images.shape[1:3]
    angle = np.deg2rad(degrees)
    row, column = np.meshgrid(
        np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij"
    )
    # Where each output pixel comes from. Rounding keeps right angles exact.
    source_row = np.round(np.cos(angle) * row + np.sin(angle) * column + (height - 1) / 2, 9)
    source_column = np.round(np.cos(angle) * column - np.sin(angle) * row + (width - 1) / 2, 9)
    top, left = np.floor(source_row).astype(int), np.floor(source_column).astype(int)
    down, right = source_row - top, source_column - left
    total = np.zeros(images.shape, np.float32)
    for rows, columns, weight in (
        (top, left, (1 - down) * (1 - right)),
        (top, left + 1, (1 - down) * right),
        (top + 1, left, down * (1 - right)),
        (top + 1, left + 1, down * right),
    ):
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        corner = images[:, rows.clip(0, height - 1), columns.clip(0, width - 1)]
        total += corner * (weight * inside)[None, :, :, None].astype(np.float32)
    return _to_bytes(total)


def blurred(images: NDArray[np.float32], sigma_pixels: float) -> NDArray[np.float32]:
    """Gaussian blur, separable, edges repeated."""
    reach = max(1, int(np.ceil(3 * sigma_pixels)))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_pixels) ** 2)
    taps /= taps.sum()
    for axis in (1, 2):
        pad = [(reach, reach) if a == axis else (0, 0) for a in range(4)]
        padded = np.pad(images, pad, mode="edge")
        length = images.shape[axis]
        total = np.zeros_like(images)
        for offset, tap in enumerate(taps):
            total += np.float32(tap) * padded.take(np.arange(offset, offset + length), axis)
        images = total
    return images


def _to_bytes(values: NDArray[np.floating]) -> Images:
    clipped: Images = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return clipped
