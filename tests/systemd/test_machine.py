"""The services on a booted systemd, in one machine: from first boot to the second.

The tests share the machine and run in order. What needs memory limits is not tested: in
systemd-nspawn they are accepted, not enforced.
"""

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator

import pytest
from machine import PYTHON, Machine, missing, until

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=missing() or "it can run"),
    pytest.mark.timeout(300),
]

CONFIG = """
model: {network: digits}
ingest: {max_message_bytes: 262144, window_bytes: 1048576, queue_bytes: 4194304, max_producers: 100}
journal: {size_bytes: 8388608, segment_bytes: 1048576}
train: {learning_rate: %s}
"""
FILE = "/etc/eftraind/config.yaml"
CREDENTIAL = "/etc/eftraind/credentials/eftraind.server.key"
PUSH = """
import numpy as np
from eftraind.client import Client
with Client("ipc:///run/eftraind/eft.sock", producer="camera") as client:
    for label in range(10):
        number = client.push(np.full((8, 8, 1), label, np.uint8), label)
    client.flush(timeout_s=60)
    print(number)
"""
INFER = """
import numpy as np
from eftraind.client import Client
with Client("ipc:///run/eftraind/eft.sock") as client:
    print(client.infer(np.zeros((8, 8, 1), np.uint8)).version)
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    made = Machine()
    try:
        if refused := made.refused():
            pytest.skip(f"systemd-nspawn cannot run here: {refused}")
        command = [sys.executable, "-m", "eftraind", "install-service",
                   "--root", str(made.root), "--python", PYTHON]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        made.write(FILE, CONFIG % 0.01)
        made.write(CREDENTIAL, "planted key\n")
        made.boot()
        yield made
        made.power_off()
    finally:
        made.remove()


def settled(machine: Machine, unit: str, field: str, value: str) -> None:
    until(f"{field} of {unit} to be {value}", lambda: machine.show(unit, field) == value)


def running(machine: Machine) -> None:
    for unit in ("eftraind-front", "eftraind-engine"):
        settled(machine, unit, "SubState", "running")
    until("the engine", lambda: "version" in machine.show("eftraind-front", "StatusText"))


def test_it_is_ready_after_boot_and_confined(machine: Machine) -> None:
    running(machine)
    assert "0 samples behind" in machine.show("eftraind-engine", "StatusText")
    # CAP_SYS_RAWIO, CAP_IPC_LOCK and CAP_SYS_NICE, of which nspawn grants the last alone
    for unit, capabilities in (("eftraind-front", "0"), ("eftraind-engine", "824000")):
        pid = machine.show(unit, "MainPID")
        facts = machine.run("cat", f"/proc/{pid}/status").stdout
        fields = dict(line.split(":\t", 1) for line in facts.splitlines() if ":\t" in line)
        assert fields["Seccomp"] == "2" and fields["NoNewPrivs"] == "1"
        assert int(fields["CapBnd"], 16) & ~int(capabilities, 16) == 0
    assert machine.run("systemctl", "is-enabled", "eftraind.target").stdout == "enabled\n"


def test_front_alone_gets_the_credential(machine: Machine) -> None:
    pid = machine.show("eftraind-front", "MainPID")
    place = "/run/credentials/eftraind-front.service"
    environ = machine.run("cat", f"/proc/{pid}/environ").stdout.split("\0")
    assert f"CREDENTIALS_DIRECTORY={place}" in environ
    assert machine.run("cat", f"/proc/{pid}/root{place}/eftraind.server.key").stdout == (
        "planted key\n"
    )
    pid = machine.show("eftraind-engine", "MainPID")
    assert "CREDENTIALS_DIRECTORY" not in machine.run("cat", f"/proc/{pid}/environ").stdout


def test_it_learns_and_answers(machine: Machine) -> None:
    assert machine.python(PUSH) == "10"
    assert machine.python(INFER) == "1"


def test_the_doctor_finds_the_protection_in_force(machine: Machine) -> None:
    text = machine.run(PYTHON, "-m", "eftraind", "doctor", "--json", "--config", FILE, check=False)
    found = {row["check"]: row for row in json.loads(text.stdout)["findings"]}
    for part in ("front", "engine"):
        for check in ("seccomp", "privileges", "capabilities", "watchdog"):
            assert found[f"protection.{part}.{check}"]["level"] == "ok"
    assert found["permission.state"]["level"] == found["permission.run"]["level"] == "ok"
    assert found["permission.eftraind.server.key"]["level"] == "ok"
    bundle = "/var/bundle.tar.gz"
    machine.run(PYTHON, "-m", "eftraind", "support-bundle", "--config", FILE, bundle)
    with tarfile.open(machine.root / bundle.lstrip("/")) as archive:
        members = [archive.extractfile(name) for name in archive.getnames()]
        texts = b"".join(member.read() for member in members if member is not None)
    assert b"eftraind-front[" in texts and b"eftraind_start_time_seconds" in texts
    assert b"Id=eftraind-engine.service" in texts and b"NRestarts=0" in texts
    assert b"planted key" not in texts


def test_reload_takes_rates_and_refuses_the_rest_by_name(machine: Machine) -> None:
    pids = [machine.show(f"eftraind-{part}", "MainPID") for part in ("front", "engine")]
    machine.write(FILE, CONFIG % 0.02)
    machine.run("systemctl", "reload", "eftraind-front")
    assert "reloaded: train.learning_rate" in machine.journal("eftraind-front")
    machine.write(FILE, CONFIG % 0.04)
    machine.run("systemctl", "reload", "eftraind-engine")  # the same, by the other's name
    machine.write(FILE, CONFIG % 0.01 + "replay: {capacity: 77}\n")
    assert machine.run("systemctl", "reload", "eftraind-front", check=False).returncode != 0
    assert "cannot change while the daemon runs: replay.capacity" in machine.journal(
        "eftraind-front"
    )
    machine.write(FILE, CONFIG % 0.04)
    running(machine)
    assert pids == [machine.show(f"eftraind-{part}", "MainPID") for part in ("front", "engine")]


def test_an_engine_that_hangs_is_aborted_and_restarted(machine: Machine) -> None:
    machine.write(
        "/etc/systemd/system/eftraind-engine.service.d/test.conf",
        f"[Service]\nWatchdogSec=2\nExecStart=\nExecStart={PYTHON} /opt/tests/service/stalling.py "
        f"/var/lib/eftraind/stop engine --config {FILE}\n",
    )
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "eftraind-engine")
    running(machine)
    front, restarts = machine.show("eftraind-front", "MainPID"), "NRestarts"
    machine.run("touch", "/var/lib/eftraind/stop")
    until("the watchdog", lambda: "Watchdog timeout" in machine.journal("eftraind-engine"))
    assert int(machine.python(PUSH)) > 10  # front goes on acknowledging
    machine.run("rm", "/var/lib/eftraind/stop")
    running(machine)
    assert int(machine.show("eftraind-engine", restarts)) >= 1
    said = machine.journal("eftraind-engine")
    assert "Fatal Python error: Aborted" in said and "in standing_still" in said
    assert machine.show("eftraind-front", "MainPID") == front
    assert machine.show("eftraind-front", restarts) == "0"


def test_a_killed_front_comes_back_with_all_it_acknowledged(machine: Machine) -> None:
    durable = int(machine.python(PUSH))
    before = machine.show("eftraind-front", "MainPID")
    machine.run("systemctl", "kill", "--signal=KILL", "eftraind-front")
    until("another front", lambda: machine.show("eftraind-front", "MainPID") not in ("0", before))
    running(machine)
    assert int(machine.python(PUSH)) == durable + 10


def test_an_engine_that_keeps_failing_leaves_one_that_serves(machine: Machine) -> None:
    machine.write(
        "/etc/systemd/system/eftraind-engine.service.d/test.conf",
        "[Service]\nRestartSec=10ms\nExecStart=\nExecStart=/bin/false\n",
    )
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "--no-block", "eftraind-engine")
    settled(machine, "eftraind-engine-degraded", "SubState", "running")
    assert "degraded" in machine.show("eftraind-engine-degraded", "StatusText")
    assert machine.show("eftraind-engine", "ActiveState") == "failed"
    assert "repeated too quickly" in machine.journal("eftraind-engine")  # no try was cut off
    until("the engine", lambda: "version" in machine.show("eftraind-front", "StatusText"))
    assert int(machine.python(INFER)) >= 1
    machine.run("rm", "-r", "/etc/systemd/system/eftraind-engine.service.d")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "reset-failed", "eftraind-engine")
    machine.run("systemctl", "start", "eftraind-engine")
    running(machine)
    assert machine.show("eftraind-engine-degraded", "ActiveState") != "active"


def test_it_stops_within_its_limit(machine: Machine) -> None:
    machine.run("systemctl", "stop", "eftraind.target")
    for unit in ("eftraind-front", "eftraind-engine"):
        settled(machine, unit, "ActiveState", "inactive")
        assert machine.show(unit, "Result") == "success"
        assert "with signal SIGKILL" not in machine.journal(unit)


def test_a_configuration_that_cannot_work_is_tried_once(machine: Machine) -> None:
    machine.write(FILE, "journal: {size_bytes: 1}\n")
    assert machine.run("systemctl", "start", "eftraind-front", check=False).returncode != 0
    settled(machine, "eftraind-front", "ActiveState", "failed")
    assert machine.show("eftraind-front", "ExecMainStatus") == "78"
    assert machine.show("eftraind-front", "NRestarts") == "0"
    assert "journal.size_bytes is 1 (from 131072" in machine.journal("eftraind-front")
    machine.write(FILE, CONFIG % 0.01)


def test_tcp_without_a_key_is_tried_once(machine: Machine) -> None:
    machine.write(CREDENTIAL, "")
    machine.write(FILE, CONFIG % 0.01 + "listen: ['tcp://127.0.0.1:5557']\n")
    assert machine.run("systemctl", "start", "eftraind-front", check=False).returncode != 0
    settled(machine, "eftraind-front", "ActiveState", "failed")
    assert machine.show("eftraind-front", "ExecMainStatus") == "78"
    assert machine.show("eftraind-front", "NRestarts") == "0"
    assert "needs keys, and there is no server key" in machine.journal("eftraind-front")
    machine.write(FILE, CONFIG % 0.01)


@pytest.mark.parametrize(("silent", "result"), [("no", "success"), ("yes", "timeout")])
def test_a_long_start_gets_the_time_it_shows_it_needs(
    machine: Machine, silent: str, result: str
) -> None:
    """Writing the journal takes at least 4 s, the limit is 2 s."""
    place = "/etc/systemd/system/eftraind-front.service.d"
    machine.write(
        f"{place}/test.conf",
        f"[Service]\nTimeoutStartSec=2\nRestart=no\nExecStart=\nExecStart={PYTHON} "
        f"/opt/tests/systemd/slow_disk.py {silent} front --config {FILE}\n",
    )
    machine.write(FILE, CONFIG % 0.01 + f"state_dir: /var/lib/eftraind/slow-{silent}\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "eftraind-front", check=False)
    assert machine.show("eftraind-front", "Result") == result
    machine.run("systemctl", "stop", "eftraind-front")
    machine.run("rm", "-r", place)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "reset-failed", check=False)
    machine.write(FILE, CONFIG % 0.01)


def test_the_next_boot_finds_what_the_last_one_kept(machine: Machine) -> None:
    machine.run("systemctl", "start", "eftraind.target")
    running(machine)
    durable = int(machine.python(PUSH))
    machine.power_off()
    machine.boot()
    running(machine)
    assert int(machine.python(PUSH)) == durable + 10
    text = machine.run(PYTHON, "-m", "eftraind", "status", "--json", "--config", FILE).stdout
    assert json.loads(text)["engine"]["up"]


def test_removing_and_installing_again_keeps_what_was_learnt(machine: Machine) -> None:
    durable = int(machine.python(PUSH))
    eftraind = (PYTHON, "-m", "eftraind")
    removed = machine.run(*eftraind, "uninstall-service").stdout
    assert "removed /etc/systemd/system/eftraind-front.service" in removed
    assert machine.show("eftraind-front", "LoadState") == "not-found"
    assert machine.run("ls", "/var/lib/eftraind").stdout.split() == [
        "checkpoints", "journal", "lock", "slow-no", "slow-yes",
    ]  # fmt: skip
    assert "enabled eftraind.target" in machine.run(*eftraind, "install-service").stdout
    assert machine.run(*eftraind, "install-service").stdout == "nothing to do\n"
    machine.run("systemctl", "start", "eftraind.target")
    running(machine)
    assert int(machine.python(PUSH)) == durable + 10
