"""Labelled images for the demo: the digits that ship with it, or a user's own .npz file.

Owns the shape of a `Dataset` and every complaint about a bad file. Never shuffles and never
changes a pixel: what is in the file is what the daemon gets.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eftraind.errors import ConfigError

DIGITS = "digits"
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
REMEDY = (
    "give an .npz with x_train, x_test (uint8, N x H x W or N x H x W x C) "
    "and y_train, y_test (integer labels from 0)"
)


@dataclass(frozen=True)
class Dataset:
    """Images are uint8 NHWC, labels int32; test images are never streamed."""

    name: str
    x_train: NDArray[np.uint8]
    y_train: NDArray[np.int32]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.int32]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        _, height, width, channels = self.x_train.shape
        return height, width, channels

    @property
    def classes(self) -> int:
        return int(max(self.y_train.max(), self.y_test.max())) + 1


def load(source: str) -> Dataset:
    """The data set called `source`: "digits", or the path of an .npz file."""
    if source == DIGITS:
        with resources.as_file(resources.files("eftraind.demo") / "digits.npz") as path:
            return load_npz(path, name=DIGITS)
    return load_npz(Path(source))


def load_npz(path: Path, *, name: str | None = None) -> Dataset:
    """Read and check a file; ConfigError names what is wrong with it."""
    arrays = _read(path)
    images = {key: _images(path, key, arrays[key]) for key in ("x_train", "x_test")}
    labels = {key: _labels(path, key, arrays[key]) for key in ("y_train", "y_test")}
    for part in ("train", "test"):
        if len(images[f"x_{part}"]) != len(labels[f"y_{part}"]):
            raise ConfigError(
                f"{path}: x_{part} has {len(images[f'x_{part}'])} images "
                f"but y_{part} has {len(labels[f'y_{part}'])} labels",
                remedy=REMEDY,
            )
    if images["x_train"].shape[1:] != images["x_test"].shape[1:]:
        raise ConfigError(
            f"{path}: x_train holds images of {images['x_train'].shape[1:]}, "
            f"x_test of {images['x_test'].shape[1:]}",
            remedy="give both parts the same height, width and channels",
        )
    return Dataset(
        name or path.stem, images["x_train"], labels["y_train"], images["x_test"], labels["y_test"]
    )


def _read(path: Path) -> Mapping[str, NDArray[np.generic]]:
    try:
        # Opened here, because np.load leaves the file open when it is not a proper archive.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ConfigError(f"{path} holds one array, not an .npz archive", remedy=REMEDY)
            missing = [key for key in ARRAYS if key not in archive.files]
            if missing:
                raise ConfigError(f"{path} lacks {', '.join(missing)}", remedy=REMEDY)
            return {key: archive[key] for key in ARRAYS}
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}", remedy=REMEDY) from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} is not a usable .npz file: {error}", remedy=REMEDY) from None


def _images(path: Path, key: str, array: NDArray[np.generic]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        raise ConfigError(f"{path}: {key} is {array.dtype}, not uint8", remedy=REMEDY)
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise ConfigError(f"{path}: {key} has shape {array.shape}", remedy=REMEDY)
    with_channels = array if array.ndim == 4 else array[..., None]
    return np.ascontiguousarray(with_channels, dtype=np.uint8)


def _labels(path: Path, key: str, array: NDArray[np.generic]) -> NDArray[np.int32]:
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ConfigError(
            f"{path}: {key} is {array.dtype} of shape {array.shape}, not a row of integers",
            remedy=REMEDY,
        )
    lowest, highest = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if lowest < 0 or highest > 65535:
        raise ConfigError(f"{path}: {key} has labels from {lowest} to {highest}", remedy=REMEDY)
    return array.astype(np.int32)
