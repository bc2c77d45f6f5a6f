"""The disk under the state directory: file system, room, wear, and how long a flush takes.

Owns findings from /proc/mounts, /proc/fs and /sys/block, and one bounded measurement.
"""

import os
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eftraind.clock import Clock
from eftraind.config import Config
from eftraind.doctor.findings import Finding, Machine, fail, ok, unknown, warn
from eftraind.errors import StorageError
from eftraind.fsio import FileOps, discard, storage_errors

JOURNALLING = ("ext4", "ext3", "xfs", "btrfs", "f2fs", "zfs", "jfs", "bcachefs")
VOLATILE = ("tmpfs", "ramfs", "rootfs")
FLUSHES, FLUSHING_S, BLOCK_BYTES = 16, 2.0, 4096
SLOW_FLUSH_S = 0.1
PROBE = ".doctor"


@dataclass(frozen=True)
class Mount:
    device: str
    place: str
    kind: str
    options: tuple[str, ...]


def examine(config: Config, machine: Machine, ops: FileOps, clock: Clock) -> Iterator[Finding]:
    directory = config.state_dir
    mount = mount_of(machine, directory)
    if mount is None:
        yield unknown("disk.filesystem", "/proc/mounts cannot be read", "mount /proc")
    else:
        yield _file_system(mount, machine)
        yield _writable(mount)
        yield _barriers(mount)
        yield _wear(mount, machine)
    yield _read_only_root(machine)
    yield _log(machine)
    if not machine.exists(directory):
        yield warn(
            "disk.state", f"{directory} is not there yet", "eftraind install-service, or start once"
        )
        return
    yield _room(config, machine)
    yield _flush(machine.place(directory), ops, clock)


def mount_of(machine: Machine, path: str) -> Mount | None:
    """The mount that holds `path`, as /proc/mounts tells; None if that cannot be read."""
    best: Mount | None = None
    for line in (machine.text("/proc/mounts") or "").splitlines():
        device, place, kind, options, *_ = line.split()
        place = place.replace("\\040", " ")
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and (best is None or len(place) >= len(best.place)):
            best = Mount(device, place, kind, tuple(options.split(",")))
    return best


def _file_system(mount: Mount, machine: Machine) -> Finding:
    check, text = "disk.filesystem", f"{mount.kind} on {mount.device}"
    if mount.kind in VOLATILE:
        return fail(check, f"{text}: nothing survives a power cut", "set state_dir to a real disk")
    if mount.kind not in JOURNALLING:
        return warn(check, f"{text}: may not survive a power cut", "use ext4 for state_dir")
    if mount.kind in ("ext3", "ext4"):
        journals = machine.names("/proc/fs/jbd2")
        if not journals:
            return unknown(check, f"{text}; its journal does not show", "dumpe2fs -h of the device")
        name = mount.device.rpartition("/")[2]
        if name != "root" and not any(entry.startswith(f"{name}-") for entry in journals):
            return warn(check, f"{text} without a journal", "tune2fs -O has_journal, unmounted")
    return ok(check, text)


def _writable(mount: Mount) -> Finding:
    if "ro" in mount.options:
        text = f"{mount.place} is read-only: samples are refused, predictions go on"
        return fail("disk.writable", text, f"mount -o remount,rw {mount.place}; see dmesg first")
    return ok("disk.writable", f"{mount.place} is")


def _barriers(mount: Mount) -> Finding:
    bad = {"nobarrier", "barrier=0", "data=writeback"} & set(mount.options)
    if bad:
        text = f"mounted with {', '.join(sorted(bad))}: what was acknowledged may be lost"
        return fail("disk.barriers", text, "mount it without that option")
    return ok("disk.barriers", "flushes are passed on")


def _read_only_root(machine: Machine) -> Finding:
    check, mount = "disk.readonly_root", mount_of(machine, "/")
    if mount is None:
        return unknown(check, "/proc/mounts cannot be read", "mount /proc")
    if "ro" in mount.options or mount.kind == "overlay":
        return ok(check, f"the system is on {mount.kind}, safe from writes")
    if "mmcblk" in mount.device:
        text = "the system is on a card that is written to: a power cut may damage it"
        return warn(check, text, "make / read-only, and state_dir a partition of its own")
    return ok(check, "the system can be written to, and is on no card")


def _log(machine: Machine) -> Finding:
    check, mount = "disk.log", mount_of(machine, "/var/log/journal")
    if not machine.exists("/var/log/journal"):
        return ok(check, "systemd's journal is kept in memory")
    if mount is None:
        return unknown(check, "/proc/mounts cannot be read", "mount /proc")
    if "mmcblk" in mount.device:
        text = "systemd's journal wears the card"
        return warn(check, text, "Storage=volatile in /etc/systemd/journald.conf, or limit it")
    return ok(check, "systemd's journal is kept, on no card")


def _wear(mount: Mount, machine: Machine) -> Finding:
    check = "disk.wear"
    found = re.match(r"(mmcblk\d+)", mount.device.rpartition("/")[2])
    if found is None:
        return unknown(check, f"{mount.device} tells it to smartctl alone", "smartctl -a, as root")
    device = f"/sys/block/{found[1]}/device"
    life = machine.text(f"{device}/life_time")
    if life is None:
        remedy = "use an endurance card; watch eftraind_journal_device_bytes_written_total"
        return unknown(check, f"{found[1]} is an SD card, which does not tell", remedy)
    used = max((int(part, 16) for part in life.split()), default=0)
    if not used:
        return unknown(check, f"{found[1]} does not tell", "ask its maker's tool")
    text = f"{found[1]} has used {10 * (used - 1)} to {10 * used} % of its life"
    return warn(check, text, "plan its replacement") if used >= 9 else ok(check, text)


def _room(config: Config, machine: Machine) -> Finding:
    check = "disk.room"
    if machine.names(f"{config.state_dir}/journal"):
        return ok(check, "the journal has taken its space")
    free = machine.free_bytes(machine.place(config.state_dir))
    text = f"{free >> 20} MiB free, the journal takes {config.journal.size_bytes >> 20}"
    if free < config.journal.size_bytes:
        return fail(check, text, "free some, or lower journal.size_bytes")
    return ok(check, text)


def _flush(directory: Path, ops: FileOps, clock: Clock) -> Finding:
    try:
        durations = measure(directory, ops, clock)
    except StorageError as error:
        return unknown("disk.flush", str(error), "run as the daemon's user or as root")
    median_s, worst_s = statistics.median(durations), max(durations)
    text = (
        f"{len(durations)} flushes of {BLOCK_BYTES} bytes: median {1000 * median_s:.1f} ms, "
        f"worst {1000 * worst_s:.1f} ms"
    )
    if median_s > SLOW_FLUSH_S:
        remedy = "a faster card, or a larger journal.commit_records and commit_s"
        return warn("disk.flush", text, remedy)
    return ok("disk.flush", text)


def measure(directory: Path, ops: FileOps, clock: Clock) -> list[float]:
    """Durations in seconds of flushes of one block that is already written, as the journal's.

    At most FLUSHES of them, and none begins after FLUSHING_S. Raises StorageError.
    """
    path = directory / PROBE
    durations: list[float] = []
    with storage_errors("measure", path):
        fd = ops.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        try:
            ops.pwritev(fd, [bytes(BLOCK_BYTES)], 0)
            ops.fsync(fd)
            end_s = clock.monotonic_s() + FLUSHING_S
            while len(durations) < FLUSHES and (not durations or clock.monotonic_s() < end_s):
                from_s = clock.monotonic_s()
                ops.pwritev(fd, [bytes([len(durations)]) * BLOCK_BYTES], 0)
                ops.fdatasync(fd)
                durations.append(clock.monotonic_s() - from_s)
        finally:
            ops.close(fd)
            discard(ops, path)
    return durations
