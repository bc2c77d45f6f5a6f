"""The last minutes of the daemon, for the live page and `eftraind top`.

Owns a ring with one row a second, and the latest events. A row is encoded once, when it is taken,
so that a reader costs the front a join of bytes. What is not known at a moment is null in its row.
Times are seconds since the front started: a board's wall clock may jump. All texts are made
printable and cut here: names and events come from outside.
"""

import json
import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eftraind.clock import Clock
from eftraind.metrics import Page
from eftraind.metrics.exposition import Values

ROWS = 600  # ten minutes
EVENTS = 50
TEXT_LENGTH = 160
WORDS = ("reason", "message", "hash")  # of an event; the first two are put last, a hash nowhere
HIDDEN = ("score", "training")  # topics several a second; the curves show the same
COLUMNS = (
    "uptime_s", "serving", "golden", "candidate", "ingest_per_s", "train_per_s", "infer_per_s",
    "infer_p50_s", "infer_p99_s", "queue_bytes", "journal_ratio", "lag_samples", "version",
    "swaps", "rollbacks", "paused",
)  # fmt: skip
LATENCY = "eftraind_infer_request_duration_seconds_bucket"
ACCEPTED = (("operation", "samples"), ("outcome", "accepted"))
NAMES = (
    LATENCY, "eftraind_accuracy_ratio", "eftraind_ingest_operations_total",
    "eftraind_train_samples_total", "eftraind_infer_request_duration_seconds_count",
    "eftraind_ingest_queue_bytes", "eftraind_journal_used_bytes", "eftraind_journal_limit_bytes",
    "eftraind_train_lag_samples", "eftraind_weights_version", "eftraind_weights_swaps_total",
    "eftraind_power_watts", "eftraind_train_paused",
)  # fmt: skip


@dataclass(frozen=True)
class _Event:
    row: int
    encoded: bytes


class Live:
    """`take` and `event` are the loop's; `document`, `silent_s` and `unready` are anyone's."""

    def __init__(self, *, page: Page, rails: Sequence[str], clock: Clock) -> None:
        self._page = page
        self._rails = tuple(rails)
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: deque[bytes] = deque(maxlen=ROWS)
        self._events: deque[_Event] = deque(maxlen=EVENTS)
        self._next = 0
        self._now: dict[str, Any] = {}
        self._before: Values = {}
        self._started_s = self._taken_s = clock.monotonic_s()
        self._start = f"{clock.wall_s():.6f}"
        columns = [*COLUMNS, *(f"watts {printable(rail)}" for rail in self._rails)]
        self._columns = json.dumps(columns).encode()

    def take(self, now: Mapping[str, Any]) -> None:
        """Add the row of this moment; `now` replaces what is shown beside the curves."""
        values = self._page.values(NAMES)
        taken_s = self._clock.monotonic_s()
        row = self._row(values, taken_s)
        encoded = json.dumps([_short(value) for value in row]).encode()
        with self._lock:
            self._rows.append(encoded)
            self._next += 1
            self._now = clean(now)
            self._before, self._taken_s = values, taken_s

    def _row(self, values: Values, taken_s: float) -> list[float | None]:
        elapsed_s = max(taken_s - self._taken_s, 1e-3)

        def value(name: str, **labels: str) -> float | None:
            return values.get((name, tuple(sorted(labels.items()))))

        def rate(name: str, labels: tuple[tuple[str, str], ...] = ()) -> float | None:
            grown = growth(values, self._before, (name, labels))
            return None if grown is None else grown / elapsed_s

        counts = buckets(values, self._before)
        used, limit = value("eftraind_journal_used_bytes"), value("eftraind_journal_limit_bytes")
        return [
            taken_s - self._started_s,
            *(value("eftraind_accuracy_ratio", model=name) for name in COLUMNS[1:4]),
            rate("eftraind_ingest_operations_total", ACCEPTED),
            rate("eftraind_train_samples_total"),
            rate("eftraind_infer_request_duration_seconds_count"),
            quantile(counts, 0.5),
            quantile(counts, 0.99),
            value("eftraind_ingest_queue_bytes"),
            None if used is None or not limit else used / limit,
            value("eftraind_train_lag_samples"),
            value("eftraind_weights_version"),
            value("eftraind_weights_swaps_total", result="promoted"),
            value("eftraind_weights_swaps_total", result="rolled_back"),
            value("eftraind_train_paused"),
            *(self._watts(values, rail) for rail in self._rails),
        ]

    def _watts(self, values: Values, rail: str) -> float | None:
        for (name, labels), value in values.items():
            if name == "eftraind_power_watts" and ("rail", rail) in labels:
                return value
        return None

    def event(self, topic: str, data: Mapping[str, Any]) -> None:
        """Remember an event, unless the curves show the same."""
        if topic in HIDDEN:
            return
        shown = {
            "uptime_s": round(self._clock.monotonic_s() - self._started_s, 3),
            "topic": printable(topic),
            "text": described(data),
        }
        with self._lock:
            self._events.append(_Event(self._next, json.dumps(shown).encode()))

    def document(self, since: int) -> bytes:
        """JSON: rows and events from row `since` on, and what holds now.

        A reader asks for `next` the next time, and starts anew when `start` is another.
        """
        with self._lock:
            first = self._next - len(self._rows)
            skip = max(0, since - first)
            rows = list(self._rows)[skip:]
            events = [e.encoded for e in self._events if since <= e.row < self._next]
            now, following = json.dumps(self._now).encode(), self._next
        return (
            b'{"start": "%s", "next": %d, "columns": %s, "now": %s,\n"rows": [%s],\n"events": [%s]}'
            % (
                self._start.encode(), following, self._columns, now,
                b",\n".join(rows), b",\n".join(events),
            )
        )  # fmt: skip

    def silent_s(self) -> float:
        """Since the latest row."""
        return self._clock.monotonic_s() - self._taken_s

    def unready(self) -> list[str]:
        """What keeps the daemon from serving all it is for."""
        with self._lock:
            conditions = self._now.get("conditions", {"started": False})
        return [f"not {name}" for name, holds in conditions.items() if not holds]


def growth(now: Values, before: Values, key: Any) -> float | None:
    """Of a counter between two rows; None where it is not known or began anew."""
    if key not in now or key not in before or now[key] < before[key]:
        return None
    return now[key] - before[key]


def buckets(now: Values, before: Values) -> list[tuple[float, float]]:
    """(upper bound in seconds, requests up to it) of what came between two rows."""
    counts = []
    for key in now:
        if key[0] == LATENCY:
            grown = growth(now, before, key)
            if grown is not None:
                counts.append((float(dict(key[1])["le"]), grown))
    return sorted(counts)


def quantile(counts: Sequence[tuple[float, float]], share: float) -> float | None:
    """As Prometheus' histogram_quantile: linear within a bucket, and the largest finite bound
    for whatever is beyond it. None without observations.

    >>> quantile([(1.0, 0.0), (2.0, 4.0), (float("inf"), 4.0)], 0.5)
    1.5
    """
    total = counts[-1][1] if counts else 0.0
    if total == 0:
        return None
    rank, low, below = share * total, 0.0, 0.0
    for bound, upto in counts:
        if bound == float("inf"):
            break
        if upto >= rank and upto > below:
            return low + (bound - low) * (rank - below) / (upto - below)
        low, below = bound, upto
    return low


def described(data: Mapping[str, Any]) -> str:
    """One line of an event: its plain values, and why.

    >>> described({"version": 3, "from_version": 2, "reason": "better"})
    'version 3, from version 2: better'
    """
    plain = {k: v for k, v in data.items() if isinstance(v, (str, int, float)) and k not in WORDS}
    parts = [f"{name} {_spoken(value)}" for name, value in plain.items()]
    why = [str(data[name]) for name in ("reason", "message") if name in data]
    line = ": ".join([", ".join(parts), *why] if parts else why)
    return printable(line.replace("_", " "))


def _spoken(value: str | int | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def printable(text: str) -> str:
    """Without anything a terminal or a browser might act upon, and not long."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:1000])
    return shown if len(shown) <= TEXT_LENGTH else shown[: TEXT_LENGTH - 1] + "…"


def clean(value: Any) -> Any:
    """Plain data with every text made printable."""
    if isinstance(value, Mapping):
        return {printable(str(key)): clean(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(inner) for inner in value]
    return printable(value) if isinstance(value, str) else value


def _short(value: float | None) -> float | None:
    """JSON knows no NaN and no infinity; the rest of the digits no eye sees."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.9g}")
