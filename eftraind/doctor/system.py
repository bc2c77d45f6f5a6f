"""The operating system: the clock, and what of the kernel the services' protection needs.

Owns findings from /proc, /sys/fs/cgroup and /run. Sets nothing.
"""

from collections.abc import Iterator
from datetime import datetime, timezone

from eftraind.clock import Clock
from eftraind.doctor.findings import Finding, Machine, ok, unknown, warn

EARLIEST_WALL_S = 1_735_689_600.0  # 2025-01-01: before this program
RTC_DIFFERS_S = 60
NTP_REMEDY = "timedatectl set-ntp true, or install an NTP client"


def examine(machine: Machine, clock: Clock) -> Iterator[Finding]:
    yield from _clock(machine, clock)
    yield from _kernel(machine)


def _clock(machine: Machine, clock: Clock) -> Iterator[Finding]:
    wall_s = clock.wall_s()
    shown = datetime.fromtimestamp(wall_s, timezone.utc).isoformat(timespec="seconds")
    if wall_s < EARLIEST_WALL_S:
        text = f"it is not {shown}; samples keep their order, but checkpoints and logs lie"
        yield warn("clock.date", text, NTP_REMEDY)
    else:
        yield ok("clock.date", shown)
    if machine.exists("/run/systemd/timesync/synchronized"):
        yield ok("clock.synchronised", "by systemd-timesyncd")
    elif machine.exists("/run/systemd/timesync"):
        yield warn("clock.synchronised", "systemd-timesyncd has not reached a server", NTP_REMEDY)
    else:
        text = "systemd-timesyncd does not run; another client would not show here"
        yield unknown("clock.synchronised", text, "chronyc tracking, ntpq -p, or " + NTP_REMEDY)
    yield _battery_clock(machine, wall_s)


def _battery_clock(machine: Machine, wall_s: float) -> Finding:
    check = "clock.battery"
    since_epoch = machine.text("/sys/class/rtc/rtc0/since_epoch")
    if since_epoch is None or not since_epoch.isdigit():
        return warn(check, "none: until NTP answers, each boot has a wrong time", NTP_REMEDY)
    differs_s = abs(int(since_epoch) - wall_s)
    if differs_s > RTC_DIFFERS_S:
        return warn(check, f"differs from the clock by {differs_s:.0f} s", "hwclock --systohc")
    return ok(check, f"within {differs_s:.0f} s")


def _kernel(machine: Machine) -> Iterator[Finding]:
    """What systemd silently leaves out where the kernel lacks it."""
    known = machine.names("/proc/sys/kernel")
    for check, there, purpose, remedy in (
        (
            "kernel.seccomp",
            machine.exists("/proc/sys/kernel/seccomp"),
            "SystemCallFilter=",
            "a kernel with CONFIG_SECCOMP_FILTER",
        ),
        (
            "kernel.namespaces",
            all(machine.exists(f"/proc/self/ns/{name}") for name in ("mnt", "net", "user")),
            "ProtectSystem=, PrivateNetwork= and PrivateUsers=",
            "a kernel with CONFIG_NAMESPACES, CONFIG_NET_NS and CONFIG_USER_NS",
        ),
        (
            "kernel.memory_limit",
            "memory" in (machine.text("/sys/fs/cgroup/cgroup.controllers") or "").split()
            or machine.exists("/sys/fs/cgroup/memory"),
            "MemoryMax=",
            "boot with cgroup_enable=memory, or a kernel with CONFIG_MEMCG",
        ),
    ):
        if not known:
            yield unknown(check, "/proc/sys/kernel cannot be listed", "mount /proc")
        elif there:
            yield ok(check, f"there, for {purpose}")
        else:
            yield warn(check, f"not there: {purpose} of the services does nothing", remedy)
