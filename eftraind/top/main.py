"""`eftraind top`: asks the daemon once a second and shows it, until told to stop.

On a terminal it fills the screen; elsewhere, or with --once, it prints text.
"""

import argparse
import codecs
import os
import shutil
import sys
from typing import TextIO

from eftraind.clock import Clock
from eftraind.commands.target import Target, add_target, target_of
from eftraind.errors import ConfigError
from eftraind.service.request import RequestFailed
from eftraind.top import view
from eftraind.top.feed import Feed

PATIENCE_S = 2.0
PLAIN_SIZE = (100, 40)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument("--once", action="store_true", help="print one screen as text and end")
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS",
                        help="between two looks (1)")  # fmt: skip


def run(given: argparse.Namespace) -> int:
    """The command line's entry. Raises RequestFailed if there is no daemon at the start."""
    if not 0.1 <= given.interval <= 3600:
        raise ConfigError("--interval must lie between 0.1 and 3600", remedy="leave it out")
    target = target_of(given)
    feed = Feed()
    ask(target, feed)
    clock = Clock()
    try:
        if given.once:
            sys.stdout.write(plain(feed, clock, sys.stdout) + "\n")
        elif sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb"):
            _fill(target, feed, clock, given.interval)
        else:
            _print(target, feed, clock, given.interval)
    except KeyboardInterrupt:
        return 0
    return 0


def ask(target: Target, feed: Feed) -> None:
    """Bring the feed up to date."""
    while not feed.take(target.request("live", {"since": feed.since}, timeout_s=PATIENCE_S)):
        continue


def _again(target: Target, feed: Feed) -> None:
    try:
        ask(target, feed)
    except RequestFailed as error:
        feed.lost = error.message


def _fill(target: Target, feed: Feed, clock: Clock, interval_s: float) -> None:
    from eftraind.top import terminal

    unicode = knows_bars(sys.stdout)

    def draw(width: int, height: int) -> list[view.Line]:
        return view.screen(feed, width=width, height=height, wall_s=clock.wall_s(), unicode=unicode)

    with terminal.opened() as screen:
        due_s = clock.monotonic_s()
        going = True
        while going:
            if clock.monotonic_s() >= due_s:
                due_s = clock.monotonic_s() + interval_s
                _again(target, feed)
            screen.show(draw)
            going = screen.wait(due_s - clock.monotonic_s())


def _print(target: Target, feed: Feed, clock: Clock, interval_s: float) -> None:
    while True:
        served, frozen = feed.latest("serving"), feed.latest("golden")
        words = (
            view.state(feed).text,
            f"served {view.told(served, view.percent)}",
            f"frozen {view.told(frozen, view.percent)}",
            f"received {view.told(feed.latest('ingest_per_s'), view.rate)}",
            f"trained {view.told(feed.latest('train_per_s'), view.rate)}",
            f"p99 {view.told(feed.latest('infer_p99_s'), view.millis)}",
        )
        sys.stdout.write("  ".join(words) + "\n")
        sys.stdout.flush()
        clock.sleep(interval_s)
        _again(target, feed)


def plain(feed: Feed, clock: Clock, stream: TextIO) -> str:
    """One screen without colours, as wide as the terminal if there is one."""
    width, height = shutil.get_terminal_size(PLAIN_SIZE)
    lines = view.screen(
        feed, width=width, height=height, wall_s=clock.wall_s(), unicode=knows_bars(stream)
    )
    return view.text(lines).rstrip()


def knows_bars(stream: TextIO) -> bool:
    """Whether the stream's encoding has block characters."""
    return codecs.lookup(stream.encoding or "ascii").name.startswith("utf")
