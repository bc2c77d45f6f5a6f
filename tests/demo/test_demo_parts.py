"""The demo's small parts: flags, child processes, lines of progress, the schedule of epochs."""

import argparse
import importlib
import io
import os
import queue
import sys
from pathlib import Path

import pytest

from eftraind.clock import FakeClock
from eftraind.demo import options
from eftraind.demo.children import EXIT, Child, Inbox, Orders
from eftraind.demo.story import Mark, Point, Story
from eftraind.errors import ConfigError

screen = pytest.importorskip("eftraind.demo.screen", reason="pip install 'eftraind[demo]'")

ECHO = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"kind": "heard", "word": line.strip()}), flush=True)
print("not json")
print("trouble", file=sys.stderr)
sys.exit(3)
"""


def parse(*arguments: str) -> options.Options:
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    return options.from_arguments(parser.parse_args(arguments))


def test_defaults_follow_the_data() -> None:
    digits, other = parse(), parse("--data", "mine.npz")
    assert (digits.network, other.network) == ("digits", "cifar1x")
    assert digits.shift == "rotate" and 0 < digits.shift_at < digits.samples


def test_stationary_is_no_shift() -> None:
    assert parse("--stationary", "--shift", "blur").shift == "none"


@pytest.mark.parametrize(
    "flags",
    [
        ("--samples", "0"),
        ("--samples", "10", "--shift-at", "11"),
        ("--rate", "nan"),
        ("--seed", "-1"),
        ("--json", "/no/such/place/out.json"),
    ],
)
def test_nonsense_is_refused(flags: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=flags[0] if flags[0] != "--json" else "directory"):
        parse(*flags)


def test_what_the_demo_needs_beyond_the_daemon_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules]:
        if name.startswith(("eftraind.demo.", "rich")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    main = importlib.import_module("eftraind.demo.main")
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    with pytest.raises(ConfigError, match=r"eftraind\[demo\]"):
        main.run(parser.parse_args([]))


def start(tmp_path: Path, code: str) -> tuple[Child, Inbox]:
    inbox: Inbox = queue.Queue()
    log = tmp_path / "child.log"
    return Child("child", ["-c", code], inbox=inbox, log=log, environment=os.environ), inbox


def test_a_child_is_heard_told_and_ended(tmp_path: Path) -> None:
    child, inbox = start(tmp_path, ECHO)
    child.tell("hello")
    heard = inbox.get(timeout=30)
    assert (heard.source, heard.kind, heard.data["word"]) == ("child", "heard", "hello")
    assert child.stop(terminate=False, timeout_s=30) == 3
    assert inbox.get(timeout=30).kind == EXIT
    assert "trouble" in str(child.failure(3))


def test_a_child_that_ignores_everything_is_killed(tmp_path: Path) -> None:
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('{}', flush=True)\n"
    child, inbox = start(tmp_path, code + "while True: signal.pause()")
    inbox.get(timeout=30)
    assert child.stop(terminate=True, timeout_s=0.2) == -9
    child.tell("too late")


def test_orders_end_with_their_stream() -> None:
    orders = Orders(io.StringIO("go\nshift\n"))
    assert orders.closed.wait(30)
    assert orders.wait_for("go", 1.0)
    assert orders.taken("shift") and not orders.taken("shift")


def view(story: Story) -> object:
    return screen.View(
        phase="learning",
        samples=120,
        samples_total=300,
        samples_per_s=99.6,
        predictions=7,
        infer_p50_ms=0.5,
        infer_p99_ms=1.25,
        version=2,
        power_w=None,
        story=story,
    )


def test_plain_lines_where_there_is_no_terminal() -> None:
    story = Story("digits", "rotate", [Point(120, 0.9, 0.15)], [Mark("swap", 90, 2)])
    out, clock = io.StringIO(), FakeClock()
    with screen.Screen(out, clock) as shown:
        shown.show(view(story))
        shown.show(view(story))
        clock.advance(screen.PLAIN_INTERVAL_S)
        shown.show(view(story))
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    for words in ("120/300", "served  90.0%", "frozen  15.0%", "swaps 1", "p99 1.2 ms", "learning"):
        assert words in lines[0]
    assert "W" not in lines[0]


def test_the_panel_draws_with_and_without_points() -> None:
    console = screen.Console(file=io.StringIO(), width=120)
    console.print(screen.panel(view(Story("digits", "rotate"))))
    console.print(screen.panel(view(Story("digits", "rotate", [Point(1, 1.0, 0.0)]))))
    text = console.file.getvalue()
    assert "shift rotate" in text and "+100 points" in text


def test_a_long_story_fits_the_line() -> None:
    assert len(screen.sparkline([0.5] * 1000)) <= screen.WIDTH
