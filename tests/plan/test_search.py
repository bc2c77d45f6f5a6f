"""The planner for our kernel: designs inside budgets, figures, refusals, the same answer twice."""

from dataclasses import replace
from pathlib import Path

import pytest

from eftraind import boards, networks
from eftraind.errors import ConfigError, ProgramError
from eftraind.isa import Command, Op
from eftraind.plan import build, map_cost, search, step, window
from eftraind.plan.board import Budget
from eftraind.plan.design import Design, resources
from eftraind.plan.job import Job
from eftraind.plan.outcome import Phase
from eftraind.plan.tiling import tiling_of
from eftraind.planner import figures_page

DESIGN = Design(
    16, 16, 16, 2, 200.0, "fulldsp", "fulldsp", "fabric", 2048, 2048, 512, 8, 8, 8
)  # fmt: skip


@pytest.mark.parametrize(
    ("network", "board", "batch", "at_least"),
    [
        ("vgg16", "zcu102", 16, 140.0),
        ("cifar1x", "zcu102", 128, 60.0),
        ("cifar1x", "pynq-z1", 128, 10.0),
    ],
)
def test_the_figures_that_were_asked_for(
    network: str, board: str, batch: int, at_least: float
) -> None:
    found = search.plan(networks.load(network), boards.load(board), batch)
    assert at_least < found.schedule.gflops < found.schedule.peak_gflops
    assert Budget().holds(found.schedule.resources, boards.load(board).fabric)


@pytest.mark.parametrize("board", boards.names())
def test_every_board_trains_the_small_network_within_its_budget(board: str) -> None:
    found = search.plan(networks.load("cifar1x"), boards.load(board), 8)
    outcome = found.schedule
    assert Budget().holds(outcome.resources, boards.load(board).fabric)
    assert outcome.memory_bytes <= boards.load(board).memory.cma_bytes
    assert all(cost.cycles > 0 for cost in outcome.layers)
    assert found == search.plan(networks.load("cifar1x"), boards.load(board), 8)


def test_the_schedule_covers_the_program() -> None:
    graph = networks.load("resnet20")
    outcome = step.schedule(graph, boards.load("zcu102"), 4, DESIGN)
    named = {cost.layer for cost in outcome.layers}
    assert named == {layer.name for layer in graph.layers} | {"load", "loss", "update"}
    trained = [cost for cost in outcome.of_phase(Phase.WU) if cost.kind == "conv"]
    assert all(cost.operations > 0 and cost.tile is not None for cost in trained)


@pytest.mark.parametrize("objective", search.OBJECTIVES)
def test_an_objective_is_not_beaten_by_another_in_its_own_terms(objective: str) -> None:
    graph, board = networks.load("cifar1x"), boards.load("pynq-z2")
    ours = search.plan(graph, board, 16, objective)
    other = search.plan(graph, board, 16)
    if objective == "throughput":
        assert ours.schedule.seconds == other.schedule.seconds
    if objective == "latency":
        one = step.schedule(graph, board, 1, ours.design)
        assert one.seconds <= step.schedule(graph, board, 1, other.design).seconds


def test_what_does_not_fit_is_refused_with_need_and_budget() -> None:
    with pytest.raises(ConfigError, match="vgg16 needs .* of contiguous memory .* has 134.2 MB"):
        search.plan(networks.load("vgg16"), boards.load("pynq-z1"), 1)


def test_a_window_holds_a_whole_step_or_is_not_there() -> None:
    graph, board = networks.load("cifar1x"), boards.load("zcu102")
    one, many = search.plan(graph, board, 1), search.plan(graph, board, 128)
    assert many.design.window_words == 0
    program = step.training_program(graph, board, 1, one.design.t, fuse=True)
    assert window.holds(program, one.design)
    assert Budget().holds(one.schedule.resources, board.fabric)
    less = replace(one.design, window_words=one.design.window_words - 1)
    assert not window.holds(program, less)
    without = step.schedule(graph, board, 1, replace(one.design, window_words=0))
    assert step.schedule(graph, board, 1, less).cycles == without.cycles > one.schedule.cycles
    assert resources(one.design).bram36 > without.resources.bram36
    assert one.schedule.gflops >= 0.85 * many.schedule.gflops
    moved = sum(cost.moved_bytes for cost in one.schedule.layers)
    assert 0 < moved < 0.1 * sum(cost.moved_bytes for cost in without.layers)


def test_a_batch_that_does_not_fit_goes_in_chunks() -> None:
    board = boards.load("pynq-z1")
    found = search.plan(networks.load("cifar1x"), board, 1024)
    assert found.schedule.memory_bytes <= board.memory.cma_bytes


def test_a_budget_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="the smallest takes .* the budget is"):
        search.plan(
            networks.load("cifar1x"), boards.load("pynq-z1"), 8, budget=Budget(dsp=0.01, lut=0.01)
        )


def test_buffers_that_hold_no_window_name_the_layer_need_and_budget() -> None:
    shallow = replace(DESIGN, feature_depth=8)
    with pytest.raises(ConfigError, match="layer conv2: one window takes 9 .* the design has 8"):
        step.schedule(networks.load("cifar1x"), boards.load("zcu102"), 2, shallow)


def test_a_map_wider_than_the_buffers_is_cut_into_columns() -> None:
    c = Command(
        Op.CONV_FP, images=1, m=16, n=16, rows_in=64, cols_in=64, rows_out=64, cols_out=64,
        kernel_rows=3, kernel_cols=3, pad_top=1, pad_left=1, lanes=16,
    )  # fmt: skip
    tiling = tiling_of(c, replace(DESIGN, feature_depth=100))
    assert (tiling.rows, tiling.cols) == (2, 22)  # 31 columns fit: three equal parts of 64


def test_an_operation_without_a_formula_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(map_cost._FORMULAS) == set(Op) - {Op.CONV_FP, Op.CONV_BP, Op.CONV_WU}
    monkeypatch.delitem(map_cost._FORMULAS, Op.COPY)
    with pytest.raises(ProgramError, match="no cost formula"):
        map_cost.traffic(Job(Command(Op.COPY, count=1)), DESIGN)


def test_resources_grow_with_the_array_and_the_paper_s_five_dsp_a_mac_are_an_upper_bound() -> None:
    one, two = resources(replace(DESIGN, pixels=1)), resources(DESIGN)
    assert two.dsp > one.dsp and two.bram36 >= one.bram36
    assert two.dsp < 5 * DESIGN.macs


def test_a_build_description_comes_back_the_same() -> None:
    description = build.describe(DESIGN, boards.load("zcu102"))
    text = build.to_json(description)
    assert build.from_json(text) == description
    with pytest.raises(ConfigError, match=r"did you mean output_depth\?"):
        build.from_json(text.replace("output_depth", "output_dept"))
    with pytest.raises(ConfigError, match="plan again"):
        build.from_json(text.replace(str(description.isa_digest), "1"))


def test_the_kernel_as_written_is_planned_with_what_its_sources_can_do() -> None:
    graph, board = networks.load("cifar1x"), boards.load("zcu102")
    written = search.plan(graph, board, 16, limits=search.WRITTEN)
    assert (written.design.array_m, written.design.array_n) == (written.design.t,) * 2
    assert written.design.pixels == 2 and written.design.feature_words == 4
    assert written.schedule.gflops < search.plan(graph, board, 16).schedule.gflops


def test_a_board_may_have_a_budget_of_its_own() -> None:
    graph, board = networks.load("cifar1x"), boards.load("pynq-z1")
    larger = replace(board, budget=Budget(lut=0.85))
    more = search.plan(graph, larger, 16)
    assert more.design.macs > search.plan(graph, board, 16).design.macs
    assert "the budget is" in more.limit


def test_an_array_is_a_multiple_of_t() -> None:
    with pytest.raises(ConfigError, match="array_m is 24, T is 16"):
        replace(DESIGN, array_m=24)


@pytest.mark.parametrize(
    ("side", "lut", "dsp"), [(4, 7_100, 32), (8, 28_200, 128), (16, 118_500, 512)]
)
def test_the_array_s_area_is_near_that_of_an_open_tool(side: int, lut: int, dsp: int) -> None:
    """Yosys on our own operators, tree and accumulators: `docs/planner.md` has the margin."""
    one = Design(
        4, 4, 4, 1, 100.0, "fulldsp", "fabric", "fabric", 512, 2048, 64, 4, 4, 4
    )  # fmt: skip
    wide = replace(one, t=side, array_m=side, array_n=side)
    base = resources(replace(one, pixels=1))
    per_mac = (resources(replace(one, pixels=2)).lut or 0) - (base.lut or 0)
    assert per_mac / 16 * side**2 == pytest.approx(lut, rel=0.1)
    assert wide.macs * 2 == dsp


def test_the_page_of_figures_is_current() -> None:
    kept = (Path(__file__).parents[2] / "docs" / "figures.md").read_text(encoding="utf-8")
    assert kept == figures_page.text(), "paste the output of: eftraind reference figures"
