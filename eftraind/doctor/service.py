"""The daemon itself: permissions of its files, its device, and the protection of its processes.

Owns findings from file modes and /proc/PID. It asks the running daemon nothing: process numbers
are given to it.
"""

import stat
from collections.abc import Iterator, Mapping

from eftraind.accel import open_device
from eftraind.config import Config
from eftraind.doctor.findings import Finding, Machine, fail, ok, unknown, warn
from eftraind.errors import DeviceError
from eftraind.isa import digest

CREDENTIALS = "/etc/eftraind/credentials"
LIBRARIES = ("cpu", "reference", "csim")
START = "start it: systemctl start eftraind.target"


def examine(config: Config, machine: Machine, pids: Mapping[str, int]) -> Iterator[Finding]:
    """`pids`: front and engine, those that run."""
    yield _private(machine, "permission.state", config.state_dir)
    yield _private(machine, "permission.run", config.run_dir)
    yield from _credentials(machine)
    yield _device(config)
    for name in ("front", "engine"):
        pid = pids.get(name)
        if pid is None:
            yield unknown(f"protection.{name}", f"{name} does not run", START)
        else:
            yield from _protection(name, pid, machine)


def _private(machine: Machine, check: str, path: str) -> Finding:
    mode = _mode(machine, path)
    if mode is None:
        return unknown(check, f"{path} is not there, or hidden", "start the daemon; run as root")
    if mode & 0o007:
        return warn(check, f"{path} is open to everyone ({mode:04o})", f"chmod o-rwx {path}")
    return ok(check, f"{path} has mode {mode:04o}")


def _credentials(machine: Machine) -> Iterator[Finding]:
    names = machine.names(CREDENTIALS)
    for name in names:
        path, check = f"{CREDENTIALS}/{name}", f"permission.{name}"
        mode = _mode(machine, path)
        if mode is None:
            yield unknown(check, f"{path} is hidden", "run as root")
        elif mode & 0o077:
            yield fail(
                check, f"{path} has mode {mode:04o}, others can read it", f"chmod 400 {path}"
            )
        else:
            yield ok(check, f"{path} has mode {mode:04o}")


def _mode(machine: Machine, path: str) -> int | None:
    try:
        return stat.S_IMODE(machine.place(path).stat().st_mode)
    except OSError:
        return None


def _device(config: Config) -> Finding:
    """Opens a device that is a library; a board belongs to the daemon alone."""
    kind = config.device.kind
    if kind not in LIBRARIES:
        return unknown("device", f"{kind} is not opened here", "eftraind status shows it")
    try:
        device = open_device(kind, config.device.threads)
    except DeviceError as error:
        return fail("device", error.message, error.remedy or "see the log")
    found = device.capabilities
    text = f"{found.name}, {found.detail}, T = {found.lanes}, command set {found.isa_digest:08x}"
    if found.isa_digest != digest():
        remedy = "install the kernel and the daemon of the same version"
        return fail("device", f"{text}, this version needs {digest():08x}", remedy)
    return ok("device", text)


def _protection(name: str, pid: int, machine: Machine) -> Iterator[Finding]:
    status = machine.fields(f"/proc/{pid}/status")
    if not status:
        yield unknown(f"protection.{name}", f"process {pid} is hidden", "run as root")
        return
    units = f"run it as eftraind-{name}.service: eftraind install-service"
    for check, holds, good, bad in (
        ("seccomp", status.get("Seccomp") == "2", "system calls are filtered", "not filtered"),
        ("privileges", status.get("NoNewPrivs") == "1", "none can be gained", "can be gained"),
        (
            "capabilities",
            bin(int(status.get("CapBnd", "f" * 16), 16)).count("1") <= 3,
            "at most three are left",
            "not restricted",
        ),
    ):
        full = f"protection.{name}.{check}"
        yield ok(full, good) if holds else warn(full, bad, units)
    yield _watched(name, pid, machine, units)
    yield _limited(name, pid, machine, units)


def _watched(name: str, pid: int, machine: Machine, units: str) -> Finding:
    check = f"protection.{name}.watchdog"
    environ = machine.text(f"/proc/{pid}/environ")
    if environ is None:
        return unknown(check, "the environment is hidden", "run as root")
    values = dict(entry.partition("=")[::2] for entry in environ.split("\0"))
    usec = values.get("WATCHDOG_USEC", "")
    if not usec.isdigit():
        return warn(check, "systemd does not watch it", units)
    return ok(check, f"systemd ends a hang after {int(usec) / 1e6:g} s")


def _limited(name: str, pid: int, machine: Machine, units: str) -> Finding:
    check = f"protection.{name}.memory"
    lines = (machine.text(f"/proc/{pid}/cgroup") or "").splitlines()
    groups = [line.removeprefix("0::") for line in lines if line.startswith("0::")]
    limit = machine.text(f"/sys/fs/cgroup{groups[0]}/memory.max") if groups else None
    if limit is None:
        return unknown(check, "the limit is not shown here", "systemctl show -p MemoryMax")
    if limit == "max":
        return warn(check, "memory is not limited", units)
    return ok(check, f"limited to {int(limit) >> 20} MiB")
