"""The stub engine as a process, with the engine's command line: for tests of the supervisor."""

import argparse
import signal
import sys
import time
from pathlib import Path

import zmq
from harness import StubEngine

from eftraind import config as configuration
from eftraind.clock import Clock
from eftraind.service.heart import Heart


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--heartbeat-fd", type=int)
    parser.add_argument("--exit", type=int, help="end at once with this status")
    parser.add_argument("--hang-file", type=Path, help="stop turning once this file exists")
    options = parser.parse_args()
    if options.exit is not None:
        return int(options.exit)
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    heart = Heart(options.heartbeat_fd, Clock())
    with zmq.Context() as context:
        engine = StubEngine(configuration.load(options.config), context)
        engine.hello()
        while not stopping and not heart.orphaned:
            engine.turn(50)
            heart.beat()
            if options.hang_file and options.hang_file.exists():
                options.hang_file.unlink()
                time.sleep(1000)
        engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
