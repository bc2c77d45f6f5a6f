"""`eftraind run`, `front`, `engine`, `check-config`: the processes, each from a configuration file.

Owns what a process sets up around its loop: log, stack dumps, signals. A turn of the loop is in
`eftraind.service`.
"""

import argparse
import faulthandler
import gc
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from eftraind import config as configuration
from eftraind.clock import Clock
from eftraind.config import Config
from eftraind.fsio import FileOps
from eftraind.keys import contents
from eftraind.sdnotify import Notifier
from eftraind.service import logs
from eftraind.service.heart import Heart

CREDENTIALS = "/etc/eftraind/credentials"  # as in the units
SWITCH_INTERVAL_S = 0.0005  # the committer's Python must not delay the loop by CPython's 5 ms


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", required=True, metavar="FILE", help="the daemon's YAML file"
    )


def add_process(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("--heartbeat-fd", type=int, help=argparse.SUPPRESS)


def add_engine(parser: argparse.ArgumentParser) -> None:
    add_process(parser)
    parser.add_argument(
        "--serve-only",
        action="store_true",
        help="only answer predictions, on the CPU: when the engine kept failing",
    )


def run(given: argparse.Namespace) -> int:
    """Both processes, supervised, until a signal."""
    from eftraind.service import supervise

    config = configuration.load(given.config)
    _set_up_process(config, "run")
    notifier = Notifier.from_environ(os.environ)
    return supervise.run(given.config, config.supervise, clock=Clock(), notifier=notifier)


def front(given: argparse.Namespace) -> int:
    """The process with the sockets, until SIGTERM. SIGHUP reads the configuration again."""
    from eftraind.service import front as processes

    config = configuration.load(given.config)
    _set_up_process(config, "front")
    stopping: list[int] = []
    reloads: list[int] = []
    signal.signal(signal.SIGHUP, lambda number, _: reloads.append(number))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stopping.append(received))
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    clock = Clock()
    heart = _heart(given.heartbeat_fd, clock)
    process = processes.Front(
        config,
        clock=clock,
        ops=FileOps(),
        heart=heart,
        read_again=lambda: configuration.load(given.config),
        environ=os.environ,
    )
    try:
        gc.freeze()  # what start-up made stays; no collection need walk it again
        while not stopping and not heart.orphaned:
            process.turn()
            if reloads:
                reloads.clear()
                process.reload_now()
        heart.stopping()
        process.finish()
    finally:
        process.close()
    return 0


def engine(given: argparse.Namespace) -> int:
    """The process with the device."""
    from eftraind.service import engine as processes

    config = configuration.load(given.config)
    _set_up_process(config, "engine")
    clock = Clock()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # front reads the file and tells the engine
    heart = _heart(given.heartbeat_fd, clock)
    heart.starting()
    service: Any = None

    def pulse(status: str) -> None:
        heart.say(status)
        heart.beat()
        if heart.orphaned:
            service.stop()

    service = processes.create(
        config, clock=clock, pulse=pulse, progress=heart.starting, serve_only=given.serve_only
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, service.stop)
    service.run()
    heart.stopping()
    return 0


def overlay(given: argparse.Namespace) -> str:
    """Load the bitstream that the file names, if it names one."""
    bitstream = configuration.load(given.config).device.overlay
    if bitstream is None:
        return "device.overlay is null: nothing to load"
    board: Any = import_module("eftraind.accel.board.overlay")
    return f"loaded {bitstream}: {board.load(Path(bitstream))}"


def check(given: argparse.Namespace) -> str:
    """Read the file, and what it names: the network, the board, the keys."""
    boards: Any = import_module("eftraind.boards")
    networks: Any = import_module("eftraind.networks")
    guard: Any = import_module("eftraind.service.guard")
    config = configuration.load(given.config)
    if config.power.board is not None:
        boards.load(config.power.board)
    graph = networks.load(config.model.network)
    # Where a service's credentials come from: this process is given none.
    found = guard.read(config, {guard.CREDENTIALS: CREDENTIALS, **os.environ})
    told = f"; {contents(found.allowed)}" if found is not None else ""
    return f"{given.config}: good; network {graph.name}, {len(graph.layers)} layers{told}"


def _set_up_process(config: Config, name: str) -> None:
    """Logging, and stack dumps on standard error when the watchdog aborts the process."""
    faulthandler.enable()
    logs.set_up(config, name, os.environ)


def _heart(heartbeat_fd: int | None, clock: Clock) -> Heart:
    """Shown to the supervisor where there is one, else to systemd."""
    supervised = heartbeat_fd is not None
    notifier = Notifier() if supervised else Notifier.from_environ(os.environ)
    return Heart(heartbeat_fd, clock, notifier)
