"""The board: what it is, its FPGA, contiguous memory, device nodes, hardware watchdog.

Owns findings from /proc/device-tree, /sys/class and /proc/meminfo. Opens no device.
"""

from collections.abc import Iterator

from eftraind.config import Config
from eftraind.doctor.findings import Finding, Machine, fail, ok, unknown, warn

FPGA = "/sys/class/fpga_manager/fpga0"
MIB = 1 << 20
CMA_NEEDED_BYTES = 32 * MIB
"""Less cannot hold weights, gradients and a batch of any network that is shipped."""


def examine(config: Config, machine: Machine) -> Iterator[Finding]:
    model = machine.text("/proc/device-tree/model")
    named = machine.text("/proc/device-tree/chosen/pynq_board")
    if model is None:
        yield ok("board", "no device tree: an ordinary computer")
    else:
        yield ok("board", model + (f", PYNQ board {named}" if named else ""))
    yield from _fpga(config, machine)
    yield _watchdog(machine)


def _fpga(config: Config, machine: Machine) -> Iterator[Finding]:
    overlay = config.device.overlay
    if not machine.exists(FPGA):
        if overlay is not None:
            yield fail(
                "fpga", f"device.overlay is {overlay}, but there is no FPGA", "set it to null here"
            )
        else:
            yield ok("fpga", "none, and none is configured")
        return
    state = machine.text(f"{FPGA}/state")
    if state == "operating":
        yield ok("fpga", "programmed")
    elif overlay is not None:
        yield fail(
            "fpga",
            f"in state {state}, the overlay is not loaded",
            "systemctl restart eftraind-overlay, then journalctl -u eftraind-overlay",
        )
    elif config.device.kind == "board":
        yield warn(
            "fpga",
            f"in state {state}",
            "start eftraind-engine: it loads the bitstream",
        )
    else:
        yield warn("fpga", f"in state {state} and unused", "set device.overlay to a bitstream")
    yield _contiguous_memory(machine)
    yield from _nodes(machine)


def _contiguous_memory(machine: Machine) -> Finding:
    sizes = machine.fields("/proc/meminfo")
    try:
        total, free = (int(sizes[name].split()[0]) * 1024 for name in ("CmaTotal", "CmaFree"))
    except (KeyError, ValueError, IndexError):
        return fail(
            "cma",
            "the kernel reports no contiguous memory, which the FPGA's buffers come from",
            "boot with cma=128M, or a kernel with CONFIG_CMA",
        )
    text = f"{free // MIB} of {total // MIB} MiB of contiguous memory free"
    if free < CMA_NEEDED_BYTES:
        return warn("cma", text, "stop what else uses it, or boot with a larger cma=")
    return ok("cma", text)


def _nodes(machine: Machine) -> Iterator[Finding]:
    nodes = machine.names("/dev")
    for check, prefix, purpose, remedy in (
        ("node.mem", "mem", "registers", "a kernel with CONFIG_DEVMEM"),
        ("node.uio", "uio", "interrupts", "a device tree with generic-uio; else it polls"),
        ("node.dri", "dri", "buffers", "load the driver zocl: modprobe zocl"),
    ):
        if any(name.startswith(prefix) for name in nodes):
            yield ok(check, f"/dev/{prefix} for {purpose}")
        elif not nodes:
            yield unknown(check, "/dev cannot be listed", "run as root")
        else:
            yield warn(check, f"no /dev/{prefix}, which {purpose} need", remedy)


def _watchdog(machine: Machine) -> Finding:
    check, remedy = "watchdog.hardware", "set RuntimeWatchdogSec=30 in /etc/systemd/system.conf"
    if not machine.names("/sys/class/watchdog"):
        return warn(check, "none: a hang of the kernel lasts", "a kernel with the board's watchdog")
    state = machine.text("/sys/class/watchdog/watchdog0/state")
    if state is None:
        return unknown(check, "there is one, but it does not tell its state", remedy)
    if state != "active":
        return warn(check, f"there is one, {state}: a hang of the kernel lasts", remedy)
    return ok(check, "active")
