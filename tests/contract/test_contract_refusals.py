"""A bad program or bad data gets the right typed error and touches nothing."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from contract_rig import (
    GUARD_WORDS,
    SLOTS,
    Case,
    Kind,
    Window,
    hypers,
    image_of,
    judge,
    noise,
    prepare,
    program_of,
)

from eftraind.errors import NonFiniteError, ProgramError
from eftraind.isa import Command, Flag, Op, Operand
from eftraind.plan.reshape import pack_map, pack_samples, pack_vector
from eftraind.plan.tiles import tiles

Image = npt.NDArray[np.uint32]
WINDOW = Window(2, 5, 6, 7, 9, (3, 3), (1, 1), (1, 1))


def forward_case(t: int) -> Case:
    rng = np.random.default_rng(0)
    operands = {
        "src": WINDOW.x(rng, t),
        "weights": WINDOW.weights(rng, t, bias=True),
        "dst": WINDOW.y(rng, t),
    }
    return Case(WINDOW.command(Op.CONV_FP, Flag.BIAS, t), operands)


def loss_case(t: int, labels: list[int]) -> Case:
    rng = np.random.default_rng(0)
    logits = pack_map(noise(rng, len(labels), 10, 1, 1), t)
    operands = {
        "src": logits,
        "dst": noise(rng, logits.size),
        "aux": np.array(labels, dtype=np.int32),
        "extra": np.zeros(2 * len(labels), dtype=np.float32),
    }
    return Case(Command(Op.LOSS, images=len(labels), m=10, count=len(labels)), operands)


def load_case(t: int, index: list[int]) -> Case:
    rng = np.random.default_rng(0)
    samples = pack_samples(rng.integers(0, 256, (3, 4, 4, 4)).astype(np.uint8), t)
    ones = pack_vector(np.ones(4, np.float32), t, 4)
    operands = {
        "src": samples,
        "weights": np.concatenate([ones, ones]),
        "dst": noise(rng, len(index) * 64),
        "aux": np.array(index, dtype=np.int32),
    }
    command = Command(Op.LOAD, Flag.U8, images=len(index), n=4, rows_in=4, cols_in=4, lanes=4)
    return Case(command, operands)


def update_case(gradient: float, weight: float = 1.0, rate: float = 0.1) -> Case:
    g, w = np.ones(40, np.float32), np.ones(40, np.float32)
    g[33], w[37] = gradient, weight
    operands = {"src": g, "dst": w, "extra": np.ones(40, np.float32)}
    operands["aux"] = hypers(RATE=rate, MOMENTUM=0.9)
    return Case(Command(Op.UPDATE, count=40), operands)


def refused(kind: Kind, case: Case, error: type[Exception]) -> str:
    """The error's text, after a look at every word of memory: all are as before."""
    text, before, after = failed(kind, case, error)
    for name, words in after.items():
        np.testing.assert_array_equal(words, before[name], err_msg=name)
    return text


def failed(
    kind: Kind, case: Case, error: type[Exception]
) -> tuple[str, dict[str, Image], dict[str, Image]]:
    """The error's text, and memory before and after."""
    device = kind.open()
    try:
        handle = prepare(device, case)
        before = image_of(device, case)
        with pytest.raises(error) as caught:
            device.run(handle, 0, 1)
        return str(caught.value), before, image_of(device, case)
    finally:
        device.close()


@pytest.mark.parametrize("label", [-1, 10, 2**31 - 1])
def test_label_out_of_range(kind: Kind, label: int) -> None:
    text = refused(kind, loss_case(kind.lanes, [1, 2, label, 3]), ProgramError)
    assert "LOSS" in text and "OUT_OF_RANGE" in text


@pytest.mark.parametrize("index", [-1, 100, 2**31 - 1])
def test_sample_index_out_of_range(kind: Kind, index: int) -> None:
    text = refused(kind, load_case(kind.lanes, [0, 1, index]), ProgramError)
    assert "LOAD" in text and "OUT_OF_RANGE" in text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_not_finite(kind: Kind, value: float) -> None:
    case = loss_case(kind.lanes, [1, 2, 3])
    case.operands["src"][1, 0, 0, 0, 2] = value
    assert "LOSS" in refused(kind, case, NonFiniteError)


@pytest.mark.parametrize(
    "case",
    [
        update_case(np.nan),
        update_case(np.inf),
        update_case(1.0, np.nan),
        update_case(3e38, rate=9.0),
    ],
    ids=["nan-gradient", "inf-gradient", "nan-weight", "overflow"],
)
def test_update_not_finite(kind: Kind, case: Case) -> None:
    text, before, after = failed(kind, case, NonFiniteError)
    assert "UPDATE" in text and "learning_rate" in text
    moved = [np.flatnonzero(after[name] != before[name]) - GUARD_WORDS for name in ("dst", "extra")]
    stays = 37 if np.isnan(case.operands["dst"][37]) else 33
    for words in moved:  # all but the one that would have been spoilt
        np.testing.assert_array_equal(words, np.delete(np.arange(40), stays))


@pytest.mark.parametrize("rule", [Flag.NONE, Flag.NESTEROV, Flag.ADAM])
@pytest.mark.parametrize("bad", [0, 500, 999])
def test_an_update_in_several_blocks_leaves_one_word(kind: Kind, rule: Flag, bad: int) -> None:
    words = 1000  # the small kernel holds 192 of them
    g, ones = np.ones(words, np.float32), np.ones(words, np.float32)
    g[bad] = np.nan
    state = np.ones(2 * words if rule is Flag.ADAM else words, np.float32)
    operands = {"src": g, "dst": ones, "extra": state, "aux": hypers(RATE=0.1, MOMENTUM=0.9)}
    case = Case(Command(Op.UPDATE, rule, count=words, axis=words), operands)
    _, before, after = failed(kind, case, NonFiniteError)
    changed = np.flatnonzero(after["dst"] != before["dst"]) - GUARD_WORDS
    np.testing.assert_array_equal(changed, np.delete(np.arange(words), bad))
    for name in ("dst", "extra"):
        assert np.isfinite(after[name][GUARD_WORDS:-GUARD_WORDS].view(np.float32)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_step_leaves_weights_whose_gradient_is_not_finite(kind: Kind, value: float) -> None:
    rng, t = np.random.default_rng(0), kind.lanes
    padding = WINDOW.weights_padding(t, bias=True)
    state = {name: noise(rng, padding.size) for name in ("dst", "extra")}
    for words in state.values():
        words[padding] = 0
    operands = {
        "src": np.abs(WINDOW.x(rng, t)),
        "aux": WINDOW.y(rng, t),
        "weights": hypers(RATE=0.1, MOMENTUM=0.9),
        **state,
    }
    operands["aux"][0, 0, 2, 3, 1] = value  # channel 1 of m
    case = Case(WINDOW.command(Op.CONV_WU, Flag.BIAS | Flag.STEP, t), operands)
    text, before, after = failed(kind, case, NonFiniteError)
    assert "CONV_WU" in text
    inside = slice(GUARD_WORDS, -GUARD_WORDS)
    spoilt = np.arange(padding.size) % t == 1  # lane of m, the last of a weight's address
    for name in ("dst", "extra"):
        stays = after[name][inside] == before[name][inside]
        np.testing.assert_array_equal(stays, spoilt | padding)


@pytest.mark.parametrize("flag", [Flag.ACCUMULATE, Flag.ADAM])
def test_a_step_of_a_kind_that_is_not_there(kind: Kind, flag: Flag) -> None:
    device = kind.open()
    case = forward_case(kind.lanes)
    command = replace(case.placed(), op=Op.CONV_WU, flags=Flag.STEP | flag)
    with pytest.raises(ProgramError, match=f"a step with {flag.name}"):
        device.load(program_of([command], kind.lanes))
    device.close()


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_statistics_not_finite(kind: Kind, value: float) -> None:
    rng, t = np.random.default_rng(0), kind.lanes
    x = noise(rng, 2, 5, 3, 3)
    x[1, 4, 2] = value, -value, value  # 3e38: the variance overflows, its inverse is 0
    vectors = {name: noise(rng, 2 * tiles(5, t) * t) for name in ("dst", "extra")}
    operands = {"src": pack_map(x, t), **vectors, "aux": np.array([0.1], dtype=np.float32)}
    sizes = {"n": 5, "m": 5, "rows_in": 3, "cols_in": 3, "rows_out": 3, "cols_out": 3}
    command = Command(Op.BN_STAT, images=2, lanes=t, scalar=1e-5, **sizes)
    if value == 3e38:
        judge(kind, Case(command, operands), ("dst", "extra"))
    else:
        assert "BN_STAT" in refused(kind, Case(command, operands), NonFiniteError)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e25])
def test_norm_not_finite(kind: Kind, value: float) -> None:
    g = np.ones(50, np.float32)
    g[41] = value
    case = Case(Command(Op.NORM, count=50), {"src": g, "dst": np.ones(1, np.float32)})
    assert "NORM" in refused(kind, case, NonFiniteError)


def test_program_for_another_tile_width(kind: Kind) -> None:
    device = kind.open()
    case = forward_case(kind.lanes)
    with pytest.raises(ProgramError, match="T = "):
        device.load(program_of([case.placed()], 2 * kind.lanes))
    device.close()


@pytest.mark.parametrize("operand", ["src", "weights", "dst"])
def test_offset_beyond_the_buffer(kind: Kind, operand: str) -> None:
    device = kind.open()
    case = forward_case(kind.lanes)
    prepare(device, case)
    before = image_of(device, case)
    beyond = replace(case.placed(), **{operand: Operand(SLOTS[operand], 10**6)})
    handle = device.load(program_of([beyond], kind.lanes))
    with pytest.raises(ProgramError, match="needs"):
        device.run(handle, 0, 1)
    for name, words in image_of(device, case).items():
        np.testing.assert_array_equal(words, before[name])
    device.close()


def test_slot_without_buffer(kind: Kind) -> None:
    device = kind.open()
    handle = device.load(program_of([forward_case(kind.lanes).placed()], kind.lanes))
    with pytest.raises(ProgramError, match="names no buffer"):
        device.run(handle, 0, 1)
    device.close()


@pytest.mark.parametrize(
    "change",
    [{"images": 0}, {"m": 0}, {"n": -1}, {"stride_rows": 0}, {"pad_left": -1}, {"lanes": 3}],
    ids=str,
)
def test_impossible_commands_are_not_loaded(kind: Kind, change: dict[str, int]) -> None:
    device = kind.open()
    command = replace(forward_case(kind.lanes).placed(), **change)
    with pytest.raises(ProgramError, match="CONV_FP"):
        device.load(program_of([command], kind.lanes))
    device.close()


def test_commands_after_the_failing_one_do_not_run(kind: Kind) -> None:
    device = kind.open()
    case = loss_case(kind.lanes, [1, -1])
    prepare(device, case)
    before = image_of(device, case)
    copy = Command(Op.COPY, count=8, src=case.placed().src, dst=case.placed().dst)
    handle = device.load(program_of([case.placed(), copy], kind.lanes))
    with pytest.raises(ProgramError, match="LOSS"):
        device.run(handle, 0, 2)
    np.testing.assert_array_equal(image_of(device, case)["dst"], before["dst"])
    device.run(handle, 1, 1)  # and the device still works
    after = image_of(device, case)["dst"]
    assert (after != before["dst"]).any()
    device.close()
