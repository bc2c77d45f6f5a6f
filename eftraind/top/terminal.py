"""Draws lines on a terminal with curses, and gives the terminal back as it was.

Owns colours, the keyboard and the size; it is handed a function that makes the lines.
"""

import contextlib
import curses
import locale
from collections.abc import Callable, Iterator

from eftraind.top.view import Line

QUIT = (ord("q"), ord("Q"), 27)
Draw = Callable[[int, int], list[Line]]
"""of the width and the height"""


class Terminal:
    """Made by `opened`."""

    def __init__(self, window: "curses.window") -> None:
        self._window = window
        self._styles = _styles()
        window.keypad(True)
        with contextlib.suppress(curses.error):  # not every terminal can hide it
            curses.curs_set(0)

    def wait(self, timeout_s: float) -> bool:
        """Until the time is over or the size has changed; False when asked to quit."""
        self._window.timeout(max(1, int(1000 * timeout_s)))
        return self._window.getch() not in QUIT

    def show(self, draw: Draw) -> None:
        height, width = self._window.getmaxyx()
        self._window.erase()
        for y, line in enumerate(draw(width - 1, height)[:height]):
            x = 0
            for piece in line:
                with contextlib.suppress(curses.error):  # what a resize has just cut off
                    self._window.addstr(y, x, piece.text, self._styles.get(piece.style, 0))
                x += len(piece.text)
        self._window.refresh()


def _styles() -> dict[str, int]:
    styles = {"title": curses.A_BOLD, "soft": curses.A_DIM, "served": curses.A_BOLD,
              "good": curses.A_BOLD, "bad": curses.A_REVERSE}  # fmt: skip
    if curses.has_colors():
        curses.start_color()
        curses.use_default_colors()
        for number, (style, colour) in enumerate(
            (("served", curses.COLOR_CYAN), ("good", curses.COLOR_GREEN),
             ("bad", curses.COLOR_RED)), start=1,
        ):  # fmt: skip
            curses.init_pair(number, colour, -1)
            styles[style] = curses.color_pair(number) | curses.A_BOLD
    return styles


@contextlib.contextmanager
def opened() -> Iterator[Terminal]:
    """The whole terminal, until the context ends however it ends."""
    locale.setlocale(locale.LC_ALL, "")
    window = curses.initscr()
    try:
        curses.noecho()
        curses.cbreak()
        yield Terminal(window)
    finally:
        window.keypad(False)
        curses.nocbreak()
        curses.echo()
        curses.endwin()
