"""What our kernel was to reach: the page says what the models say, and nothing is met by chance."""

from pathlib import Path

import pytest

from eftraind.planner import goals
from eftraind.planner.goals import GOALS, Reached

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reached() -> list[Reached]:
    return goals.reached()


def test_the_page_is_current(reached: list[Reached]) -> None:
    kept = (ROOT / "docs" / "planner.md").read_text(encoding="utf-8")
    assert goals.markdown(reached) in kept, "paste the output of: eftraind reference planner"


def test_each_goal_is_judged_by_the_figures_shown(reached: list[Reached]) -> None:
    found = {(r.goal.board, r.goal.network, r.goal.batch): r for r in reached}
    assert len(found) == len(GOALS)
    vgg = found["zcu102", "vgg16", 16]
    schedule, energy = vgg.ours
    assert vgg.met == (schedule.gflops >= 140 and schedule.gflops / energy.watts >= 12)
    small = found["zcu102", "cifar1x", 1]
    many = found["zcu102", "cifar1x", 128]
    assert small.met == (small.ours[0].gflops >= 0.85 * many.ours[0].gflops)


def test_ours_beats_the_papers_kernel_on_its_own_boards(reached: list[Reached]) -> None:
    for one in reached:
        assert one.ours[0].gflops > 2 * one.theirs[0].gflops
        assert one.ours[0].gflops < one.ours[0].peak_gflops
