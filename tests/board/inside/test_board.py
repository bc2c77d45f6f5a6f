"""The board device on an emulated board, through pynq as it was installed."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pynq
import pytest
from pynq.pl_server import global_state

from eftraind import isa
from eftraind.accel.board.completion import Completion
from eftraind.accel.board.contain import contained
from eftraind.accel.board.device import open_board as open_real
from eftraind.accel.emu.bus import BusError
from eftraind.accel.emu.design import ZYNQ
from eftraind.accel.emu.logic import Faults
from eftraind.accel.emu.opening import open_emulated, write_manifest
from eftraind.clock import Clock
from eftraind.errors import ConfigError, DeviceError, DeviceTimeout, DeviceUnavailable
from eftraind.isa import Command, Op, Operand, Program, Slot

Open = Callable[..., tuple[Any, Any]]
WORDS = 4096


def copier(device: Any, commands: int = 1) -> int:
    """A program that copies POOL to TRAIN_OUT; the buffers are bound."""
    for slot in (Slot.POOL, Slot.TRAIN_OUT):
        device.bind(slot, device.allocate(WORDS))
    copy = Command(
        Op.COPY, count=WORDS, src=Operand(Slot.POOL, 0), dst=Operand(Slot.TRAIN_OUT, 0)
    )
    lanes = device.capabilities.lanes
    return device.load(Program("copy", lanes, (copy,) * commands, {}, ("layer",)))


def copies(device: Any, handle: int, seed: int = 0) -> bool:
    """Whether fresh random words arrive."""
    words = np.random.default_rng(seed).integers(0, 1 << 30, WORDS, dtype=np.uint32)
    device.write(device.bound(Slot.POOL), words)
    device.run(handle, 0, 1)
    found = device.read(device.bound(Slot.TRAIN_OUT), 0, WORDS, np.uint32)
    return bool((found == words).all())


def test_a_run_goes_through_registers_caches_and_interrupts(open_board: Open) -> None:
    device, emulated = open_board()
    handle = copier(device)
    assert all(copies(device, handle, seed) for seed in range(5))
    assert device.completion.wakes == 6 and device.completion.missed == 0  # one was to ask
    assert device.capabilities.isa_digest == isa.digest()


def test_a_slice_takes_few_accesses_and_no_memory(open_board: Open) -> None:
    device, emulated = open_board()
    handle = copier(device, 8)
    copies(device, handle)
    bus, syncs = emulated.parts.bus.accesses, emulated.parts.cma.syncs
    for first in range(4):
        bus.clear()
        before = dict(syncs)
        device.run(handle, first, 2)
        assert bus["kernel"] == 7 and bus.total() <= 20
        assert syncs["allocations"] == before["allocations"]
        assert syncs["flushes"] == before["flushes"], "nothing was written since"
        assert syncs["invalidates"] == before["invalidates"] + 1, "the report"


@pytest.mark.parametrize("side", ["flush", "invalidate"])
def test_a_forgotten_sync_shows(
    open_board: Open, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulator's own check: were a sync left out, words would be stale."""
    device, emulated = open_board()
    handle = copier(device)
    assert copies(device, handle, 1)
    buffer = device.bound(Slot.POOL if side == "flush" else Slot.TRAIN_OUT)
    monkeypatch.setattr(device._blocks[buffer], side, lambda: None)
    assert not copies(device, handle, 2)


def test_both_halves_of_an_address_are_written(open_board: Open, design: str) -> None:
    device, emulated = open_board()
    offset = device._offsets["weights"]
    address = device.fabric.read(offset) | device.fabric.read(offset + 4) << 32
    assert address == emulated.parts.cma.address
    assert (address >> 32 != 0) == (design == "ultrascale")


def test_a_swap_is_one_flush_of_the_host_block(open_board: Open) -> None:
    device, emulated = open_board()
    handle = copier(device)
    copies(device, handle)
    other = device.allocate(WORDS)
    device.write(other, np.full(WORDS, 7, dtype=np.uint32))
    device.run(handle, 0, 1)
    before = emulated.parts.cma.syncs["flushes"]
    device.bind(Slot.POOL, other)
    device.run(handle, 0, 1)
    assert emulated.parts.cma.syncs["flushes"] == before + 2  # the block and the other's words
    assert (device.read(device.bound(Slot.TRAIN_OUT), 0, WORDS, np.uint32) == 7).all()


def test_the_clock_is_set_whatever_the_overlay_did(open_board: Open) -> None:
    open_board()
    assert pynq.Clocks.fclk0_mhz == pytest.approx(100, rel=0.01)


def test_pynq_writes_nothing_elsewhere(tmp_path: Path) -> None:
    """An emulated board writes no state; so pynq is told to, as it is when it programs one."""
    package = Path(pynq.__file__).parent / "pl_server"
    before = sorted(path.name for path in package.iterdir()), os.getcwd()
    bit = tmp_path / "b.bit"
    bit.write_bytes(b"")
    tag = () if pynq.__version__ < "3.1" else ("tag",)  # 3.0 knows one device
    with contained(tmp_path):
        assert Path.cwd() == tmp_path / "pl_server"
        state = global_state.GlobalState(bitfile_name=str(bit), active_name="a", timestamp="t")
        global_state.save_global_state(state, *tag)
    assert (sorted(path.name for path in package.iterdir()), os.getcwd()) == before
    left = [path.name for path in (tmp_path / "pl_server").iterdir()]
    assert left == ["_".join(["global_pl_state", *tag]) + ".json"]


# faults


def test_a_lost_interrupt_is_found_by_looking(open_board: Open) -> None:
    faults = Faults()
    device, _ = open_board(faults)
    handle = copier(device)
    faults.lost_interrupt = True
    assert all(copies(device, handle, seed) for seed in range(3))
    # the first may be woken by what the run before left latched
    assert device.completion.missed >= 2


def test_a_late_interrupt_is_waited_for(open_board: Open) -> None:
    faults = Faults()
    device, _ = open_board(faults)
    handle = copier(device)
    faults.late_s = 0.12
    assert all(copies(device, handle, seed) for seed in range(2))


def test_a_stale_wake_is_not_an_end(open_board: Open) -> None:
    faults = Faults()
    device, _ = open_board(faults)
    handle = copier(device)
    faults.stale_wake, faults.late_s = True, 0.05
    assert all(copies(device, handle, seed) for seed in range(3))
    assert device.completion.stale_wakes >= 3


def test_a_hang_is_a_typed_error_and_stays_one(open_board: Open) -> None:
    faults = Faults()
    device, emulated = open_board(faults, deadline_s=0.2)
    handle = copier(device)
    faults.hang = True
    with pytest.raises(DeviceTimeout, match=r"did not end within 0\.2 s"):
        device.run(handle, 0, 1)
    faults.hang = False
    with pytest.raises(DeviceTimeout, match="is lost"):
        device.run(handle, 0, 1)


def test_a_flipped_bit_in_the_report_is_refused(open_board: Open) -> None:
    faults = Faults()
    device, _ = open_board(faults)
    handle = copier(device)
    faults.flip_word = device._report.address  # the ticket
    with pytest.raises(DeviceError, match="no report"):
        device.run(handle, 0, 1)


def test_a_flipped_bit_in_data_goes_unnoticed_by_the_device(open_board: Open) -> None:
    """Said honestly: what catches it is the gate, on weights, not the device."""
    faults = Faults()
    device, _ = open_board(faults)
    handle = copier(device)
    faults.flip_word = device._blocks[device.bound(Slot.TRAIN_OUT)].address
    assert not copies(device, handle)


def test_without_an_interrupt_in_the_design_it_looks(open_board: Open) -> None:
    device, _ = open_board()
    handle = copier(device)
    loop = device.completion._loop
    device.fabric._complete = Completion(Clock(), 5.0, loop)
    assert copies(device, handle)


# what cannot work


def test_another_protocol_is_refused(open_board: Open) -> None:
    with pytest.raises(DeviceUnavailable, match="speaks protocol"):
        open_board(Faults(wrong_digest=True))


def test_a_clock_that_cannot_be_reached_is_refused(open_board: Open) -> None:
    with pytest.raises(DeviceUnavailable, match=r"runs at (50|74\.9993) MHz"):
        open_board(Faults(stuck_clock=True))


def test_memory_that_does_not_suffice_is_refused_with_figures(open_board: Open) -> None:
    device, _ = open_board(cma_bytes=1 << 20)
    with pytest.raises(DeviceError, match=r"CMA has \d+ of 1048576 bytes free"):
        device.allocate(1 << 20)


def test_a_board_in_use_is_refused(open_board: Open, design: str, tmp_path: Path) -> None:
    open_board()
    with pytest.raises(DeviceUnavailable, match="in use"):
        open_emulated(design, work_dir=tmp_path, clock=Clock())


@pytest.mark.parametrize("ending", ["bit", "hwh"])
def test_another_file_than_the_manifests_is_refused(tmp_path: Path, ending: str) -> None:
    manifest = write_manifest(tmp_path, ZYNQ)
    with manifest.bit_path.with_suffix(f".{ending}").open("ab") as file:
        file.write(b"\n")
    with pytest.raises(ConfigError, match="SHA-256"):
        open_real(manifest, work_dir=tmp_path, clock=Clock(), lock_dir=tmp_path)


def test_other_lanes_than_the_manifests_are_refused(
    open_board: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = pytest.importorskip("eftraind.accel.emu.opening")
    right = opening.write_manifest
    monkeypatch.setattr(
        opening, "write_manifest", lambda *given: dataclasses.replace(right(*given), t=8)
    )
    with pytest.raises(DeviceUnavailable, match="T = 16, its manifest says 8"):
        open_board()


def test_a_machine_that_is_no_board_says_so(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, ZYNQ)
    with pytest.raises(DeviceUnavailable, match="needs root|no FPGA"):
        open_real(manifest, work_dir=tmp_path, clock=Clock(), lock_dir=tmp_path)


@pytest.mark.skipif(pynq.__version__ < "4", reason="pynq 3 knows Zynq-7000")
def test_zynq_7000_on_pynq_4_says_what_to_use(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match=r"dropped Zynq-7000"):
        open_emulated("zynq", work_dir=tmp_path, clock=Clock())


def test_an_address_where_nobody_answers_is_an_error(open_board: Open) -> None:
    _, emulated = open_board()
    with pytest.raises(BusError, match="processor would hang"):
        pynq.MMIO(0x1234_0000, 16).read(0)
