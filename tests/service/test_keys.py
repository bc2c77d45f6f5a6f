"""Keys of the daemon: what it refuses, survives and reads at start.

Who gets in, who may do what, and how a revoked key is cut off, is tested with both clients in
tests/sdk/test_both_keys.py.
"""

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq
from harness import Daemon, images, small_config, until, write_config

from eftraind.client import Client, Refused
from eftraind.client.curve import new_pair
from eftraind.errors import ConfigError
from eftraind.keys import KeyFile, Peer, allowed_line, read_allowed, read_key_file
from eftraind.metrics import Metrics
from eftraind.service.guard import Guard
from eftraind.service.request import RequestFailed, request

Make = Callable[..., Daemon]
CLI = [sys.executable, "-m", "eftraind"]
ROLES = {"all": "ingest,infer,admin", "cam": "ingest", "eye": "infer"}


class Keyed:
    """A front with tcp endpoints, a server key and clients of each role."""

    def __init__(self, box: Path, daemon: Make, command: str = "front") -> None:
        self.box = box
        server = new_pair()
        self.server = server.public
        self.keys = {name: self.pair() for name in ROLES}
        self.list = box / "allow"
        self.allow(*ROLES)
        key = box / "server"
        key.write_text(server.text("server"))
        key.chmod(0o600)
        self.daemon = daemon(
            command,
            listen=["ipc://{run_dir}/eft.sock", "tcp://127.0.0.1:*"],
            events=["ipc://{run_dir}/events.sock", "tcp://127.0.0.1:*"],
            keys={"server": str(key), "clients": str(self.list)},
        )
        self.endpoint = self.daemon.ready()["endpoints"]["listen"][1]

    def pair(self) -> KeyFile:
        made = new_pair()
        return KeyFile(made.secret, made.public, self.server)

    def allow(self, *names: str) -> None:
        lines = [
            allowed_line(self.keys[name].public, Peer(name, frozenset(ROLES[name].split(","))))
            for name in names
        ]
        self.list.write_text("# who may connect\n" + "\n".join(lines) + "\n")
        self.list.chmod(0o640)

    def client(self, name: str, **more: Any) -> Client:
        return Client(self.endpoint, keys=self.keys[name], **more)

    def reload(self) -> "subprocess.CompletedProcess[str]":
        file = str(self.box / "config.yaml")
        return subprocess.run(
            [*CLI, "reload", "--config", file], capture_output=True, text=True, timeout=60
        )


@pytest.fixture
def keyed(box: Path, daemon: Make) -> Keyed:
    return Keyed(box, daemon)


def stores(client: Client) -> None:
    client.push(images(1)[0][0], label=1)
    client.flush(timeout_s=30)


def test_a_unix_socket_needs_no_key_and_may_everything(keyed: Keyed) -> None:
    with Client(keyed.daemon.endpoint) as client:
        stores(client)
    assert keyed.daemon.status()["version"]


def test_an_unlisted_key_is_told_so(keyed: Keyed) -> None:
    with pytest.raises(Refused) as caught:
        Client(keyed.endpoint, keys=keyed.pair(), connect_timeout_s=30)
    assert caught.value.code == "key_not_listed"
    metrics = request(keyed.daemon.config.control_endpoint, "metrics")["text"]
    assert "eftraind_handshakes_refused_total 1.0" in metrics


def test_a_bad_list_is_refused_with_its_line_and_changes_nothing(keyed: Keyed) -> None:
    keyed.list.write_text("# fine\nnot-a-key cam ingest\n")
    refused = keyed.reload()
    assert refused.returncode == 78 and "line 2" in refused.stderr
    os.kill(keyed.daemon.process.pid, signal.SIGHUP)
    until("the complaint", lambda: "reload refused" in keyed.daemon.log.read_text())
    with keyed.client("cam") as cam:
        stores(cam)


def test_thousands_of_failed_handshakes_and_garbage_hurt_nobody(keyed: Keyed) -> None:
    port = int(keyed.endpoint.rpartition(":")[2])
    process = f"/proc/{keyed.daemon.process.pid}"
    with keyed.client("cam") as cam:
        stores(cam)
        before = len(os.listdir(f"{process}/fd"))
        greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(47)
        junk = (b"GET / HTTP/1.1\r\n\r\n" * 9, b"\0" * 300, greeting + b"\xff" * 99)
        for number in range(2000):
            with socket.create_connection(("127.0.0.1", port), 10) as raw:
                raw.sendall(junk[number % 3])
        with zmq.Context() as context:
            for _ in range(100):
                stranger, key = context.socket(zmq.DEALER), keyed.pair()
                stranger.linger = 0
                stranger.curve_serverkey = key.server.encode()
                stranger.curve_publickey = key.public.encode()
                stranger.curve_secretkey = key.secret.encode()
                stranger.connect(keyed.endpoint)
                stranger.close()
        stores(cam)
        assert cam.stats().reconnects == 0
        until("the descriptors", lambda: len(os.listdir(f"{process}/fd")) <= before + 5)


def refusals(keyed: Keyed) -> float:
    text = request(keyed.daemon.config.control_endpoint, "metrics")["text"]
    found = re.search(r"^eftraind_handshakes_refused_total (\S+)", text, re.M)
    return float(found[1]) if found else 0.0


def test_a_crowd_of_strangers_does_not_starve_a_sensor(keyed: Keyed) -> None:
    with keyed.client("cam") as cam:
        for crowd in range(5):
            with zmq.Context() as context, contextlib.ExitStack() as stack:
                for _ in range(40):  # libzmq tries once: a refused key is not tried again
                    stranger, key = stack.enter_context(context.socket(zmq.DEALER)), keyed.pair()
                    stranger.linger = 0
                    stranger.curve_serverkey = key.server.encode()
                    stranger.curve_publickey = key.public.encode()
                    stranger.curve_secretkey = key.secret.encode()
                    stranger.connect(keyed.endpoint)
                stores(cam)
                expected = 40 * (crowd + 1)
                until("their refusals", lambda wanted=expected: refusals(keyed) >= wanted)
        assert cam.stats().reconnects == 0 and cam.stats().durable == 5


def front_says(box: Path, environ: dict[str, str] | None = None, **sections: Any) -> str:
    """The one line of a front that cannot start."""
    run = subprocess.run(
        [*CLI, "front", "--config", str(write_config(box, **sections))],
        capture_output=True, text=True, timeout=60, env={**os.environ, **(environ or {})},
    )  # fmt: skip
    assert run.returncode == 78, run.stderr
    assert run.stderr.count("\n") == 1 and "Traceback" not in run.stderr
    return run.stderr


def test_what_is_wrong_with_keys_is_one_line(box: Path) -> None:
    tcp: dict[str, Any] = {"listen": ["tcp://127.0.0.1:*"]}
    assert "needs keys" in front_says(box, **tcp)
    for other in ({"events": ["tcp://127.0.0.1:*"]}, {"admin": "tcp://127.0.0.1:*"}):
        with pytest.raises(ConfigError, match="needs keys"):
            Guard(small_config(box, **other), {}, Metrics(owner="front"))
    key, allow = box / "server", box / "allow"
    tcp["keys"] = {"server": str(key), "clients": str(allow)}

    def fault() -> str:
        with pytest.raises(ConfigError) as caught:
            Guard(small_config(box, **tcp), {}, Metrics(owner="front"))
        return str(caught.value)

    assert f"cannot read {key}" in front_says(box, **tcp)
    key.write_text(new_pair().text("x"))
    key.chmod(0o644)
    assert "chmod 600" in fault()
    key.chmod(0o600)
    assert f"cannot read {allow}" in fault()
    allow.write_text("")
    allow.chmod(0o666)
    assert "chmod 640" in fault()
    key.write_text("secret x\n")
    assert "server, line 1" in fault()
    key.write_text(KeyFile(new_pair().secret, new_pair().public).text("x"))
    assert "not that of its secret key" in fault()


def test_keys_from_systemd(box: Path, daemon: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    (box / "eftraind.server.key").write_text("")
    tcp = {"listen": ["tcp://127.0.0.1:*"]}
    assert "needs keys" in front_says(box, {"CREDENTIALS_DIRECTORY": str(box)}, **tcp)
    server, mine = new_pair(), new_pair()
    (box / "eftraind.server.key").write_text(server.text("server"))
    (box / "eftraind.server.key").chmod(0o440)  # as systemd shows it through an ACL
    (box / "eftraind.clients.allow").write_text(f"{mine.public} me ingest\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(box))
    front = daemon("front", **tcp)
    endpoint = front.ready()["endpoints"]["listen"][0]
    with Client(endpoint, keys=KeyFile(mine.secret, mine.public, server.public)) as client:
        stores(client)


def test_keygen_writes_once_and_only_for_its_owner(tmp_path: Path) -> None:
    def keygen(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*CLI, "keygen", *words], capture_output=True, text=True, cwd=tmp_path, timeout=60
        )

    made = keygen("server")
    file = tmp_path / "eftraind.server.key"
    pair = read_key_file(file)
    assert made.returncode == 0 and pair is not None and pair.public in made.stdout
    assert pair.secret not in made.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = keygen("server")
    assert again.returncode == 1 and "exists" in again.stderr and read_key_file(file) == pair
    client = keygen("cam-left", "--server", file.name, "--roles", "ingest")
    mine = read_key_file(tmp_path / "cam-left.key")
    assert mine is not None and mine.server == pair.public
    allow = tmp_path / "allow"
    allow.write_text(client.stdout.splitlines()[-1] + "\n")
    allow.chmod(0o600)
    assert read_allowed(allow) == {mine.public: Peer("cam-left", frozenset({"ingest"}))}
    assert keygen("x", "--server", pair.public, "--roles", "root").returncode == 78
    assert sorted(p.name for p in tmp_path.iterdir()) == ["allow", "cam-left.key", file.name]


def test_a_process_replaced_while_cut_off_is_told(box: Path, bench: Callable[..., Any]) -> None:
    from eftraind.wire import Hello, Welcome

    b = bench()
    for instance in ("one", "two"):
        peer = b.client()
        peer.send(*Hello("cam", "raw", instance=instance).frames())
        peer.expect(Welcome, b.turn)
    back = b.client()
    back.send(*Hello("cam", "raw", instance="one").frames())
    assert back.refusal(b.turn) == "superseded"
    back.send(*Hello("cam", "raw", instance="two").frames())
    back.expect(Welcome, b.turn)


def test_commands_over_tcp_need_the_role_admin(box: Path, daemon: Make) -> None:
    server, pairs = new_pair(), {name: new_pair() for name in ("boss", "cam")}
    (box / "server").write_text(server.text("server"))
    (box / "server").chmod(0o600)
    lines = [f"{pairs['boss'].public} boss admin", f"{pairs['cam'].public} cam ingest,infer"]
    (box / "allow").write_text("\n".join(lines))
    (box / "allow").chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    keys = {"server": str(box / "server"), "clients": str(box / "allow")}
    daemon("front", admin=endpoint, keys=keys).ready()
    held = {n: KeyFile(p.secret, p.public, server.public) for n, p in pairs.items()}
    assert request(endpoint, "status", keys=held["boss"])["version"]
    for command in ("status", "metrics", "pause", "promote", "set", "reload"):
        with pytest.raises(RequestFailed) as caught:
            request(endpoint, command, keys=held["cam"])
        assert caught.value.code == "forbidden"
