"""`eftraind run`, `front`, `engine`, `check-config`: the processes, each from a configuration file.

Owns what a process sets up before its loop begins: log, stack dumps, signals. The loops are in
`eftraind.service`.
"""

import argparse
import faulthandler
import logging
import os
import signal
import sys
from importlib import import_module
from typing import Any

from eftraind import config as configuration
from eftraind.clock import Clock
from eftraind.config import Config


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", required=True, metavar="FILE", help="the daemon's YAML file"
    )


def add_process(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("--heartbeat-fd", type=int, help=argparse.SUPPRESS)


def run(given: argparse.Namespace) -> int:
    """Both processes, supervised, until a signal."""
    from eftraind.sdnotify import Notifier
    from eftraind.service import supervise

    config = configuration.load(given.config)
    _set_up_process(config, "run")
    notifier = Notifier.from_environ(os.environ)
    return supervise.run(given.config, config.supervise, clock=Clock(), notifier=notifier)


def front(given: argparse.Namespace) -> int:
    """The process with the sockets."""
    from eftraind.service import front as service

    config = configuration.load(given.config)
    _set_up_process(config, "front")
    return service.run(config, heartbeat_fd=given.heartbeat_fd)


def engine(given: argparse.Namespace) -> int:
    """The process with the device."""
    from eftraind.service import engine as processes
    from eftraind.service.supervise import Heart

    config = configuration.load(given.config)
    _set_up_process(config, "engine")
    clock = Clock()
    heart = Heart(given.heartbeat_fd, clock)
    heart.starting()
    service: Any = None

    def pulse() -> None:
        heart.beat()
        if heart.orphaned:
            service.stop()

    service = processes.create(config, clock=clock, pulse=pulse)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, service.stop)
    service.run()
    return 0


def check(given: argparse.Namespace) -> str:
    """Read the file and the network it names."""
    networks: Any = import_module("eftraind.networks")
    config = configuration.load(given.config)
    graph = networks.load(config.model.network)
    return f"{given.config}: good; network {graph.name}, {len(graph.layers)} layers"


def _set_up_process(config: Config, name: str) -> None:
    """Logging to standard error, and stack dumps when the watchdog aborts the process."""
    faulthandler.enable()
    logging.basicConfig(
        stream=sys.stderr,
        level=config.log.level.upper(),
        format=f"%(asctime)s {name} %(levelname)s %(message)s",
    )
