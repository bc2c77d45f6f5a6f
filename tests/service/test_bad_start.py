"""What cannot start ends at once, with one line that says what to do and an exit status that tells
systemd whether to try again."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from harness import until, write_config

from eftraind.client.curve import new_pair

CLI = [sys.executable, "-m", "eftraind"]
CONFIG = 78


def refused(box: Path, command: str, *words: str, wrap: Sequence[str] = (), **sections: Any) -> int:
    """Start and expect the end; the exit status. `words` must be in the last line."""
    path = write_config(box, **sections)
    done = subprocess.run(
        [*wrap, *CLI, command, "--config", str(path)], capture_output=True, text=True, timeout=60
    )
    *before, line = done.stderr.splitlines() or [""]
    assert not [text for text in before if "Traceback" in text or text.startswith("eftraind:")]
    assert line.startswith("eftraind: ")
    for word in words:
        assert word in line, line
    return done.returncode


@pytest.fixture
def taken() -> Any:
    """A TCP port that something else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_in_use(box: Path, taken: int) -> None:
    metrics = {"listen": f"127.0.0.1:{taken}"}
    words = ("metrics.listen", "in use", "free port")
    assert refused(box, "front", str(taken), *words[1:], metrics=metrics) == CONFIG
    listen = [f"tcp://127.0.0.1:{taken}"]
    server, clients = box / "server.key", box / "clients.allow"
    server.write_text(new_pair().text("server"))
    server.chmod(0o600)
    clients.touch(0o640)
    keys = {"server": str(server), "clients": str(clients)}
    assert refused(box, "front", str(taken), "in use", listen=listen, keys=keys) == CONFIG


def test_a_port_in_use_ends_the_supervisor_too(box: Path, taken: int) -> None:
    path = write_config(box, metrics={"listen": f"127.0.0.1:{taken}"})
    done = subprocess.run(
        [*CLI, "run", "--config", str(path)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == CONFIG
    assert done.stderr.count("cannot serve metrics") == 1, "it was tried more than once"


@pytest.mark.parametrize("command", ["front", "engine"])
def test_a_state_directory_that_cannot_be_reached(box: Path, command: str) -> None:
    (box / "file").touch()
    for state in (box / "file" / "state", Path("/proc/nowhere/state")):
        assert refused(box, command, str(state), "state_dir", state_dir=str(state)) == CONFIG


def test_a_run_directory_that_cannot_be_reached(box: Path) -> None:
    (box / "file").touch()
    assert refused(box, "front", "run_dir", run_dir=str(box / "file/run")) == CONFIG


@pytest.mark.parametrize("command", ["front", "engine"])
def test_a_state_directory_of_someone_else(box: Path, command: str) -> None:
    state = box / "state"
    state.mkdir()
    wrap: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed")
        os.chown(state, 65534, 65534)
        wrap = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]  # a root that must ask
    state.chmod(0o700 if wrap else 0o500)
    words = ("Permission denied", "own")
    assert refused(box, command, str(state), *words, wrap=wrap) == CONFIG


def test_a_configuration_that_is_not_there(box: Path) -> None:
    for arguments in (["front"], ["engine"], ["run"], ["reload"]):
        done = subprocess.run(
            [*CLI, *arguments, "--config", str(box / "none.yaml")],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == CONFIG and done.stderr.count("\n") == 1
        assert "none.yaml" in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x93\x01\xff", "cannot read"),
        (b"a: \x00", "is not YAML"),
        (b"train: [", "is not YAML"),
        (b"- 1", "not keys with values"),
        (b"jurnal: {}", "did you mean journal?"),
        (b'journal: {commit_s: "50ms"}', "journal.commit_s"),
        (None, "Is a directory"),
    ],
)
def test_a_configuration_that_is_none(box: Path, content: bytes | None, words: str) -> None:
    path = box / "x.yaml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    done = subprocess.run(
        [*CLI, "run", "--config", str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == CONFIG and done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr


def test_weights_that_are_none(box: Path) -> None:
    (box / "noise").write_bytes(bytes(range(256)))
    for file in ("noise", "missing"):
        model = {"network": "digits", "weights": str(box / file)}
        assert refused(box, "engine", "model.weights", file, "null", model=model) == CONFIG


def test_a_state_directory_of_another_network(box: Path) -> None:
    path = write_config(box)
    engine = subprocess.Popen([*CLI, "engine", "--config", str(path)])
    try:
        until("its weights", lambda: (box / "state/checkpoints/pins.json").exists(), 60)
    finally:
        engine.terminate()
        engine.wait(30)
    network = {"network": "lenet5"}
    assert refused(box, "engine", "digits", "lenet5", "state_dir", model=network) == CONFIG


def test_a_second_daemon_on_the_same_state(box: Path, daemon: Any) -> None:
    first = daemon("front")
    first.ready()
    for command in ("front", "run"):
        done = subprocess.run(
            [*CLI, command, "--config", str(box / "config.yaml")],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 75 and f"process {first.process.pid}" in done.stderr
    assert first.status()["version"]


def test_a_stale_socket_file_is_replaced_and_a_directory_in_its_place_is_named(
    box: Path, daemon: Any
) -> None:
    (box / "d.sock").mkdir()
    listen = [f"ipc://{box}/d.sock"]
    assert refused(box, "front", "d.sock", listen=listen) == CONFIG
    (box / "eft.sock").touch()
    assert daemon("front").ready()["version"]


@pytest.mark.parametrize("limit", [12, 20, 24, 28])
def test_too_few_descriptors(box: Path, limit: int) -> None:
    wrap = ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh"]
    assert refused(box, "front", "ulimit -n", wrap=wrap) in (1, CONFIG)


@pytest.mark.parametrize("command", ["front", "check-config"])
def test_a_board_that_does_not_exist(box: Path, command: str) -> None:
    power = {"board": "pynq-z3"}
    assert refused(box, command, "pynq-z3", "did you mean pynq-z2?", power=power) == CONFIG


def test_reloading_without_a_daemon(box: Path) -> None:
    path = write_config(box)
    done = subprocess.run(
        [*CLI, "reload", "--config", str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "no daemon" in done.stderr
