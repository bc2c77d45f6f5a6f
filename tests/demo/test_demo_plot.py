"""The picture of a run: written in the format asked for, with everything marked."""

import re
from pathlib import Path

import pytest

from eftraind.demo.story import Mark, Point, Result, Story
from eftraind.errors import ConfigError

plot = pytest.importorskip("eftraind.demo.plot", reason="pip install 'eftraind[demo]'")

RESULT = Result(
    shift="rotate",
    network="digits",
    seed=0,
    samples_sent=300,
    samples_acked_durable=300,
    samples_lost=0,
    predictions=10,
    predictions_lost=0,
    swaps=2,
    rollbacks=1,
    accuracy_before_shift=0.98,
    accuracy_after_shift_served=0.95,
    accuracy_after_shift_frozen=0.15,
    train_samples_per_s=1234.56789,
    infer_p50_ms=1.0,
    infer_p99_ms=2.0,
    wall_s=3.0,
    versions=(1, 2, 3),
)


def story() -> Story:
    points = [Point(100, 0.98, 0.98), Point(200, 0.6, 0.5), Point(300, 0.9, 0.15)]
    marks = [Mark("shift", 110), Mark("swap", 150, 2), Mark("swap", 250, 3)]
    return Story("digits", "rotate", points, [*marks, Mark("rollback", 260, 2)])


def test_svg_says_what_happened(tmp_path: Path) -> None:
    path = tmp_path / "out.svg"
    plot.draw(path, story(), RESULT)
    text = path.read_text(encoding="utf-8")
    for words in ("the world changes: rotate", r"swap \(2\)", r"rollback \(1\)", "served 95.0%"):
        assert re.search(words, text), words


def test_the_same_run_gives_the_same_picture(tmp_path: Path) -> None:
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    plot.draw(first, story(), RESULT)
    plot.draw(second, story(), RESULT)
    assert first.read_bytes() == second.read_bytes()


def test_png_and_a_run_without_events(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    plot.draw(path, Story("digits", "none"), RESULT)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_bad_path_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.png, \.svg"):
        plot.check_path(tmp_path / "out.docx")
    with pytest.raises(ConfigError, match="no directory"):
        plot.check_path(tmp_path / "missing" / "out.png")


def test_the_result_as_json() -> None:
    asked = (
        "samples_sent samples_acked_durable samples_lost predictions predictions_lost swaps "
        "rollbacks accuracy_before_shift accuracy_after_shift_served accuracy_after_shift_frozen "
        "train_samples_per_s infer_p50_ms infer_p99_ms wall_s shift network seed versions"
    )
    written = RESULT.as_json()
    assert set(written) == set(asked.split())
    assert written["train_samples_per_s"] == 1234.5679
    assert written["versions"] == [1, 2, 3]
