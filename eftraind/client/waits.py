"""Calls that wait: each is tried at every tick until it succeeds, fails or runs out of time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eftraind.errors import ClientError

Done = Callable[[Any, ClientError | None], None]


@dataclass(eq=False)
class _Wait:
    attempt: Callable[[float], Any]
    late: Callable[[], ClientError]
    deadline: float
    done: Done


class Waits:
    def __init__(self) -> None:
        self._waits: list[_Wait] = []

    def add(
        self,
        attempt: Callable[[float], Any],
        late: Callable[[], ClientError],
        deadline: float,
        done: Done,
    ) -> None:
        """`attempt(now)` returns None to go on waiting; `late()` says who was waited for."""
        self._waits.append(_Wait(attempt, late, deadline, done))

    def settle(self, now: float) -> None:
        still: list[_Wait] = []
        for wait in self._waits:
            try:
                result = wait.attempt(now)
            except ClientError as error:
                wait.done(None, error)
                continue
            if result is not None:
                wait.done(result, None)
            elif now >= wait.deadline:
                wait.done(None, wait.late())
            else:
                still.append(wait)
        self._waits = still

    def fail(self, error: ClientError) -> None:
        waits, self._waits = self._waits, []
        for wait in waits:
            wait.done(None, error)

    def forget(self, done: Done) -> None:
        self._waits = [wait for wait in self._waits if wait.done is not done]

    def deadline(self) -> float:
        return min((wait.deadline for wait in self._waits), default=float("inf"))
