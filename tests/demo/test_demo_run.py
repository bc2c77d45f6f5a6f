"""The demo as a user starts it: real daemon, real processes, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eftraind.clock import Clock

pytest.importorskip("rich", reason="pip install 'eftraind[demo]'")
TIMEOUT_S = 100.0


def demo(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "eftraind", "demo", "--rate", "600", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def line_with(process: "subprocess.Popen[str]", words: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return line
    raise AssertionError(f"the demo never said {words!r}")


def command_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def descendants(pid: int) -> Iterator[str]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in children:
        yield child
        yield from descendants(int(child))


@pytest.fixture
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # A temporary directory of its own, short enough for sockets: others may run demos meanwhile.
    with tempfile.TemporaryDirectory(prefix="eft") as place:
        monkeypatch.setenv("TMPDIR", place)
        yield
        assert not list(Path(place).glob("eft*"))


def all_gone(pids: list[str]) -> bool:
    clock = Clock()
    deadline_s = clock.monotonic_s() + 30
    while any("eftraind" in command_of(pid) for pid in pids):
        if clock.monotonic_s() > deadline_s:
            return False
        clock.sleep(0.05)
    return True


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_a_short_run(tmp_path: Path) -> None:
    figures, picture = tmp_path / "out.json", tmp_path / "out.svg"
    files = ["--json", str(figures), "--plot", str(picture)]
    with demo("--shift", "invert", "--samples", "1800", "--seed", "1", *files) as process:
        said, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, said
    found = json.loads(figures.read_text(encoding="utf-8"))
    assert found["samples_sent"] == found["samples_acked_durable"] == 1800
    assert found["samples_lost"] == found["predictions_lost"] == 0
    assert found["predictions"] > 0 and found["swaps"] >= 1
    assert found["accuracy_before_shift"] > 0.95
    assert found["accuracy_after_shift_frozen"] < 0.5
    assert found["accuracy_after_shift_served"] > 0.8 * found["accuracy_before_shift"]
    assert (found["shift"], found["network"], found["seed"]) == ("invert", "digits", 1)
    assert len(found["versions"]) == found["swaps"] + found["rollbacks"] + 1
    assert found["train_samples_per_s"] > 0 and found["infer_p99_ms"] >= found["infer_p50_ms"] > 0
    assert "the world changes: invert" in picture.read_text(encoding="utf-8")
    assert "recovered" in said


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_everything(number: signal.Signals) -> None:
    with demo("--samples", "100000") as process:
        line_with(process, "/100000")
        pids = list(descendants(process.pid))
        assert len(pids) >= 4
        process.send_signal(number)
        said, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130, said
    assert all_gone(pids)


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("victim", ["demo.streamer", "demo.asker", "eftraind run"])
def test_a_child_that_dies_fails_the_run_and_ends_everything(victim: str) -> None:
    with demo("--samples", "100000") as process:
        line_with(process, "/100000")
        pids = list(descendants(process.pid))
        [pid] = [pid for pid in pids if victim in command_of(pid)]
        os.kill(int(pid), signal.SIGKILL)
        said, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1, said
    assert "ended with status -9" in said
    assert all_gone(pids)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--data", "/no/such.npz"), "cannot read"),
        (("--network", "lenet5"), "choose another --network or --data"),
        (("--network", "nothing"), "no network"),
        (("--plot", "out.docx"), "picture format"),
        (("--samples", "-1"), "--samples must be"),
    ],
)
def test_a_wrong_flag_is_told_at_once(arguments: tuple[str, ...], complaint: str) -> None:
    with demo(*arguments) as process:
        said, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 78
    assert complaint in said and "Traceback" not in said
