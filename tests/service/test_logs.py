"""Log messages: levels per part, JSON lines, and the journal's own protocol on a real socket."""

import json
import logging
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from eftraind import config as configuration
from eftraind.service import logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for part in ("service", "engine", "store", "accel"):
        logging.getLogger(f"eftraind.{part}").setLevel(logging.NOTSET)


def fields_of(datagram: bytes) -> dict[str, bytes]:
    """The journal's own reading of a datagram."""
    fields = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", rest[:8])
            value, datagram = rest[8 : 8 + size], rest[8 + size + 1 :]
        else:
            datagram = rest
        fields[name.decode()] = value
    return fields


def test_levels_per_part_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    log = {"format": "json", "level": "warning", "levels": {"store": "debug"}}
    logs.set_up(configuration.from_mapping({"log": log}), "front", {})
    logging.getLogger("eftraind.store.journal").debug("kept %d", 1)
    logging.getLogger("eftraind.service.front").info("left out")
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("eftraind.service.front").exception("kept\ntoo")
    logs.set_levels({"log.levels.store": None, "log.level": "error", "train.momentum": 1})
    logging.getLogger("eftraind.store.journal").warning("left out")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["part"], first["level"], first["message"]) == ("store", "debug", "kept 1")
    assert (second["process"], second["message"]) == ("front", "kept\ntoo")
    assert "ValueError: why" in second["trace"] and second["time"].endswith("+00:00")


def test_the_journal_gets_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.bind(str(tmp_path / "journal"))
    handler = logs.JournalHandler("engine", str(tmp_path / "journal"))
    logger = logging.getLogger("eftraind.accel.cpu")
    logger.addHandler(handler)
    try:
        logger.error("two\nlines of %s", "text")
        fields = fields_of(journal.recv(65536))
        assert fields["MESSAGE"] == b"two\nlines of text"
        assert fields["PRIORITY"] == b"3" and fields["EFTRAIND_PART"] == b"accel"
        assert fields["SYSLOG_IDENTIFIER"] == b"eftraind-engine"
        logger.error("x" * 1_000_000)
        assert len(fields_of(journal.recv(65536))["MESSAGE"]) == logs.MESSAGE_MAX_BYTES
        journal.close()
        logger.warning("nobody listens")
        assert capsys.readouterr().err == "<4>nobody listens\n"
    finally:
        logger.removeHandler(handler)
        handler.close()
        journal.close()


def test_every_level_has_its_priority() -> None:
    levels = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
    for name, priority in levels.items():
        assert logs.priority_of(getattr(logging, name.upper())) == priority
