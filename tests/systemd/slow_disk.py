"""`slow_disk.py SILENT COMMAND...`: the daemon's command on a disk that takes half a second for a
segment of the journal; with SILENT = yes it does not tell systemd that it is getting on."""

import sys
import time

from eftraind import cli
from eftraind.fsio import FileOps
from eftraind.sdnotify import Notifier


def said_to_nobody(self: Notifier, duration_s: float) -> None:
    pass


if __name__ == "__main__":
    sync = FileOps.fsync

    def slowly(self: FileOps, fd: int) -> None:
        time.sleep(0.5 if self.file_size(fd) > 500_000 else 0)
        sync(self, fd)

    FileOps.fsync = slowly  # type: ignore[method-assign]
    if sys.argv[1] == "yes":
        Notifier.extend_timeout = said_to_nobody  # type: ignore[method-assign]
    sys.exit(cli.main(sys.argv[2:]))
