"""Data sets of the demo: what ships, what a user may bring, what is refused and how."""

from pathlib import Path

import numpy as np
import pytest

from eftraind.demo import data
from eftraind.errors import ConfigError


def write(path: Path, **changes: np.ndarray | None) -> Path:
    arrays: dict[str, np.ndarray | None] = {
        "x_train": np.zeros((6, 5, 4, 3), np.uint8),
        "y_train": np.array([0, 1, 2, 0, 1, 2], np.int64),
        "x_test": np.ones((3, 5, 4, 3), np.uint8),
        "y_test": np.array([2, 1, 0], np.uint8),
    }
    arrays.update(changes)
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    return path


def test_the_digits_ship_with_the_package() -> None:
    digits = data.load("digits")
    assert digits.shape == (8, 8, 1) and digits.classes == 10
    assert len(digits.x_train) == 1397 and len(digits.x_test) == 400
    assert digits.x_train.dtype == np.uint8 and digits.x_train.max() == 255
    assert set(np.unique(digits.y_train)) == set(np.unique(digits.y_test)) == set(range(10))


def test_the_digits_name_their_makers_and_their_licence() -> None:
    text = (Path(data.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert "Alpaydin" in text and "CC BY 4.0" in text


def test_a_users_file(tmp_path: Path) -> None:
    mine = data.load(str(write(tmp_path / "mine.npz")))
    assert (mine.name, mine.shape, mine.classes) == ("mine", (5, 4, 3), 3)
    assert mine.y_train.dtype == np.int32


def test_grey_images_without_a_channel_axis(tmp_path: Path) -> None:
    path = write(
        tmp_path / "grey.npz",
        x_train=np.zeros((6, 5, 4), np.uint8),
        x_test=np.zeros((3, 5, 4), np.uint8),
    )
    assert data.load(str(path)).shape == (5, 4, 1)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"y_test": None}, "lacks y_test"),
        ({"x_train": np.zeros((6, 5, 4, 3), np.float32)}, "x_train is float32, not uint8"),
        ({"x_test": np.zeros((3, 20), np.uint8)}, r"x_test has shape \(3, 20\)"),
        ({"x_test": np.zeros((0, 5, 4, 3), np.uint8)}, r"x_test has shape \(0, 5, 4, 3\)"),
        ({"x_test": np.zeros((3, 5, 5, 3), np.uint8)}, "x_test of"),
        ({"y_train": np.zeros(5, np.int64)}, "6 images but y_train has 5 labels"),
        ({"y_train": np.zeros(6, np.float64)}, "not a row of integers"),
        ({"y_train": np.full(6, -1)}, "labels from -1 to -1"),
        ({"y_train": np.array([{}] * 6)}, "not a usable"),
    ],
)
def test_a_bad_file_says_what_is_wrong(
    tmp_path: Path, changes: dict[str, np.ndarray | None], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        data.load(str(write(tmp_path / "bad.npz", **changes)))
    assert caught.value.remedy


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    missing, text, single = (tmp_path / name for name in ("no.npz", "text.npz", "one.npz"))
    text.write_text("hello")
    with single.open("wb") as file:
        np.save(file, np.zeros(3))
    for path, complaint in ((missing, "cannot read"), (text, "usable"), (single, "one array")):
        with pytest.raises(ConfigError, match=complaint):
            data.load(str(path))


def test_a_truncated_archive(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.npz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ConfigError, match="usable"):
        data.load(str(path))
