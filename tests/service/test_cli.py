"""The command line: every command, every exit status, and each shipped configuration started."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import Daemon, until, write_config

from eftraind import cli, config, metrics

Make = Callable[..., Any]
ROOT = Path(__file__).parent.parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def eftraind(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "eftraind", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_reference_pages(capsys: pytest.CaptureFixture[str]) -> None:
    for page, text in (
        ("config", config.reference_table()),
        ("defaults", config.default_yaml()),
        ("metrics", metrics.reference_table()),
    ):
        assert cli.main(["reference", page]) == 0
        assert capsys.readouterr().out == text


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_every_command_names_functions_that_exist(command: cli.Command) -> None:
    for reference in filter(None, (command.run, command.flags)):
        assert callable(cli.load(reference))


def test_check_config(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(box)
    assert cli.main(["check-config", "--config", str(path)]) == 0
    assert "network digits" in capsys.readouterr().out


UNWORKABLE = [
    ("train: {bacth: 3}", "unknown key train.bacth (did you mean train.batch?)"),
    ("model: {network: digist}", "no network 'digist' (did you mean digits?"),
    ("a: [", "is not YAML"),
]


@pytest.mark.parametrize(("text", "cause"), UNWORKABLE)
def test_what_cannot_work_is_one_line_and_78(
    box: Path, text: str, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = box / "c.yaml"
    path.write_text(f"{text}\n")
    assert cli.main(["check-config", "--config", str(path)]) == 78
    shown = capsys.readouterr().err
    assert cause in shown
    assert len(shown.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["front", "engine"])
def test_each_process_ends_with_78_by_itself(box: Path, command: str) -> None:
    done = eftraind(command, "--config", write_config(box, model={"network": "digist"}))
    assert done.returncode == 78
    assert UNWORKABLE[1][1] in done.stderr


def test_errors_of_children_end_the_run(box: Path) -> None:
    path = write_config(box, model={"network": "digist"})
    done = eftraind("run", "--config", path)
    assert done.returncode == 78
    assert "did you mean digits" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["run"])
    assert caught.value.code == 2
    assert "--config" in capsys.readouterr().err


def test_asking_a_daemon_that_is_not_there(box: Path) -> None:
    done = eftraind("status", "--config", write_config(box))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "is the daemon running" in done.stderr


def test_status_and_commands(daemon: Make, box: Path) -> None:
    front = daemon("front")
    front.ready()
    shown = eftraind("status", "--config", box / "config.yaml")
    assert shown.returncode == 0
    assert "engine_up" in shown.stdout and "clients (0)" in shown.stdout
    as_json = json.loads(eftraind("status", "--json", "--config", box / "config.yaml").stdout)
    assert as_json["conditions"] == {"engine_up": False, "journal_writable": True}
    refused = eftraind("promote", "--config", box / "config.yaml")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "the engine is not there" in refused.stderr


def test_version() -> None:
    done = eftraind("version")
    assert (done.returncode, done.stdout.strip() != "") == (0, True)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_shipped_configuration_starts(path: Path, box: Path) -> None:
    """As shipped, but for places, ports, and the size of the ring (no test writes 512 MiB)."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    if data.get("device", {}).get("kind") == "emulated-board" and not find_spec("pynq"):
        pytest.skip("pynq is not installed here: tests/board starts it where it is")
    data.update(state_dir=str(box / "state"), run_dir=str(box))
    data["metrics"] = {**data.get("metrics", {}), "listen": "127.0.0.1:0"}
    data["listen"] = [e.replace(":5557", ":*") for e in data.get("listen", ["ipc://{run_dir}/e"])]
    journal = data.setdefault("journal", {})
    journal["size_bytes"] = 4 * journal.get("segment_bytes", 16 << 20)
    copy = box / "config.yaml"
    copy.write_text(json.dumps(data))
    daemon = Daemon(copy, "run")
    try:
        daemon.ready()
        status = until("the engine", lambda: _with_engine(daemon), 60.0)
        assert status["conditions"] == {"engine_up": True, "journal_writable": True}
        assert daemon.stop() == 0, daemon.log.read_text()
    finally:
        if daemon.process.poll() is None:
            daemon.kill()
        shutil.rmtree(box / "state", ignore_errors=True)


def _with_engine(daemon: Daemon) -> dict[str, Any] | None:
    assert daemon.process.poll() is None, daemon.log.read_text()
    status = daemon.status()
    return status if status["engine"]["up"] else None
