"""`python stalling.py FILE COMMAND...`: the real daemon's command, whose loop stands still while
FILE exists. Its other threads go on, as they would beside a loop that hangs."""

import sys
import time
from pathlib import Path
from typing import Any

from eftraind import cli
from eftraind.service.engine import EngineService
from eftraind.service.front import Front


def stalled(turn: Any, file: Path) -> Any:
    def standing_still(self: Any, *arguments: Any) -> Any:
        while file.exists():
            time.sleep(0.05)
        return turn(self, *arguments)

    return standing_still


if __name__ == "__main__":
    for loop in (Front, EngineService):
        loop.turn = stalled(loop.turn, Path(sys.argv[1]))  # type: ignore[method-assign]
    sys.exit(cli.main(sys.argv[2:]))
