"""What `top` knows of the daemon: the rows and events gathered from its answers.

Owns merging them. It asks nobody; an answer is what `live` on the control socket gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ROWS = 600
EVENTS = 50


@dataclass
class Feed:
    """`since` is what to ask for next; `lost` is why there was no answer, if there was none."""

    since: int = 0
    start: str = ""
    columns: list[str] = field(default_factory=list)
    rows: list[list[float | None]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    now: dict[str, Any] = field(default_factory=dict)
    lost: str = ""

    def take(self, answer: Mapping[str, Any]) -> bool:
        """Merge an answer; False if it is of another front process, which has to be asked again
        from the start."""
        self.lost = ""
        if answer["start"] != self.start:
            again = self.since > 0
            self.start, self.since = answer["start"], 0
            self.rows, self.events = [], []
            if again:
                return False
        self.columns, self.now, self.since = answer["columns"], answer["now"], answer["next"]
        self.rows = [*self.rows, *answer["rows"]][-ROWS:]
        self.events = [*self.events, *answer["events"]][-EVENTS:]
        return True

    def series(self, name: str) -> list[float | None]:
        """A column's values, oldest first; empty if there is no such column."""
        if name not in self.columns:
            return []
        at = self.columns.index(name)
        return [row[at] for row in self.rows]

    def latest(self, name: str) -> float | None:
        values = self.series(name)
        return values[-1] if values else None
