"""Reading the file again: what changes, what is refused by name, and that nothing else happens."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq
from harness import Daemon, small_config, until, write_config

from eftraind import config as configuration
from eftraind import link
from eftraind.engine import recipe
from eftraind.errors import ConfigError
from eftraind.service.front import Front
from eftraind.service.request import request

CLI = [sys.executable, "-m", "eftraind"]


def cli(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*CLI, *arguments], capture_output=True, text=True, timeout=60)


def test_what_may_change_is_what_the_engine_and_the_log_can_do() -> None:
    levels = {key for key in configuration.CHANGEABLE if key.startswith("log.")}
    assert set(configuration.CHANGEABLE) == {*recipe.RATES, *levels}
    for key in configuration.CHANGEABLE:
        configuration.value_of(key, "debug" if key in levels else 0.5)


def test_every_key_that_cannot_change_is_named(box: Path) -> None:
    old = small_config(box)
    new = small_config(
        box, train={"batch": 7, "momentum": 0.5}, journal={"size_bytes": 16 << 20},
        log={"levels": {"store": "debug"}}, state_dir="/elsewhere",
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        configuration.changes(old, new)
    assert caught.value.message == (
        "cannot change while the daemon runs: state_dir, journal.size_bytes, train.batch"
    )
    allowed = small_config(box, train={"momentum": 0.5}, log={"levels": {"store": "debug"}})
    assert configuration.changes(old, allowed) == {
        "train.momentum": 0.5, "log.levels.store": "debug",
    }  # fmt: skip
    assert configuration.changes(old, old) == {}
    with pytest.raises(ConfigError, match="train.clip_norm .it was 0"):
        configuration.changes(old, small_config(box, train={"clip_norm": 1.0}))


def test_front_applies_its_part_and_tells_the_engine(
    bench: Callable[..., Any], box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = bench()
    engine = b.engine()
    b.until("the engine", lambda: b.front.session.up)
    front: Front = b.front
    changed = {"train": {"learning_rate": 0.5}, "log": {"levels": {"store": "debug"}}}
    front.reload.read_again = lambda: small_config(box, **changed)
    store = logging.getLogger("eftraind.store")
    try:
        front.reload_now()
        assert store.level == logging.DEBUG
    finally:
        store.setLevel(logging.NOTSET)
    told = b.until("the news", lambda: [m for m in engine.heard if isinstance(m, link.Control)])
    assert told[0].command == "reload"
    assert told[0].args == {"train.learning_rate": 0.5, "log.levels.store": "debug"}
    front.reload.read_again = lambda: small_config(box, **changed, ingest={"max_clients": 1})
    with pytest.raises(ConfigError, match=r"ingest\.max_clients"):
        front.reload()
    front.reload_now()  # of a signal, it is only logged
    front.reload.read_again = lambda: small_config(box, **changed)
    assert front.reload() == {}


def test_a_running_daemon_takes_new_rates(daemon: Callable[..., Daemon], box: Path) -> None:
    whole = daemon("run")
    until("the engine", lambda: whole.ready()["engine"].get("up"))
    file = ["--config", str(box / "config.yaml")]
    with zmq.Context() as context, context.socket(zmq.SUB) as events:
        events.setsockopt(zmq.LINGER, 0)
        events.subscribe("training")
        events.connect(whole.config.events_endpoint)
        until("the subscription", lambda: rated(whole, "train.momentum") and events.poll(100))
        write_config(box, train={"learning_rate": 0.125}, log={"level": "debug"})
        answer = cli("reload", *file)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout == 'reloaded: log.level is "debug", train.learning_rate is 0.125\n'

        def heard() -> Any:
            assert events.poll(30_000)
            return json.loads(events.recv_multipart()[1]).get("rates")

        until("the new rate", lambda: heard() == {"train.learning_rate": 0.125})

    write_config(box, train={"learning_rate": 0.5}, device={"kind": "cpu"})
    refused = cli("reload", *file)
    assert refused.returncode == 78 and refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert "device.kind" in refused.stderr and "learning_rate" not in refused.stderr

    os.kill(whole.process.pid, signal.SIGHUP)  # to the supervisor, which passes it on
    until("the refusal in the log", lambda: "reload refused" in whole.log.read_text())
    (box / "config.yaml").write_text("train: [")
    os.kill(whole.process.pid, signal.SIGHUP)
    until("the complaint", lambda: "is not YAML" in whole.log.read_text())
    assert whole.status()["engine"]["up"]
    assert whole.stop() == 0


def rated(daemon: Daemon, key: str) -> bool:
    return bool(request(daemon.config.control_endpoint, "set", {key: 0.5}))


def metrics(daemon: Daemon) -> str:
    return str(request(daemon.config.control_endpoint, "metrics")["text"])


def test_an_engine_that_only_serves(daemon: Callable[..., Daemon], box: Path) -> None:
    front = daemon("front")
    front.ready()
    file = str(box / "config.yaml")
    engine = subprocess.Popen([*CLI, "engine", "--serve-only", "--config", file])
    try:
        status = until("the engine", lambda: front.status()["engine"].get("serve_only"))
        assert status is True
        until("its gauge", lambda: "\neftraind_engine_serve_only 1.0\n" in metrics(front))
        refused = cli("resume", "--config", file)
        assert refused.returncode == 1 and "only serves" in refused.stderr
    finally:
        engine.terminate()
        assert engine.wait(30) == 0
