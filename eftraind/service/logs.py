"""Where log messages go, how they look, and from which level on, per part of the daemon.

Owns the handlers: systemd's journal by its own protocol, with fields; JSON lines; plain text. It
never waits: a message that the journal does not take goes to standard error.
"""

import json
import logging
import os
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from eftraind.config import Config

JOURNAL_SOCKET = "/run/systemd/journal/socket"
MESSAGE_MAX_BYTES = 32_768  # a longer datagram may not fit the socket's buffer
ROOT = "eftraind"


def set_up(config: Config, process: str, environ: Mapping[str, str]) -> None:
    """Send this process's messages where `log.format` says, from `log.level` on."""
    handler: logging.Handler
    kind = config.log.format
    if kind == "auto":
        kind = "journal" if reads_stderr(environ) else "text"
    if kind == "journal":
        handler = JournalHandler(process)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter(process) if kind == "json" else _text(process))
    logging.basicConfig(handlers=[handler], force=True)
    parts = {f"log.levels.{part}": level for part, level in asdict(config.log.levels).items()}
    set_levels({"log.level": config.log.level, **parts})


def set_levels(values: Mapping[str, Any]) -> None:
    """From which level on messages are shown; other keys than those of `log` are passed over."""
    for key, level in values.items():
        if key == "log.level":
            logging.getLogger().setLevel(level.upper())
        elif key.startswith("log.levels."):
            logger = logging.getLogger(f"{ROOT}.{key.rpartition('.')[2]}")
            logger.setLevel(level.upper() if level else logging.NOTSET)


def part_of(record: logging.LogRecord) -> str:
    """The part of the daemon that speaks: `store` of eftraind.store.journal."""
    return f"{record.name}.".removeprefix(f"{ROOT}.").partition(".")[0]


class JsonFormatter(logging.Formatter):
    """One JSON object, in one line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname.lower(),
            "process": self._process,
            "part": part_of(record),
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class JournalHandler(logging.Handler):
    """https://systemd.io/JOURNAL_NATIVE_PROTOCOL, one datagram per message."""

    def __init__(self, process: str, address: str = JOURNAL_SOCKET) -> None:
        super().__init__()
        self._process = process
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self.setFormatter(logging.Formatter())  # the message, and a trace where there is one

    def emit(self, record: logging.LogRecord) -> None:
        message = self.format(record).encode(errors="replace")[:MESSAGE_MAX_BYTES]
        priority = priority_of(record.levelno)
        fields = {
            "MESSAGE": message,
            "PRIORITY": str(priority).encode(),
            "SYSLOG_IDENTIFIER": f"{ROOT}-{self._process}".encode(),
            "EFTRAIND_PROCESS": self._process.encode(),
            "EFTRAIND_PART": part_of(record).encode(),
            "CODE_FUNC": f"{record.name}.{record.funcName}".encode(),
        }
        try:
            datagram = b"".join(_field(name, value) for name, value in fields.items())
            self._socket.sendto(datagram, self._address)
        except OSError:
            # The prefix tells systemd the priority, should it be the one who reads this.
            sys.stderr.write(f"<{priority}>{message.decode(errors='replace')}\n")

    def close(self) -> None:
        self._socket.close()
        super().close()


def priority_of(level: int) -> int:
    """syslog's number of a level of `logging`."""
    steps = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
    return next((priority for least, priority in steps if level >= least), 7)


def _field(name: str, value: bytes) -> bytes:
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"


def reads_stderr(environ: Mapping[str, str]) -> bool:
    """Whether standard error is the stream that systemd connected to the journal."""
    if not Path(JOURNAL_SOCKET).exists():
        return False
    status = os.fstat(sys.stderr.fileno())
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _text(process: str) -> logging.Formatter:
    return logging.Formatter(f"%(asctime)s {process} %(levelname)s %(message)s")
