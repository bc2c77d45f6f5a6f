"""`python dying.py FILE COMMAND...`: the real daemon's command on the reference device, which stops
answering while FILE exists. What FILE says: `timeout` or `lost` by a run of commands, `open` as
lost, but it cannot be opened again either, `boot` it is lost while it is opened."""

import sys
from pathlib import Path
from typing import Any

from eftraind import cli
from eftraind.accel.reference import ReferenceDevice
from eftraind.errors import DeviceLost, DeviceTimeout, DeviceUnavailable

FILE = Path(sys.argv[1])
ERRORS = {"timeout": DeviceTimeout, "lost": DeviceLost, "open": DeviceLost}
opened, run = ReferenceDevice.__init__, ReferenceDevice.run


def opening(self: Any, *arguments: Any, **options: Any) -> None:
    if FILE.exists() and FILE.read_text() == "open":
        raise DeviceUnavailable("the board does not answer", remedy="power it off and on")
    if FILE.exists() and FILE.read_text() == "boot":
        raise DeviceLost("commands 0..3 did not end", remedy="reset the board")
    opened(self, *arguments, **options)


def running(self: Any, *arguments: Any) -> Any:
    if FILE.exists():
        raise ERRORS[FILE.read_text()]("commands 0..3 did not end", remedy="reset the board")
    return run(self, *arguments)


if __name__ == "__main__":
    ReferenceDevice.__init__ = opening  # type: ignore[method-assign]
    ReferenceDevice.run = running  # type: ignore[method-assign]
    sys.exit(cli.main(sys.argv[2:]))
