"""One screen of `top` as lines of styled pieces. Knows no terminal and asks for no time.

What the daemon does not know is shown as -.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from eftraind.top.feed import Feed

BARS = " ▁▂▃▄▅▆▇█"
PLAIN_BARS = " .:-=+*%#"
LABEL = 11
VALUE = 12
MIB = 1 << 20


@dataclass(frozen=True)
class Piece:
    """Text and what it is: "", title, soft, served, good or bad."""

    text: str
    style: str = ""


Line = list[Piece]


def screen(
    feed: Feed, *, width: int, height: int, wall_s: float, unicode: bool = True
) -> list[Line]:
    """At most `height` lines of at most `width` columns, the newest events in what is left."""
    bars = BARS if unicode else PLAIN_BARS
    lines = [*_head(feed), [], *_curves(feed, max(0, width - LABEL - VALUE - 2), bars), []]
    lines += [*_facts(feed), []]
    room = max(0, height - len(lines))
    lines += [
        _event(event, feed, wall_s) for event in reversed(feed.events[-room:] if room else [])
    ]
    return [cut(line, width) for line in lines[:height]]


def _head(feed: Feed) -> list[Line]:
    now = feed.now
    weights = now.get("weights", {})
    up = lasted(now.get("uptime_s", 0))
    first = [Piece("eftraind ", "title"), Piece(f"{now.get('network', '')}  "), state(feed)]
    second = (
        f"weights version {weights.get('version', '-')} ({weights.get('hash', '')[:8]}), up {up}"
    )
    names = ", ".join(now.get("producers", []))
    third = f"swaps {_count(feed, 'swaps')}  rollbacks {_count(feed, 'rollbacks')}  "
    third += f"clients {now.get('clients', '-')}" + (f": {names}" if names else "")
    return [first, [Piece(second)], [Piece(third, "soft")]]


def state(feed: Feed) -> Piece:
    """The one word that matters, or why there is none."""
    if feed.lost:
        return Piece(f"no answer: {feed.lost}", "bad")
    if "conditions" not in feed.now:
        return Piece("starting", "soft")
    wrong = [name for name, holds in feed.now["conditions"].items() if not holds]
    if wrong:
        return Piece(", ".join(f"not {name.replace('_', ' ')}" for name in wrong), "bad")
    if feed.latest("paused"):
        return Piece("serving, training paused", "soft")
    return Piece("serving and learning", "good")


def _curves(feed: Feed, width: int, bars: str) -> list[Line]:
    lines: list[Line] = []
    for label, column, shown, top, style in (
        ("served", "serving", percent, 1.0, "served"),
        ("frozen", "golden", percent, 1.0, "soft"),
        ("received", "ingest_per_s", rate, None, ""),
        ("trained", "train_per_s", rate, None, ""),
        ("predicted", "infer_per_s", rate, None, ""),
        ("latency 50%", "infer_p50_s", millis, None, ""),
        ("latency 99%", "infer_p99_s", millis, None, ""),
        ("waiting", "lag_samples", samples, None, ""),
    ):
        value = told(feed.latest(column), shown)
        curve = spark(feed.series(column), width, top, bars)
        lines.append([Piece(f"{label:<{LABEL}} "), Piece(f"{value:>{VALUE}} ", style or "title"),
                      Piece(curve, style)])  # fmt: skip
    served, frozen = feed.latest("serving"), feed.latest("golden")
    gain = None if served is None or frozen is None else served - frozen
    piece = Piece(
        f"{told(gain, points):>{VALUE}}", "bad" if gain is not None and gain < 0 else "served"
    )
    lines.insert(2, [Piece(f"{'gain':<{LABEL}} "), piece])
    return lines


def _facts(feed: Feed) -> list[Line]:
    queue, journal = feed.latest("queue_bytes"), feed.latest("journal_ratio")
    first = f"{told(journal, percent)} full, {told(queue, size)} on the way to the disk"
    rails = [name for name in feed.columns if name.startswith("watts ")]
    power = "  ".join(f"{name[6:]} {told(feed.latest(name), watts)}" for name in rails)
    budget = feed.now.get("power_budget_watts")
    if rails and budget is not None:
        power += f"  budget {watts(budget)}"
    power = power or "no sensors"
    return [_fact("journal", first), _fact("power", power)]


def _fact(name: str, words: str) -> Line:
    return [Piece(f"{name:<{LABEL}} "), Piece(words)]


def _event(event: dict[str, object], feed: Feed, wall_s: float) -> Line:
    """With the watcher's time of day: a board's clock may be wrong."""
    last = feed.latest("uptime_s") or 0.0
    ago_s = last - float(str(event["uptime_s"]))
    shown = datetime.fromtimestamp(wall_s - ago_s).strftime("%H:%M:%S")
    topic = str(event["topic"])
    style = {"swapped": "served", "rolled_back": "bad", "alarm": "bad"}.get(topic, "")
    return [Piece(f"{shown} ", "soft"), Piece(f"{topic.replace('_', ' '):<12} ", style),
            Piece(str(event["text"]))]  # fmt: skip


def told(value: float | None, show: Callable[[float], str]) -> str:
    return "-" if value is None else show(value)


def _count(feed: Feed, name: str) -> str:
    return told(feed.latest(name), lambda value: f"{value:.0f}")


def percent(value: float) -> str:
    return f"{value:.1%}"


def points(value: float) -> str:
    return f"{100 * value:+.1f} points"


def rate(value: float) -> str:
    return f"{value:.1f} /s" if value < 10 else f"{value:.0f} /s"


def millis(value: float) -> str:
    return f"{1000 * value:.2f} ms" if value < 0.25 else ">= 250 ms"


def samples(value: float) -> str:
    return f"{value:.0f}"


def watts(value: float) -> str:
    return f"{value:.2f} W"


def size(value: float) -> str:
    return f"{value:.0f} B" if value < 1024 else f"{value / MIB:.2f} MiB"


def lasted(seconds: float) -> str:
    """
    >>> lasted(59), lasted(3700), lasted(200000)
    ('59 s', '1 h 1 min', '2 d 7 h')
    """
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"


def spark(values: Sequence[float | None], width: int, top: float | None, bars: str = BARS) -> str:
    """The last `width` values as bars from 0 to `top`, or to the largest; a gap is unknown.

    >>> spark([0.0, 0.5, None, 1.0], 9, 1.0)
    '▁▅ █'
    """
    shown = list(values)[-width:] if width > 0 else []
    known = [value for value in shown if value is not None]
    high = top if top is not None else max(known, default=0.0)
    steps = len(bars) - 2

    def bar(value: float | None) -> str:
        if value is None:
            return bars[0]
        return bars[1 + round(steps * min(1.0, max(0.0, value / high)))] if high > 0 else bars[1]

    return "".join(bar(value) for value in shown)


def cut(line: Line, width: int) -> Line:
    """The pieces that fit."""
    kept: Line = []
    for piece in line:
        text = piece.text[:width]
        width -= len(text)
        if text:
            kept.append(Piece(text, piece.style))
    return kept


def text(lines: Sequence[Line]) -> str:
    return "\n".join("".join(piece.text for piece in line).rstrip() for line in lines)
