"""What was refused for good: counted, told to the user once, and raised once by a flush."""

from collections import deque

from eftraind.client.results import Refusal
from eftraind.errors import Refused

_MOST_UNREPORTED = 1000


class Refusals:
    def __init__(self) -> None:
        self._unreported: deque[Refusal] = deque(maxlen=_MOST_UNREPORTED)
        self.counts: dict[str, int] = {}
        """operations by the code of their refusal"""
        self.notices: deque[Refusal] = deque()
        """what the user was not told yet"""

    def add(self, refusal: Refusal) -> None:
        self.counts[refusal.code] = self.counts.get(refusal.code, 0) + refusal.count
        self.notices.append(refusal)
        self._unreported.append(refusal)

    def add_dropped(self, dropped: list[Refusal]) -> None:
        """The policy's choice, which the user made: told, but no flush fails of it."""
        self.notices.extend(dropped)

    def report(self) -> None:
        """Raise Refused if something was refused since the last report."""
        refusals = list(self._unreported)
        self._unreported.clear()
        if refusals:
            first, count = refusals[0], sum(refusal.count for refusal in refusals)
            message = f"{count} operations were refused, the first because {first.message}"
            raise Refused(message, remedy=first.remedy, code=first.code)
