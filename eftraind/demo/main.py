"""`eftraind demo`: checks the flags, runs the demo, turns its end into an exit status.

0 when nothing was lost, 1 otherwise, 130 when interrupted (Ctrl-C or SIGTERM). What the demo needs
beyond the daemon (rich, matplotlib) is imported here, so that its absence can be explained.
"""

import argparse
import signal
import sys
from importlib import import_module
from typing import Any

from eftraind.clock import Clock
from eftraind.demo.options import from_arguments
from eftraind.errors import ConfigError

INTERRUPTED = 130
EXTRA = ("rich", "matplotlib")


def run(given: argparse.Namespace) -> int:
    """The command line's entry; raises EftraindError for the command line to show."""
    options = from_arguments(given)
    performance = _performance()
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = performance.perform(options, sys.stdout, Clock())
    except KeyboardInterrupt:
        sys.stderr.write("eftraind demo: interrupted; everything it started is ended\n")
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0 if result.nothing_lost else 1


def _performance() -> Any:
    try:
        return import_module("eftraind.demo.perform")
    except ModuleNotFoundError as error:
        needed = str(error.name).partition(".")[0]
        if needed not in EXTRA:
            raise
        raise ConfigError(
            f"the demo needs {needed}", remedy="pip install 'eftraind[demo]'"
        ) from None


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
