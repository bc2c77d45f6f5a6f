"""Keys as the operator meets them: made, checked before the start, and used by commands from
another machine. What is wrong with them is the same line everywhere."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Daemon, write_config

from eftraind.client.curve import new_pair
from eftraind.errors import StorageError
from eftraind.fsio import FileOps, fill_empty
from eftraind.keys import KeyFile, read_key_file

Make = Callable[..., Daemon]
CLI = [sys.executable, "-m", "eftraind"]


def eftraind(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*CLI, *words], capture_output=True, text=True, timeout=60, env={**os.environ, **environ}
    )


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def files(box: Path) -> dict[str, str]:
    server = written(box / "server", new_pair().text("server"))
    allow = written(box / "allow", f"{new_pair().public} cam ingest\n", 0o640)
    return {"server": str(server), "clients": str(allow)}


# before the start


def test_check_config_and_the_start_say_the_same_of_keys(box: Path, files: dict[str, str]) -> None:
    listen = ["tcp://127.0.0.1:*"]
    path = str(write_config(box, listen=listen, keys=files))
    good = eftraind("check-config", "--config", path)
    assert good.returncode == 0 and "1 client key" in good.stdout, good.stderr
    server, allow = Path(files["server"]), Path(files["clients"])
    first, second = new_pair(), new_pair()
    faults: list[tuple[Path, str, int, str]] = [
        (server, first.text("x"), 0o640, "chmod 600"),
        (server, KeyFile(first.secret, second.public).text("x"), 0o600, "not that of its secret"),
        (server, "", 0o600, "there is no server key"),
        (allow, "x y z\n", 0o640, "line 1"),
        (allow, "", 0o666, "chmod 640"),
    ]
    for file, text, mode, words in faults:
        before, before_mode = file.read_text(), file.stat().st_mode & 0o777
        written(file, text, mode)
        told = []
        for command in ("check-config", "front"):
            refused = eftraind(command, "--config", path)
            assert refused.returncode == 78 and refused.stderr.count("\n") == 1, refused.stderr
            told.append(refused.stderr)
        assert words in told[0] and told[0] == told[1]
        written(file, before, before_mode)
    allow.unlink()
    gone = eftraind("check-config", "--config", path)
    assert gone.returncode == 78 and f"cannot read {allow}" in gone.stderr


def test_check_config_looks_where_the_service_is_given_its_keys(box: Path) -> None:
    path = str(write_config(box, listen=["tcp://127.0.0.1:*"]))
    place = box / "credentials"
    place.mkdir()
    asked = ("check-config", "--config", path)
    missing = eftraind(*asked, CREDENTIALS_DIRECTORY=str(place))
    assert missing.returncode == 78 and "there is no server key" in missing.stderr
    written(place / "eftraind.server.key", new_pair().text("x"))
    missing = eftraind(*asked, CREDENTIALS_DIRECTORY=str(place))
    assert missing.returncode == 78 and "list of clients" in missing.stderr
    written(place / "eftraind.clients.allow", "")
    good = eftraind(*asked, CREDENTIALS_DIRECTORY=str(place))
    assert good.returncode == 0 and "0 client keys" in good.stdout


# keygen


def test_keygen_fills_the_empty_file_of_the_installation(box: Path) -> None:
    empty = written(box / "server.key", "", 0o400)
    made = eftraind("keygen", "server", "--out", str(empty))
    assert made.returncode == 0, made.stderr
    pair = read_key_file(empty)
    assert pair is not None and empty.stat().st_mode & 0o777 == 0o600
    again = eftraind("keygen", "server", "--out", str(empty))
    assert again.returncode == 1 and "exists" in again.stderr and read_key_file(empty) == pair
    assert [path.name for path in box.iterdir()] == ["server.key"]


def test_only_an_empty_plain_file_is_filled(box: Path) -> None:
    ops = FileOps()
    (box / "folder").mkdir()
    os.mkfifo(box / "pipe")
    written(box / "full", "x")
    written(box / "empty", "")
    (box / "link").symlink_to(box / "empty")
    for name in ("folder", "pipe", "full", "link"):
        with pytest.raises(StorageError):
            fill_empty(ops, box / name, b"new", 0o600)
    assert (box / "empty").read_bytes() == b"" and (box / "full").read_text() == "x"
    fd = ops.open(box / "empty", os.O_RDONLY)
    assert ops.try_lock(fd)  # another one is at it
    with pytest.raises(StorageError, match="exists"):
        fill_empty(ops, box / "empty", b"new", 0o600)
    ops.close(fd)
    fill_empty(ops, box / "empty", b"new", 0o600)
    assert (box / "empty").read_bytes() == b"new"
    names = sorted(path.name for path in box.iterdir())
    assert names == ["empty", "folder", "full", "link", "pipe"]


# commands from another machine


class Remote:
    """A front with an admin endpoint, and key files of an operator and of a camera."""

    def __init__(self, box: Path, daemon: Make, host: str = "127.0.0.1") -> None:
        self.server = new_pair()
        pairs = {"boss": new_pair(), "cam": new_pair(), "stranger": new_pair()}
        self.keys = {
            name: written(
                box / f"{name}.key",
                KeyFile(pair.secret, pair.public, self.server.public).text(name),
            )
            for name, pair in pairs.items()
        }
        lines = [f"{pairs['boss'].public} boss admin", f"{pairs['cam'].public} cam ingest,infer"]
        self.endpoint = f"tcp://{host}:{free_port(host)}"
        server = written(box / "server", self.server.text("server"))
        allow = written(box / "allow", "\n".join(lines))
        keys = {"server": str(server), "clients": str(allow)}
        self.daemon = daemon("front", admin=self.endpoint, keys=keys)
        self.daemon.ready()

    def ask(self, command: str, *words: str, key: str = "boss") -> Any:
        target = ("--endpoint", self.endpoint, "--key", str(self.keys[key]))
        return eftraind(command, *words, *target)


def free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host.strip("[]"), 0))
        return int(probe.getsockname()[1])


def test_commands_from_another_machine(box: Path, daemon: Make) -> None:
    remote = Remote(box, daemon)
    status = remote.ask("status")
    assert status.returncode == 0 and "engine_up" in status.stdout, status.stderr
    assert remote.ask("reload").stdout == "reloaded: nothing has changed\n"
    assert "nothing" not in remote.ask("top", "--once").stderr
    for words in (("pause",), ("set", "train.momentum=0.5"), ("rollback", "--golden")):
        refused = remote.ask(*words)  # it arrives; there is no engine
        assert refused.returncode == 1 and "the engine is not there" in refused.stderr
    by_variable = eftraind(
        "status", "--endpoint", remote.endpoint, EFTRAIND_KEYS=str(remote.keys["boss"])
    )
    assert by_variable.returncode == 0


def test_why_a_command_from_another_machine_fails(box: Path, daemon: Make) -> None:
    remote = Remote(box, daemon)
    forbidden = remote.ask("status", key="cam")
    assert forbidden.returncode == 1 and "the role admin" in forbidden.stderr
    unlisted = remote.ask("status", key="stranger")
    assert unlisted.returncode == 1 and "does not list this client's key" in unlisted.stderr
    boss = read_key_file(remote.keys["boss"])
    assert boss is not None
    other = KeyFile(boss.secret, boss.public, new_pair().public)
    remote.keys["wrong"] = written(box / "wrong.key", other.text("wrong"))
    wrong = remote.ask("pause", key="wrong")
    assert wrong.returncode == 1 and "server key" in wrong.stderr
    for failed in (forbidden, unlisted, wrong):
        assert failed.stderr.count("\n") == 1
    remote.keys["boss"].chmod(0o644)
    assert "chmod 600" in remote.ask("status").stderr


def test_flags_that_do_not_go_together(box: Path) -> None:
    path = str(write_config(box))
    for status, words in (
        (2, ("status",)),
        (2, ("status", "--config", path, "--endpoint", "tcp://h:1")),
        (78, ("status", "--config", path, "--key", "k")),
        (78, ("status", "--endpoint", "tcp://127.0.0.1:1")),
        (78, ("status", "--endpoint", "127.0.0.1:1")),
        (1, ("status", "--endpoint", "tcp://127.0.0.1:1", "--key", str(box / "none"))),
    ):
        refused = eftraind(*words, EFTRAIND_KEYS="")
        assert refused.returncode == status, refused.stderr
        assert "Traceback" not in refused.stderr


def test_ipv6(box: Path, daemon: Make) -> None:
    try:
        free_port("[::1]")
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    remote = Remote(box, daemon, "[::1]")
    assert remote.ask("status").returncode == 0
