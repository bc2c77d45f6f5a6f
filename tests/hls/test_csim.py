"""What is the csim device's own: registers, report, faults, and how it is driven."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eftraind import networks, registers
from eftraind.accel import csim, kernel
from eftraind.accel.csim import BASE_ADDRESS, CsimDevice, open_library
from eftraind.errors import DeviceError, DeviceUnavailable, ProgramError
from eftraind.isa import Command, Op, Operand, Program, Slot
from eftraind.plan import lower
from eftraind.registers import Control, Ctrl, Entry, Fault, argument_offsets

SMALL = 1 << 22


@pytest.fixture(params=kernel.SIZES)
def device(request: pytest.FixtureRequest) -> CsimDevice:
    opened = CsimDevice(request.param, memory_bytes=SMALL)
    for slot in (Slot.POOL, Slot.TRAIN_OUT):
        opened.bind(slot, opened.allocate(64))
    return opened


def copy(count: int, src: int = 0, dst: int = 0) -> Command:
    places = {"src": Operand(Slot.POOL, src), "dst": Operand(Slot.TRAIN_OUT, dst)}
    return Command(Op.COPY, count=count, **places)


def load(device: CsimDevice, *commands: Command) -> int:
    lanes = device.capabilities.lanes
    return device.load(Program("p", lanes, commands, {}, ("layer",)))


def test_capabilities_and_sizes(device: CsimDevice) -> None:
    assert device.capabilities.name == "csim"
    assert device.capabilities.ops == frozenset(Op)
    expected = kernel.SIZES[device.capabilities.lanes]
    assert device.sizes.report_words() == expected.report_words()


def test_registers_are_driven_as_the_documentation_says(
    device: CsimDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = load(device, copy(8), copy(4))
    accesses: list[tuple[str, int]] = []
    read, write = device.fabric.read, device.fabric.write
    monkeypatch.setattr(
        device.fabric, "read", lambda at: (accesses.append(("read", at)), read(at))[1]
    )
    monkeypatch.setattr(
        device.fabric, "write", lambda at, v: (accesses.append(("write", at)), write(at, v))
    )
    device.run(handle, 0, 2)
    offsets = argument_offsets()
    arguments = [("write", offsets[name]) for name in ("program", "count", "ticket")]
    control = [("write", Control.CTRL), ("read", Control.CTRL)]
    assert accesses == arguments + control


def test_done_is_cleared_by_reading_and_the_interrupt_by_toggling(device: CsimDevice) -> None:
    device.fabric.write(Control.INTERRUPT_ENABLE, 1)
    device.fabric.write(Control.GLOBAL_INTERRUPT_ENABLE, 1)
    device.fabric.write(argument_offsets()["count"], 0)
    device.fabric.write(Control.CTRL, Ctrl.START)
    assert device.fabric.machine.interrupt()
    assert device.fabric.read(Control.CTRL) == Ctrl.DONE | Ctrl.IDLE | Ctrl.READY
    assert device.fabric.read(Control.CTRL) == Ctrl.IDLE
    assert device.fabric.machine.interrupt()
    device.fabric.write(Control.INTERRUPT_STATUS, registers.INTERRUPT_DONE)
    assert not device.fabric.machine.interrupt()


def test_each_command_reports_steps_and_passes(device: CsimDevice) -> None:
    handle = load(device, copy(8), copy(4))
    nanoseconds = device.run(handle, 0, 2)
    assert nanoseconds.shape == (2,) and (nanoseconds > 0).all()
    report = device.last_report
    assert report is not None and report.entries[:, Entry.PASSES].tolist() == [1, 1]


def test_a_misaligned_operand_is_refused(device: CsimDevice) -> None:
    with pytest.raises(ProgramError, match="MISALIGNED"):
        device.run(load(device, copy(8, src=3)), 0, 1)
    assert not device.read(device.bound(Slot.TRAIN_OUT), 0, 64).any()


def test_what_the_host_would_have_refused_is_refused_by_the_kernel(
    device: CsimDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel trusts nobody: the host's own checks are taken away."""
    monkeypatch.setattr(device, "_check_fits", lambda handle, program: None)
    for command, words in (
        (copy(65), "OUT_OF_RANGE"),
        (copy(8, dst=2**31 - 8), "OUT_OF_RANGE"),
        (replace(copy(8), src=Operand(Slot.GRADS, 0)), "BAD_SLOT"),
    ):
        with pytest.raises(ProgramError, match=words):
            device.run(load(device, command), 0, 1)
    assert not device.read(device.bound(Slot.TRAIN_OUT), 0, 64).any()


def test_a_shape_that_no_buffer_holds_is_refused() -> None:
    lanes = 8
    device = CsimDevice(lanes, memory_bytes=1 << 26)
    words = 4096 * 4096 // 8
    device.bind(Slot.POOL, device.allocate(words))
    device.bind(Slot.TRAIN_OUT, device.allocate(words))
    size = {"rows_in": 600, "cols_in": 400, "rows_out": 1, "cols_out": 1}
    kernel_ = {"kernel_rows": 600, "kernel_cols": 400}
    command = Command(
        Op.POOL_BP, images=1, n=8, m=8, lanes=8, **size, **kernel_,
        src=Operand(Slot.POOL, 0), aux=Operand(Slot.POOL, 0), dst=Operand(Slot.TRAIN_OUT, 0),
    )  # fmt: skip
    with pytest.raises(ProgramError, match=Fault.TOO_LARGE.name):
        device.run(load(device, command), 0, 1)


def test_abort_ends_the_run_before_its_next_command(
    device: CsimDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = load(device, copy(8))
    write = device.fabric.write

    def start_late(offset: int, value: int) -> None:
        if offset == Control.CTRL:
            device.abort()
        write(offset, value)

    monkeypatch.setattr(device.fabric, "write", start_late)
    with pytest.raises(DeviceError, match="ABORTED"):
        device.run(handle, 0, 1)
    monkeypatch.undo()
    device.run(handle, 0, 1)


@pytest.mark.parametrize("address", [0, BASE_ADDRESS + 8, BASE_ADDRESS + 16, BASE_ADDRESS + SMALL])
def test_a_window_that_no_memory_answers_hangs(device: CsimDevice, address: int) -> None:
    device.fabric.write(argument_offsets()["weights"], address)
    with pytest.raises(DeviceError, match="hangs"):
        device.run(load(device, copy(8)), 0, 1)


def test_a_full_memory_says_what_to_do() -> None:
    device = CsimDevice(8, memory_bytes=1 << 20)
    with pytest.raises(DeviceError, match="memory_bytes"):
        device.allocate(1 << 18)


def test_a_closed_device_is_refused(device: CsimDevice) -> None:
    handle = load(device, copy(8))
    device.close()
    device.close()
    with pytest.raises((DeviceError, ProgramError), match="closed|names no buffer"):
        device.run(handle, 0, 1)


def test_a_missing_library_and_another_protocol_name_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeviceUnavailable, match=r"accel\.kernel"):
        open_library(tmp_path / "none.so")
    monkeypatch.setattr(csim, "kernel_digest", lambda: 1)
    with pytest.raises(DeviceUnavailable, match="protocol"):
        CsimDevice(8, memory_bytes=SMALL)


def test_unknown_tile_width_is_refused() -> None:
    with pytest.raises(DeviceUnavailable, match="T = 5"):
        CsimDevice(5)


def test_subnormals_are_zero_and_the_host_keeps_its_own(device: CsimDevice) -> None:
    tiny = np.float32(1e-40)
    places = {"src": Operand(Slot.POOL, 0), "aux": Operand(Slot.POOL, 0)}
    lanes = device.capabilities.lanes
    device.write(device.bound(Slot.POOL), np.full(64, tiny, np.float32))
    size = {"rows_in": 1, "cols_in": 1, "rows_out": 1, "cols_out": 1, "lanes": lanes}
    add = Command(
        Op.ADD_FP, images=1, n=lanes, m=lanes, dst=Operand(Slot.TRAIN_OUT, 0), **size, **places
    )
    device.run(load(device, add), 0, 1)
    assert not device.read(device.bound(Slot.TRAIN_OUT), 0, lanes).any()
    assert np.full(1, tiny) * np.float32(0.5) > 0


@pytest.mark.parametrize("lanes", kernel.SIZES)
def test_the_iterations_of_a_training_step_are_those_of_the_readme(lanes: int) -> None:
    graph = networks.load("cifar1x")
    program = lower.training(graph, lanes, lower.Plan(8, 8))
    device = CsimDevice(lanes, memory_bytes=1 << 26)
    for slot, words in program.need_words.items():
        device.bind(slot, device.allocate(max(words, 1 << 16)))
    device.write(device.bound(Slot.CONSTS), np.ones(40, np.float32))
    device.run(device.load(program), 0, len(program.commands))
    assert device.last_report is not None
    steps = int(device.last_report.entries[:, Entry.STEPS].sum())
    readme = (Path(__file__).parents[2] / "hls" / "README.md").read_text(encoding="utf-8")
    assert f"{steps:,}" in readme


SANITIZED = """
import sys
sys.path.insert(0, {contract!r})
from pathlib import Path
import contract_rig, pytest
from eftraind.accel.csim import CsimDevice
def opened():
    return CsimDevice({lanes}, memory_bytes=1 << 24, library=Path({library!r}))
contract_rig.kinds = lambda: [contract_rig.Kind("checked", {lanes}, opened)]
arguments = ["-q", "-p", "no:cacheprovider", {contract!r}, "-k", "checked and not large_maps"]
sys.exit(pytest.main(arguments))
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_contract_holds_under_the_sanitizers(tmp_path: Path) -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer, with buffers so small that maps are cut and
    3 pixels an iteration."""
    runtime = ""
    if sys.platform == "linux" and shutil.which("g++"):
        command = ["g++", "-print-file-name=libasan.so"]
        runtime = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not os.path.isabs(runtime):
        pytest.skip("g++ with libasan is not installed")
    library = tmp_path / "sanitized.so"
    sizes = kernel.TESTED["small3"]
    kernel.build(library, sizes, sanitize=True)
    contract = str(Path(__file__).parents[1] / "contract")
    script = SANITIZED.format(contract=contract, lanes=sizes.lanes, library=str(library))
    environment = {**os.environ, "LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-4000:] + done.stderr
