"""What the demo shows while it runs: a live panel on a terminal, plain lines anywhere else.

Owns the look and nothing else: it is handed a View and draws it. What a machine cannot measure
(power without a sensor) is left out.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from eftraind.clock import Clock
from eftraind.demo.story import Result, Story

PLAIN_INTERVAL_S = 2.0
LIVE_INTERVAL_S = 0.15
BARS = "▁▂▃▄▅▆▇█"
WIDTH = 44  # of a curve; the whole panel fits 80 columns


@dataclass(frozen=True)
class View:
    """One moment of the run."""

    phase: str
    samples: int
    samples_total: int
    samples_per_s: float
    predictions: int
    infer_p50_ms: float | None
    infer_p99_ms: float | None
    version: int | None
    power_w: float | None
    story: Story


class Screen:
    """Use as a context; `show` may be called as often as one likes."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._console = Console(file=stream, highlight=False)
        self._clock = clock
        self._live: Live | None = None
        self._last_s = float("-inf")

    def __enter__(self) -> "Screen":
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False, soft_wrap=True)

    def finish(self, result: Result) -> None:
        self._console.print(summary(result))

    def show(self, view: View) -> None:
        interval_s = PLAIN_INTERVAL_S if self._live is None else LIVE_INTERVAL_S
        if self._clock.monotonic_s() - self._last_s < interval_s:
            return
        self._last_s = self._clock.monotonic_s()
        if self._live is not None:
            self._live.update(panel(view))
        else:
            self.say(plain(view))


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def plain(view: View) -> str:
    """One line of progress."""
    points = view.story.points
    served, frozen = (points[-1].served, points[-1].frozen) if points else (None, None)
    power = "" if view.power_w is None else f"  {view.power_w:.1f} W"
    return (
        f"{view.samples:>6}/{view.samples_total} samples  {view.samples_per_s:5.0f}/s  "
        f"served {percent(served):>6}  frozen {percent(frozen):>6}  "
        f"swaps {view.story.count('swap')}  rollbacks {view.story.count('rollback')}  "
        f"infer p99 {milliseconds(view.infer_p99_ms)}{power}  {view.phase}"
    )


def panel(view: View) -> RenderableType:
    story = view.story
    last = story.points[-1] if story.points else None
    curves = Table.grid(padding=(0, 2))
    for name, style, values in (
        ("served", "bold blue", [point.served for point in story.points]),
        ("frozen", "bright_black", [point.frozen for point in story.points]),
    ):
        now = values[-1] if values else None
        line = Text(sparkline(values), style=style)
        curves.add_row(Text(name, style=style), Text(percent(now), style=style), line)
    facts = Table.grid(padding=(0, 3))
    facts.add_row(
        f"swaps {story.count('swap')}",
        f"rollbacks {story.count('rollback')}",
        f"version {'-' if view.version is None else view.version}",
    )
    facts.add_row(
        f"predictions {view.predictions}",
        f"p50 {milliseconds(view.infer_p50_ms)}",
        f"p99 {milliseconds(view.infer_p99_ms)}",
        "" if view.power_w is None else f"{view.power_w:.1f} W",
    )
    bar = ProgressBar(total=max(view.samples_total, 1), completed=view.samples, width=WIDTH)
    progress = Table.grid(padding=(0, 2))
    progress.add_row(bar, f"{view.samples}/{view.samples_total}, {view.samples_per_s:.0f}/s")
    gained = 0.0 if last is None else 100 * (last.served - last.frozen)
    gain = f"adaptation gain {gained:+.0f} points"
    return Panel(
        Group(Text(view.phase, style="bold"), progress, "", curves, "", facts, gain),
        title=f"eftraind demo: {story.network}, shift {story.shift}",
        title_align="left",
        width=80,
    )


def sparkline(values: list[float]) -> str:
    """The last values, each a bar of 0 to 100 %; at most WIDTH, evenly thinned.

    >>> sparkline([0.0, 0.5, 1.0])
    '▁▅█'
    """
    step = max(1, -(-len(values) // WIDTH))
    return "".join(BARS[min(7, int(value * 8))] for value in values[::step])


def summary(result: Result) -> RenderableType:
    """The table at the end."""
    table = Table(title="What happened", title_justify="left", show_header=False)
    rows = (
        ("accuracy before the shift", percent(result.accuracy_before_shift)),
        ("after it, served model", percent(result.accuracy_after_shift_served)),
        ("after it, frozen model", percent(result.accuracy_after_shift_frozen)),
        ("recovered", percent(result.recovered)),
        (
            "samples sent / durable / lost",
            f"{result.samples_sent} / {result.samples_acked_durable} / {result.samples_lost}",
        ),
        ("predictions / lost", f"{result.predictions} / {result.predictions_lost}"),
        ("swaps / rollbacks", f"{result.swaps} / {result.rollbacks}"),
        ("training", f"{result.train_samples_per_s:,.0f} samples/s"),
        (
            "inference while training",
            f"p50 {milliseconds(result.infer_p50_ms)}, p99 {milliseconds(result.infer_p99_ms)}",
        ),
        ("duration", f"{result.wall_s:.0f} s"),
    )
    for name, value in rows:
        table.add_row(name, value)
    return table
