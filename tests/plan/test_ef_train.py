"""The cost model of the paper's kernel: printed figures, equations walked as loops, refusals."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eftraind import graph_build, networks
from eftraind.errors import ConfigError, GraphError
from eftraind.graph import Graph
from eftraind.plan.ef_train import additions, buffers, model, schedule
from eftraind.plan.ef_train.cycles import Kernel, phase_cycles, times
from eftraind.plan.ef_train.model import PYNQ_Z1, ZCU102, Target
from eftraind.plan.ef_train.work import Work, convolutions, counted_operations
from eftraind.plan.outcome import Phase, Tile
from eftraind.planner import page, reproduction

ROOT = Path(__file__).parents[2]


def network(*layers: dict[str, Any], side: int = 16) -> Graph:
    return graph_build.from_mapping(
        {
            "name": "small",
            "input": {"shape": [side, side, 3], "dtype": "float32"},
            "classes": 4,
            "layers": [*layers, {"name": "out", "kind": "linear", "channels": 4}],
        }
    )


CONV = {"name": "c1", "kind": "conv", "channels": 20, "kernel": 3, "relu": True}
LEAKY = {"name": "c1", "kind": "conv", "channels": 20, "kernel": 3, "activation": "leaky"}


# The paper's figures


def test_every_printed_figure_is_met() -> None:
    rows = reproduction.all_rows()
    outside = [f"{r.what}: {r.printed} {r.modelled} ({r.difference:+.1%})" for r in rows]
    assert not [text for row, text in zip(rows, outside, strict=True) if not row.within]
    assert len(rows) > 50


def test_the_totals_of_the_paper_and_its_script_to_a_thousandth() -> None:
    exact = [*reproduction.table6_rows()[:1], *reproduction.script_rows()]
    assert all(abs(row.difference) < 1e-3 for row in exact)


def test_the_papers_own_start_time_leaves_small_networks_outside() -> None:
    outside = [r.what for r in reproduction.end_to_end_rows(400) if not r.within]
    assert [what.partition(" ")[0] for what in outside] == ["cifar1x", "cifar1x", "lenet10"]


@pytest.mark.parametrize(
    ("name", "operations", "tolerance"),
    [("vgg16", 91.9e9, 1e-3), ("vgg16bn", 91.9e9, 1e-3), ("alexnet", 6.25e9, 1e-3),
     ("cifar1x", 58.5e6, 1e-3), ("lenet10", 25.17e6, 1e-3)],
)  # fmt: skip
def test_operations_are_those_of_the_paper(name: str, operations: float, tolerance: float) -> None:
    graph = reproduction.network(name)
    assert counted_operations(graph) == pytest.approx(operations, rel=tolerance)
    board = model.plan(graph, ZCU102, 2)
    assert board.operations == 2 * counted_operations(graph)


def test_the_page_is_current() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "eftraind", "reference", "reproduction"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert shown == page.text()
    kept = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
    assert kept == shown, "paste the output of: eftraind reference reproduction"


# The equations, walked as the loops they sum up


def walk_propagation(work: Work, tile: Tile, batch: int, kernel: Kernel) -> int:
    """FP or BP, tile by tile: a store hides behind the last computation of the next tile."""
    total, done = 0, 0
    while done < work.m:
        m_on = min(tile.m_on, work.m - done)
        done += m_on
        t = times(work, tile, kernel, m_on)
        for image in range(batch):
            first_tile = True
            for m in range(0, m_on, tile.tm):
                for row in range(0, work.r, tile.tr):
                    fresh = image == 0 and row == 0 and (work.phase is Phase.FP or m == 0)
                    load = max(t.ifm, t.weights) if fresh else t.ifm
                    total += load
                    for _ in range(tile.tn, work.n, tile.tn):
                        total += max(load, t.compute)
                    total += t.compute if first_tile else max(t.compute, t.out)
                    first_tile = False
            total += t.out + kernel.start_cycles
    return total


def walk_weight_update(work: Work, tile: Tile, batch: int, kernel: Kernel) -> int:
    total, done = 0, 0
    while done < work.m:
        m_on = min(tile.m_on, work.m - done)
        done += m_on
        t = times(work, tile, kernel, m_on)
        load = max(t.ifm, t.loss)
        stored = False
        for image in range(batch):
            last = image == batch - 1
            for _ in range(0, m_on, tile.tm):
                for n in range(0, work.n, tile.tn):
                    if tile.tr >= work.r:
                        total += load if n == 0 else 0
                        total += max(t.ifm, t.compute) if n + tile.tn < work.n else t.compute
                        total += t.out if last else 0
                        continue
                    for row in range(0, work.r, tile.tr):
                        total += load if row == 0 else max(load, t.compute)
                    total += max(t.compute, t.out) if last and stored else t.compute
                    stored = stored or last
        total += t.out if tile.tr < work.r else 0
    return total


@st.composite
def works(draw: st.DrawFn) -> tuple[Work, Tile, int, Kernel]:
    side, t = draw(st.integers(4, 40)), draw(st.sampled_from([4, 6, 16]))
    kernel_side = draw(st.sampled_from([1, 3, 5]))
    phase = draw(st.sampled_from([Phase.FP, Phase.BP, Phase.WU]))
    m, n = draw(st.integers(1, 80)), draw(st.integers(1, 80))
    size = ((kernel_side, kernel_side), (1, 1))
    macs = m * n * side**2 * kernel_side**2
    work = Work("c", phase, m, n, side, side, *size, (side, side), 1, macs)
    m_on = draw(st.sampled_from([t, 2 * t, m]))
    tile = Tile(t, t, draw(st.integers(1, side)), side, min(m_on, m))
    kernel = Kernel(t, draw(st.sampled_from([1, 4])), draw(st.sampled_from([0, 400])))
    return work, tile, draw(st.integers(1, 4)), kernel


@settings(max_examples=200, deadline=None)
@given(works())
def test_the_closed_form_is_the_walk(case: tuple[Work, Tile, int, Kernel]) -> None:
    work, tile, batch, kernel = case
    walk = walk_weight_update if work.phase is Phase.WU else walk_propagation
    cycles = phase_cycles(work, tile, batch, kernel)
    assert cycles == walk(work, tile, batch, kernel)
    assert cycles >= batch * work.macs / kernel.t**2


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 64), st.integers(1, 64), st.integers(8, 32), st.integers(200, 3000))
def test_what_algorithm_1_picks_fits_and_is_the_best_of_its_rows(
    m: int, n: int, side: int, depth: int
) -> None:
    macs = m * n * side**2 * 9
    work = Work("c", Phase.FP, m, n, side, side, (3, 3), (1, 1), (side, side), 1, macs)
    buffer = buffers.Buffers(depth, depth, 512)
    kernel = Kernel(16, 4)
    tile = schedule.best_tile(work, buffer, kernel, 2)
    assert buffer.hold_map(work, tile.tr)
    assert buffers.weight_words(work, 16, tile.m_on) <= 512
    others = [dataclasses.replace(tile, tr=rows) for rows in range(1, side + 1)]
    fitting = [o for o in others if buffer.hold_map(work, o.tr)]
    best = min(phase_cycles(work, other, 2, kernel) for other in fitting)
    assert phase_cycles(work, tile, 2, kernel) == best


@pytest.mark.parametrize("target", [ZCU102, PYNQ_Z1])
@pytest.mark.parametrize("name", ["cifar1x", "vgg16", "lenet10"])
def test_a_design_stays_within_its_budget(name: str, target: Target) -> None:
    graph = networks.load(name)
    design = model.design_for(graph, target, 1)
    t = design.kernel.t
    assert buffers.conv_dsp(t) <= model.DSP_SHARE * target.dsp
    assert design.buffer.total_blocks(t) <= model.BRAM_SHARE * target.bram36


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(1, 12), st.booleans())
def test_traffic_is_what_the_tiles_touch(
    side: int, stride: int, padding: int, rows: int, second: bool
) -> None:
    padding = min(padding, side - 1)
    conv = {"kind": "conv", "kernel": side, "padding": padding, "channels": 20, "relu": True}
    layers = [{**conv, "name": "a", "stride": stride}]
    if second:
        layers.append({**conv, "name": "b"})
    design = model.Design(Kernel(16, 4), schedule.RELEASED)
    for work in convolutions(network(*layers, side=24)):
        above = side - 1 - padding if work.phase is Phase.BP else padding
        tiles = [range(row, min(row + rows, work.r)) for row in range(0, work.r, rows)]
        read = 0
        for tile_rows in tiles:
            touched = [r * work.stride[0] - above + k for r in tile_rows for k in range(side)]
            real = [row for row in touched if 0 <= row < work.source[0]]
            read += max(real) - min(real) + 1 if real else 0
        outputs, inputs = -(-work.m // 16), -(-work.n // 16)
        words = 2 * outputs * work.n * read * work.source[1] + work.m * work.n * work.taps
        result = 2 * work.m * work.r * work.c
        if work.phase is Phase.WU:
            words += result * (inputs if len(tiles) > 1 else 1)
        tile = Tile(16, 16, rows, work.c, work.m)
        cost = model.convolution(work, design, 2, tile)
        assert cost.read_bytes == 4 * (words + (result if work.masked else 0))


# Additions


def test_bn_costs_twenty_cycles_a_pixel_of_sixteen_channels() -> None:
    graph = network(CONV, {"name": "bn", "kind": "batchnorm", "relu": True})
    layer = graph.layers[1]
    free = Kernel(16, 4, start_cycles=0)
    assert additions.batchnorm(layer, 3, free) == 3 * 2 * 16 * 16 * (8 + 12)  # 20 channels: 2 tiles


def test_no_layer_is_free_and_first_layers_have_no_bp() -> None:
    pool = {"name": "p", "kind": "maxpool", "window": 2}
    bn = {"name": "bn", "kind": "batchnorm", "relu": True}
    outcome = model.plan(network({**CONV, "relu": False}, bn, pool), ZCU102, 2)
    assert all(cost.cycles > 0 for cost in outcome.layers)
    phases = {(cost.layer, cost.phase.value) for cost in outcome.layers}
    assert phases == {
        ("c1", "FP"), ("c1", "WU"), ("bn", "FP"), ("bn", "BP"), ("p", "FP"), ("p", "BP"),
        ("out", "FP"), ("out", "BP"), ("out", "WU"), ("host", "other"),
    }  # fmt: skip
    assert all(c.moved_bytes > 0 for c in outcome.layers if c.layer != "host")


def test_bp_swaps_the_roles_of_the_channels() -> None:
    graph = network(CONV, {**CONV, "name": "c2", "channels": 40})
    bp = next(work for work in convolutions(graph) if work.phase is Phase.BP)
    assert (bp.layer, bp.m, bp.n, bp.masked) == ("c2", 20, 40, True)


# Refusals


@pytest.mark.parametrize(
    ("layers", "complaint"),
    [
        ((LEAKY,), "layer c1: .* no activation leaky"),
        ((CONV, {"name": "d", "kind": "dropout", "rate": 0.5}), "layer d: .* no dropout"),
        ((CONV, {"name": "w", "kind": "conv", "groups": 20, "kernel": 3}), "layer w: .* in groups"),
        ((CONV, {**CONV, "name": "s", "stride": 2}), "layer s: .* strided"),
        ((CONV, {**CONV, "name": "b"}, {"name": "a", "kind": "add", "from": ["c1", "b"]}),
         "layer a: .* no add"),
    ],
    ids=["leaky", "dropout", "depthwise", "strided", "add"],
)  # fmt: skip
def test_a_layer_without_a_formula_is_refused(layers: Any, complaint: str) -> None:
    with pytest.raises(GraphError, match=complaint):
        model.plan(network(*layers), ZCU102, 1)


def test_what_does_not_fit_is_refused_with_need_and_budget() -> None:
    vgg = networks.load("vgg16")
    with pytest.raises(ConfigError, match=r"needs 3971 MB of DRAM, .* has 2147 MB on zcu102"):
        model.plan(vgg, ZCU102, 32)
    slow = Target("slow", dsp=50, bram36=300, memory_bytes=1 << 30, stream_words=1)
    with pytest.raises(ConfigError, match=r"has 50 DSP slices, kernel ef_train needs 52"):
        model.plan(vgg, slow, 1)
    tiny = Target("tiny", dsp=100, bram36=70, memory_bytes=1 << 30, stream_words=1)
    with pytest.raises(ConfigError, match=r"need \d+ block RAMs at T = 2, the budget is 6"):
        model.plan(vgg, tiny, 1)
    with pytest.raises(ConfigError, match="board none has 20 DSP slices"):
        model.largest_t(Target("none", 20, 100, 1 << 30, 1))
    with pytest.raises(ConfigError, match="one row needs 678 words"):
        shallow = buffers.Buffers(300, 300, 576)
        model.plan(vgg, ZCU102, 1, model.Design(Kernel(16, 4), shallow))
    with pytest.raises(ConfigError, match="layer conv4_2 FP: 16 output channels need 144 words"):
        shallow = buffers.Buffers(4096, 4096, 100)
        model.plan(vgg, ZCU102, 1, model.Design(Kernel(16, 4), shallow))


def test_a_network_without_convolutions_has_a_plan_within_the_board() -> None:
    graph = network(side=8)
    outcome = model.plan(graph, ZCU102, 4)
    assert {cost.kind for cost in outcome.layers} == {"linear", "loss and launches"}
    assert outcome.resources.bram36 <= ZCU102.bram36
    with pytest.raises(ConfigError, match="the budget is 1"):
        model.plan(graph, dataclasses.replace(ZCU102, bram36=16), 4)


def test_a_faster_clock_speeds_up_the_array_but_not_the_arm_core() -> None:
    graph = networks.load("cifar1x")
    slow = model.design_for(graph, ZCU102, 8)
    fast = slow.at_clock(200)
    assert fast.kernel.start_cycles == 2 * slow.kernel.start_cycles
    before, after = (model.plan(graph, ZCU102, 8, design) for design in (slow, fast))
    assert after.layers[-1].cycles == 2 * before.layers[-1].cycles
    assert 0.5 < after.seconds / before.seconds < 0.75
