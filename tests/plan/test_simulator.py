"""The closed form against the event-level simulator: random commands, designs and boards."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eftraind import boards, networks
from eftraind.errors import ConfigError
from eftraind.isa import Command, Flag, Op, Operand, Slot
from eftraind.plan import conv_cost, fuse, search, step, window
from eftraind.plan.board import Board
from eftraind.plan.cost import Coster
from eftraind.plan.design import Design, Traits
from eftraind.plan.job import Job
from eftraind.plan.machine import Machine
from eftraind.plan.simulator import simulate

TOLERANCE = 0.05
SIDE = 5
"""Maps smaller than this move fewer words than a burst, whose turn then decides: up to 8 %."""
SOMEWHERE = Operand(Slot.TRAIN_ARENA, 0)


@st.composite
def designs(draw: st.DrawFn) -> tuple[Design, Board]:
    board = boards.load(draw(st.sampled_from(boards.names())))
    t = draw(st.sampled_from((4, 8, 16)))
    port = board.ports.width_bits // 32
    wide = draw(st.sampled_from((1, 2))) if board.ports.count >= 6 else 1
    design = Design(
        t=t,
        array_m=t * draw(st.sampled_from((1, 2))),
        array_n=t * draw(st.sampled_from((1, 2))),
        pixels=draw(st.sampled_from((1, 2, 4))),
        clock_mhz=draw(st.sampled_from(board.clocks.mhz)),
        fmul="fulldsp",
        fadd_tree=draw(st.sampled_from(("fulldsp", "fabric"))),
        fadd_sum="fabric",
        feature_depth=draw(st.sampled_from((512, 1024, 2048))),
        output_depth=draw(st.sampled_from((512, 1024, 2048))),
        weight_tiles=draw(st.sampled_from((64, 256, 512))),
        feature_words=port * wide,
        weight_words=port * wide,
        result_words=port * wide,
        traits=Traits(follows=draw(st.booleans())),
    )
    return design, board


@st.composite
def convolutions(draw: st.DrawFn, t: int) -> Command:
    op = draw(st.sampled_from((Op.CONV_FP, Op.CONV_BP, Op.CONV_WU)))
    kernel = draw(st.sampled_from(((1, 1), (3, 3), (5, 5), (1, 3), (7, 7))))
    stride = draw(st.sampled_from((1, 1, 2)))
    pad = draw(st.sampled_from((0, min(kernel) // 2)))
    rows = draw(st.integers(SIDE * stride + kernel[0], 44))
    cols = draw(st.integers(SIDE * stride + kernel[1], 44))
    n = draw(st.integers(1, 100))
    narrow = draw(st.booleans()) and n <= 4 and op is not Op.CONV_BP
    m = draw(st.integers(1, 100))
    depthwise = draw(st.integers(0, 9)) == 0
    flags = Flag.NONE
    if op is Op.CONV_BP:
        flags |= draw(st.sampled_from((Flag.NONE, Flag.MASK, Flag.MASK | Flag.ACCUMULATE)))
    if op is Op.CONV_WU:
        flags |= draw(st.sampled_from((Flag.NONE, Flag.ACCUMULATE, Flag.BIAS)))
    return Command(
        op, flags, images=draw(st.integers(1, 4)), m=n if depthwise else m, n=n, rows_in=rows,
        cols_in=cols, rows_out=(rows + 2 * pad - kernel[0]) // stride + 1,
        cols_out=(cols + 2 * pad - kernel[1]) // stride + 1, kernel_rows=kernel[0],
        kernel_cols=kernel[1], stride_rows=stride, stride_cols=stride, pad_top=pad, pad_left=pad,
        groups=n if depthwise else 1, lanes=4 if narrow else t, src=SOMEWHERE, weights=SOMEWHERE,
        dst=SOMEWHERE, aux=SOMEWHERE,
    )  # fmt: skip


@st.composite
def streams(draw: st.DrawFn, t: int) -> Command:
    op = draw(
        st.sampled_from([op for op in Op if op.name not in ("CONV_FP", "CONV_BP", "CONV_WU")])
    )
    rows, cols, n = draw(st.integers(2, 40)), draw(st.integers(2, 40)), draw(st.integers(1, 100))
    window = 2 if op in (Op.POOL_FP, Op.POOL_BP, Op.AVG_FP, Op.AVG_BP) else 1
    flags = draw(st.sampled_from((Flag.NONE, Flag.MASK, Flag.ACCUMULATE)))
    return Command(
        op, flags, images=draw(st.integers(1, 4)), m=n, n=n, rows_in=rows, cols_in=cols,
        rows_out=rows // window, cols_out=cols // window, kernel_rows=window, kernel_cols=window,
        stride_rows=window, stride_cols=window, lanes=t, count=draw(st.integers(1, 200_000)),
        src=SOMEWHERE, weights=SOMEWHERE, dst=SOMEWHERE, aux=SOMEWHERE, extra=SOMEWHERE,
    )  # fmt: skip


def drawn_job(draw: st.DrawFn, c: Command) -> Job:
    """With sums for batch normalisation where a command can take them, or finds them ready."""
    if c.op in (Op.BN_STAT, Op.BN_SUM):
        return Job(c, gathered=draw(st.booleans()))
    if c.op is Op.CONV_WU:
        steps = not c.flags & Flag.ACCUMULATE and draw(st.booleans())
        return Job(replace(c, flags=c.flags | Flag.STEP) if steps else c)
    may = c.op in (Op.CONV_FP, Op.CONV_BP, Op.POOL_BP) and not c.flags & Flag.ACCUMULATE
    return Job(c, gathers=may and draw(st.booleans()))


def assert_close(job: Job, design: Design, board: Board) -> None:
    modelled = Coster(design, Machine.of(design, board)).job(job)
    cycles, words = simulate(job, modelled.tiling, design, board)
    assert modelled.read_bytes + modelled.written_bytes == 4 * words
    assert abs(modelled.cycles / cycles - 1) < TOLERANCE, (modelled, cycles)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_convolutions(data: st.DataObject) -> None:
    design, board = data.draw(designs())
    c = data.draw(convolutions(design.t))
    try:
        assert_close(drawn_job(data.draw, c), design, board)
    except ConfigError as error:
        assert "takes" in str(error) or "take " in str(error)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_commands_in_the_window(data: st.DataObject) -> None:
    design, board = data.draw(designs())
    kind = data.draw(st.sampled_from((convolutions, streams)))
    job = drawn_job(data.draw, data.draw(kind(design.t)))
    near = Machine.of(*window.inside(design, board))
    try:
        modelled = Coster(design, near).job(job)
    except ConfigError as error:
        assert "take" in str(error)
        return
    cycles, _ = simulate(job, modelled.tiling, design, board, inside=True)
    assert abs(modelled.cycles / cycles - 1) < TOLERANCE, (modelled, cycles)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_streaming_commands(data: st.DataObject) -> None:
    design, board = data.draw(designs())
    job = drawn_job(data.draw, data.draw(streams(design.t)))
    assert_close(job, design, board)


@pytest.mark.parametrize(
    ("network", "board"), [("cifar1x", "zcu102"), ("cifar1x", "pynq-z2"), ("resnet20", "zcu102")]
)
def test_a_whole_step(network: str, board: str) -> None:
    graph, place = networks.load(network), boards.load(board)
    design = search.plan(graph, place, 4).design
    coster = Coster(design, Machine.of(design, place))
    modelled = simulated = 0.0
    program = step.training_program(graph, place, 4, design.t, fuse=True)
    for job in fuse.jobs(program, design.traits):
        cost = coster.job(job)
        modelled += cost.cycles
        simulated += simulate(job, cost.tiling, design, place)[0]
    assert abs(modelled / simulated - 1) < 0.01


def test_a_whole_step_in_the_window() -> None:
    graph, board = networks.load("cifar1x"), boards.load("zcu102")
    design = search.plan(graph, board, 1).design
    program = step.training_program(graph, board, 1, design.t, fuse=True)
    coster = step.coster_of(design, board, program)
    modelled = simulated = 0.0
    for job in fuse.jobs(program, design.traits):
        cost = coster.job(job)
        modelled += cost.cycles
        inside = job.command.op is not Op.LOAD
        simulated += simulate(job, cost.tiling, design, board, inside=inside)[0]
    assert abs(modelled / simulated - 1) < 0.005


@pytest.mark.parametrize("op", [Op.CONV_FP, Op.CONV_BP, Op.CONV_WU])
@pytest.mark.parametrize("n", [16, 80])
def test_a_pass_that_is_followed_saves_the_depth_of_the_pipeline(op: Op, n: int) -> None:
    """Of large tiles, which no transfer holds up; the simulator says the same."""
    board = boards.load("zcu102")
    draining = Design(
        16, 16, 16, 2, 200.0, "fulldsp", "fulldsp", "fabric", 2048, 2048, 512, 8, 8, 8,
        traits=Traits(follows=False),
    )  # fmt: skip
    following = replace(draining, traits=Traits())
    c = Command(
        op, images=4, m=n, n=n, rows_in=32, cols_in=32, rows_out=32, cols_out=32, kernel_rows=5,
        kernel_cols=5, pad_top=2, pad_left=2, lanes=16, src=SOMEWHERE, weights=SOMEWHERE,
        dst=SOMEWHERE, aux=SOMEWHERE,
    )  # fmt: skip
    costs = [Coster(d, Machine.of(d, board)).command(c) for d in (draining, following)]
    tiling = costs[1].tiling
    assert tiling is not None and tiling == costs[0].tiling
    _, passes = conv_cost.iterations(c, tiling, following)
    assert conv_cost.emptied(c, tiling, draining) == passes
    followed = passes - conv_cost.emptied(c, tiling, following)
    saved = followed * following.pipeline_cycles
    assert (followed > 0) == (n > 16 or op is Op.CONV_WU)
    assert costs[0].cycles - costs[1].cycles == saved
    slow, fast = (simulate(Job(c), tiling, d, board)[0] for d in (draining, following))
    assert slow - fast == pytest.approx(saved)
