"""The doctor on made-up machines, each with one thing wrong, and on the real one."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from trees import NOW_S, STATUS, Board

from eftraind.clock import Clock, FakeClock
from eftraind.doctor import disk, report
from eftraind.doctor.findings import Finding, Level, Machine
from eftraind.fsio import FileOps

Spoil = Callable[[Board], object]


def mounted(line: str) -> Spoil:
    return lambda board: board.change("proc/mounts", f"/dev/sda1 / ext4 rw 0 0\n{line} 0 0\n")


def change(name: str, text: str | None) -> Spoil:
    return lambda board: board.change(name, text)


def state(option: str) -> Spoil:
    return mounted(f"/dev/mmcblk1p1 /var/lib/eftraind ext4 {option}")


def process(old: str, new: str) -> Spoil:
    return change("proc/12/status", STATUS.replace(old, new))


WRONG: dict[str, tuple[Spoil, str, Level, str]] = {
    "overlay not loaded": (
        change("sys/class/fpga_manager/fpga0/state", "unknown"),
        "fpga", Level.FAIL, "eftraind-overlay",
    ),
    "no FPGA for the overlay": (
        lambda b: shutil.rmtree(b.root / "sys/class/fpga_manager"),
        "fpga", Level.FAIL, "null",
    ),
    "no CMA": (change("proc/meminfo", "MemTotal: 1 kB"), "cma", Level.FAIL, "cma=128M"),
    "CMA used up": (
        change("proc/meminfo", "CmaTotal: 131072 kB\nCmaFree: 100 kB"),
        "cma", Level.WARN, "larger cma=",
    ),
    "no interrupts": (change("dev/uio0", None), "node.uio", Level.WARN, "generic-uio"),
    "watchdog asleep": (
        change("sys/class/watchdog/watchdog0/state", "inactive"),
        "watchdog.hardware", Level.WARN, "RuntimeWatchdogSec",
    ),
    "1970": (
        lambda b: setattr(b, "clock", FakeClock(wall_s=100.0)), "clock.date", Level.WARN, "ntp",
    ),
    "never synchronised": (
        change("run/systemd/timesync/synchronized", None),
        "clock.synchronised", Level.WARN, "ntp",
    ),
    "other client": (
        lambda b: shutil.rmtree(b.root / "run/systemd"),
        "clock.synchronised", Level.UNKNOWN, "chronyc",
    ),
    "no battery": (
        lambda b: shutil.rmtree(b.root / "sys/class/rtc"), "clock.battery", Level.WARN, "ntp",
    ),
    "battery clock off": (
        change("sys/class/rtc/rtc0/since_epoch", f"{NOW_S - 5000:.0f}"),
        "clock.battery", Level.WARN, "hwclock",
    ),
    "no seccomp": (
        lambda b: shutil.rmtree(b.root / "proc/sys/kernel/seccomp")
        or b.change("proc/sys/kernel/ostype", "Linux"),
        "kernel.seccomp", Level.WARN, "CONFIG_SECCOMP",
    ),
    "no memory controller": (
        change("sys/fs/cgroup/cgroup.controllers", "cpu"),
        "kernel.memory_limit", Level.WARN, "cgroup_enable=memory",
    ),
    "in memory": (
        mounted("tmpfs /var/lib/eftraind tmpfs rw"), "disk.filesystem", Level.FAIL, "real disk",
    ),
    "FAT": (mounted("/dev/sda2 /var vfat rw"), "disk.filesystem", Level.WARN, "ext4"),
    "ext4 without journal": (
        mounted("/dev/sdb1 /var/lib ext4 rw"), "disk.filesystem", Level.WARN, "has_journal",
    ),
    "read-only": (state("ro,noatime"), "disk.writable", Level.FAIL, "remount"),
    "no barriers": (state("rw,nobarrier"), "disk.barriers", Level.FAIL, "without that"),
    "root on a written card": (
        change("proc/mounts", "/dev/mmcblk0p2 / ext4 rw 0 0"),
        "disk.readonly_root", Level.WARN, "read-only",
    ),
    "log on the card": (
        lambda b: (b.root / "var/log/journal").mkdir(parents=True),
        "disk.log", Level.WARN, "volatile",
    ),
    "worn out": (
        change("sys/block/mmcblk1/device/life_time", "0x0a 0x01"),
        "disk.wear", Level.WARN, "replacement",
    ),
    "SD card": (
        change("sys/block/mmcblk1/device/life_time", None),
        "disk.wear", Level.UNKNOWN, "endurance",
    ),
    "no room": (
        lambda b: b.change("var/lib/eftraind/journal/ring.json", None)
        or setattr(b, "free_bytes", 1 << 20),
        "disk.room", Level.FAIL, "journal.size_bytes",
    ),
    "open state": (
        lambda b: (b.root / "var/lib/eftraind").chmod(0o777),
        "permission.state", Level.WARN, "chmod",
    ),
    "open key": (
        lambda b: (b.root / "etc/eftraind/credentials/eftraind.server.key").chmod(0o644),
        "permission.eftraind.server.key", Level.FAIL, "chmod 400",
    ),
    "not running": (
        lambda b: b.pids.pop("engine"), "protection.engine", Level.UNKNOWN, "systemctl start",
    ),
    "not filtered": (
        process("Seccomp:\t2", "Seccomp:\t0"),
        "protection.engine.seccomp", Level.WARN, "eftraind-engine.service",
    ),
    "all capabilities": (
        process("0000000000824000", "000001ffffffffff"),
        "protection.engine.capabilities", Level.WARN, "eftraind-engine.service",
    ),
    "unwatched": (
        change("proc/11/environ", "PATH=/bin"), "protection.front.watchdog", Level.WARN, "front",
    ),
    "no limit": (
        change("sys/fs/cgroup/eftraind.slice/eftraind-front.service/memory.max", "max"),
        "protection.front.memory", Level.WARN, "front",
    ),
}  # fmt: skip


def test_a_healthy_board_has_nothing_wrong(tmp_path: Path) -> None:
    findings = Board(tmp_path).examine()
    assert {name for name, f in findings.items() if f.level is not Level.OK} == set()
    assert "TUL PYNQ-Z2, PYNQ board Pynq-Z2" in findings["board"].text
    assert "124 of 128 MiB" in findings["cma"].text
    assert "10 to 20 %" in findings["disk.wear"].text
    assert report.exit_status(findings.values()) == 0
    assert not list(tmp_path.rglob(disk.PROBE))


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found_with_its_remedy(tmp_path: Path, name: str) -> None:
    spoil, check, level, remedy = WRONG[name]
    board = Board(tmp_path)
    spoil(board)
    found = board.examine()[check]
    assert found.level is level and remedy in found.remedy, found


def test_a_machine_that_shows_nothing_is_unknown_not_well(tmp_path: Path) -> None:
    board = Board(tmp_path / "board")
    board.root = tmp_path / "empty"
    board.settings["device"]["overlay"] = None
    levels = {name: finding.level for name, finding in board.examine().items()}
    assert levels["disk.filesystem"] is levels["kernel.seccomp"] is Level.UNKNOWN
    assert levels["permission.state"] is levels["protection.front"] is Level.UNKNOWN


class SlowDisk(FileOps):
    def __init__(self, clock: FakeClock, flush_s: float) -> None:
        self._clock, self._flush_s = clock, flush_s

    def fdatasync(self, fd: int) -> None:
        self._clock.advance(self._flush_s)


def test_flushes_are_few_and_end_in_time(tmp_path: Path) -> None:
    clock = FakeClock()
    assert len(disk.measure(tmp_path, SlowDisk(clock, 0.01), clock)) == disk.FLUSHES
    slow = disk.measure(tmp_path, SlowDisk(clock, 0.7), clock)
    assert slow == pytest.approx([0.7] * 3)
    finding = disk._flush(tmp_path, SlowDisk(clock, 0.7), clock)
    assert finding.level is Level.WARN and "median 700.0 ms" in finding.text
    real = disk.measure(tmp_path, FileOps(), Clock())
    assert real and all(duration > 0 for duration in real)


def test_a_mount_is_the_longest_that_holds_the_path(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/mounts").write_text(
        "a / ext4 rw 0 0\nb /var ext4 rw 0 0\nc /var/lib\\040x ext4 rw 0 0\nd /va ext4 rw 0 0\n"
    )
    machine = Machine(tmp_path)
    for path, device in {"/var/lib/e": "b", "/var/lib x/e": "c", "/var/lib x": "c",
                         "/vax": "a"}.items():  # fmt: skip
        mount = disk.mount_of(machine, path)
        assert mount is not None and mount.device == device
    assert disk.mount_of(Machine(tmp_path / "none"), "/") is None


def test_the_exit_status_is_the_worst() -> None:
    rows = {level: Finding("x", level, "t", "r") for level in Level}
    assert report.exit_status([rows[Level.OK], rows[Level.UNKNOWN]]) == 0
    assert report.exit_status([rows[Level.WARN], rows[Level.UNKNOWN]]) == 3
    assert report.exit_status(rows.values()) == 1
    with pytest.raises(ValueError, match="no remedy"):
        Finding("x", Level.WARN, "t")


def test_on_this_machine(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    state = tmp_path / "state"
    state.mkdir(mode=0o750)
    config.write_text(json.dumps({"state_dir": str(state), "run_dir": str(tmp_path),
                                  "device": {"kind": "reference"}}))  # fmt: skip
    command = [sys.executable, "-m", "eftraind", "doctor", "--config", str(config)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60)
    told = json.loads(done.stdout)
    assert done.returncode == told["status"] in (0, 1, 3)
    by_check = {finding["check"]: finding for finding in told["findings"]}
    assert "flushes of 4096 bytes" in by_check["disk.flush"]["text"]
    assert by_check["permission.state"]["level"] == "ok"
    assert by_check["protection.front"]["level"] == "unknown"
    text = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert all(check in text for check in by_check) and "->" in text
    assert list(state.iterdir()) == []
