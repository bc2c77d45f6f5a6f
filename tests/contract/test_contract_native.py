"""What is the native device's own: generated header, thread counts, missing library, sanitizers."""

import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import test_contract_maps as maps
import test_contract_norm as norm
from contract_rig import GUARD_WORDS, Case, Window, hypers, noise, prepare, run

from eftraind import isa
from eftraind.accel import cpu
from eftraind.accel.cpu import CpuDevice, available_lanes, open_library
from eftraind.accel.native import build
from eftraind.errors import DeviceError, DeviceUnavailable, ProgramError
from eftraind.isa import Command, Flag, Op
from eftraind.plan.tiles import tiles

ROOT = Path(__file__).parents[2]


def test_header_is_generated_from_the_declaration() -> None:
    assert (build.HERE / "isa.h").read_text() == isa.c_header()


def wide_cases(t: int) -> list[Case]:
    """Commands large enough to be shared among threads in several parts."""
    rng = np.random.default_rng(5)
    cases = []
    for window in (
        Window(3, 16, 3, 32, 32, (3, 3), (1, 1), (1, 1), 4),
        Window(1, 24, 20, 32, 32, (3, 3), (1, 1), (1, 1)),
        Window(5, 40, 33, 8, 8, (3, 3), (1, 1), (1, 1)),
        Window(1, 200, 40, 4, 4, (4, 4)),
    ):
        x, y = window.x(rng, t), window.y(rng, t)
        w = window.weights(rng, t, bias=True)
        operands = {"src": x, "weights": w, "dst": y}
        cases.append(Case(window.command(Op.CONV_FP, Flag.BIAS, t), operands))
        operands = {"src": x, "aux": y, "dst": w}
        flags = Flag.BIAS | Flag.ACCUMULATE
        cases.append(Case(window.command(Op.CONV_WU, flags, t), operands))
        if window.lanes == 0:
            operands = {"src": y, "weights": w, "dst": x}
            cases.append(Case(window.command(Op.CONV_BP, Flag.NONE, t), operands))
    return cases + sums(t)


def sums(t: int) -> list[Case]:
    """Commands that add up over many images and pixels."""
    rng = np.random.default_rng(6)
    shape = (9, 20, 33, 35)
    x, dy = maps.spread(rng, t, *shape), maps.spread(rng, t, *shape)
    vectors = norm.vectors(rng, t, 20, 4)
    half, quarter = vectors[: vectors.size // 2], vectors[: vectors.size // 4]
    flat = maps.flat
    depthwise = Window(9, 20, 20, 33, 35, pad=(1, 1)).command(Op.CONV_WU, Flag.NONE, t)
    weights = noise(rng, tiles(20, t) * 9 * t)
    one = np.ones(1, np.float32)
    return [
        Case(
            flat(Op.BN_STAT, Flag.NONE, shape, t, scalar=1e-5),
            {"src": x, "dst": half, "extra": half, "aux": one},
        ),
        Case(
            flat(Op.BN_SUM, Flag.NONE, shape, t),
            {"src": x, "aux": dy, "dst": half, "extra": vectors},
        ),
        Case(flat(Op.BIAS_WU, Flag.NONE, shape, t), {"src": dy, "dst": quarter}),
        Case(replace(depthwise, groups=20), {"src": x, "aux": dy, "dst": weights}),
        Case(Command(Op.NORM, count=300_001), {"src": noise(rng, 300_001), "dst": one}),
    ]


@pytest.mark.parametrize("lanes", available_lanes())
def test_results_do_not_depend_on_the_number_of_threads(lanes: int) -> None:
    for case in wide_cases(lanes):
        one = CpuDevice(threads=1, lanes=lanes)
        expected = run(one, case)["dst"]
        one.close()
        for threads in (2, 3, 5):
            device = CpuDevice(threads=threads, lanes=lanes)
            assert device.capabilities.threads == threads
            for _ in range(3):
                np.testing.assert_array_equal(run(device, case)["dst"], expected)
            device.close()


@pytest.mark.parametrize("lanes", available_lanes())
def test_an_image_gets_the_same_answer_in_any_company(lanes: int) -> None:
    rng = np.random.default_rng(7)
    many = Window(11, 40, 33, 9, 8, (3, 3), (1, 1), (1, 1))
    one = replace(many, images=1)
    x, w = many.x(rng, lanes), many.weights(rng, lanes, bias=True)
    device = CpuDevice(threads=2, lanes=lanes)
    answers = []
    for window, images in [(many, x), *((one, x[i : i + 1]) for i in range(many.images))]:
        operands = {"src": images, "weights": w, "dst": window.y(rng, lanes)}
        case = Case(window.command(Op.CONV_FP, Flag.BIAS, lanes), operands)
        answers.append(run(device, case)["dst"][GUARD_WORDS:-GUARD_WORDS])
    np.testing.assert_array_equal(answers[0], np.concatenate(answers[1:]))
    device.close()


def test_subnormal_numbers_count_as_zero_and_only_while_a_program_runs() -> None:
    """Where the processor can be told so: not by 32-bit ARM, whose vectors always do."""
    device = CpuDevice(threads=1)
    velocity = np.full(64, np.float32(1.2e-38), np.float32)
    step = {
        "src": np.zeros(64, np.float32),
        "dst": np.zeros(64, np.float32),
        "extra": velocity,
        "aux": hypers(RATE=1.0, MOMENTUM=0.5),
    }
    image = run(device, Case(Command(Op.UPDATE, count=64), step))
    assert not image["extra"][GUARD_WORDS:-GUARD_WORDS].any()
    device.close()
    assert velocity[0] * np.float32(0.5) > 0


def test_threads_sleep_and_wake() -> None:
    """Longer than a thread spins; one wake-up missed would hang."""
    device = CpuDevice(threads=3)
    case = wide_cases(device.capabilities.lanes)[0]
    handle = prepare(device, case)
    idle = threading.Event()
    for _ in range(50):
        device.run(handle, 0, 1)
        idle.wait(0.0005)
    device.close()


def test_capabilities() -> None:
    device = CpuDevice(threads=2)
    found = device.capabilities
    assert (found.name, found.lanes) == ("cpu", available_lanes()[0])
    assert found.isa_digest == isa.digest() and found.detail
    assert found.ops == frozenset(Op)  # the library implements every one
    device.close()


def test_closed_device_is_refused_and_closes_twice() -> None:
    device = CpuDevice(threads=1)
    handle = prepare(device, wide_cases(device.capabilities.lanes)[0])
    device.close()
    device.close()
    with pytest.raises((DeviceError, ProgramError), match="closed|names no buffer"):
        device.run(handle, 0, 1)


def test_missing_library_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match=r"native\.build"):
        open_library(tmp_path / "libeftraind.so")


def test_library_of_another_command_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "digest", lambda: 1)
    with pytest.raises(DeviceUnavailable, match="command set"):
        CpuDevice()


def test_unknown_tile_width_is_refused() -> None:
    with pytest.raises(DeviceUnavailable, match="T = 5"):
        CpuDevice(lanes=5)


SANITIZED = """
import sys
sys.path[:0] = [{root!r}, {here!r}]
from pathlib import Path
import numpy as np
import test_contract_learn as learn
import test_contract_maps as maps
import test_contract_norm as norm
import test_contract_rest as rest
from contract_rig import Kind, Window, run
from eftraind.accel.cpu import CpuDevice, available_lanes
from test_contract_conv import LISTED, fitted
from test_contract_native import wide_cases
from eftraind.isa import Flag, Op
from contract_rig import Case
library = Path({library!r})
rng = np.random.default_rng(0)
for t in available_lanes(library):
    device = CpuDevice(2, t, library=library)
    for window in LISTED:
        w = fitted(window, t)
        x, y, k = w.x(rng, t), w.y(rng, t), w.weights(rng, t, bias=True)
        run(device, Case(w.command(Op.CONV_FP, Flag.BIAS, t), dict(src=x, weights=k, dst=y)))
        run(device, Case(w.command(Op.CONV_WU, Flag.BIAS, t), dict(src=x, aux=y, dst=k)))
        if w.lanes in (0, t):
            operands = dict(src=y, weights=k, dst=x, aux=x)
            run(device, Case(w.command(Op.CONV_BP, Flag.MASK, t), operands))
    device.close()
    kind = Kind("checked", t, lambda t=t: CpuDevice(2, t, library=library))
    for stride in (1, 2):
        maps.test_depthwise_listed(kind, stride)
    for flags in maps.BACKWARD:
        maps.test_max_pool_backward_rules(kind, flags)
    for module, names in (
        (maps, "depthwise_any_shape average add_and_pass concat dropout"),
        (norm, "statistics forward sums backward bias_gradient"),
        (rest, "pool_any_shape"),
    ):
        for name in names.split():
            getattr(module, "test_" + name)(kind=kind)
    norm.test_statistics_of_large_maps(kind, 5)
    for rule in learn.RULES:
        learn.test_update(kind, rule, 37, 0.5)
    for count in (1, 100_003):
        learn.test_norm(kind, count, True)
    learn.test_loss(kind, 0.1, True, 17)
print("clean")
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_access_outside_buffers_and_no_undefined_behaviour(tmp_path: Path) -> None:
    """The listed convolutions under AddressSanitizer and UndefinedBehaviorSanitizer."""
    runtime = ""
    if sys.platform == "linux" and shutil.which("g++"):
        command = ["g++", "-print-file-name=libasan.so"]
        runtime = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not os.path.isabs(runtime):
        pytest.skip("g++ with libasan is not installed")
    library = tmp_path / build.LIBRARY
    build.build(library, sanitize=True, environment={"CXX": "g++"})
    script = SANITIZED.format(root=str(ROOT), here=str(Path(__file__).parent), library=str(library))
    environment = {**os.environ, "LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0 and "clean" in done.stdout, done.stderr[-4000:]
