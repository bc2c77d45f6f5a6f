"""Inference requests: sent before any sample, again after a reconnect, until their deadline.

A prediction changes nothing in the daemon, so asking twice is harmless. No sockets, no clock.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from eftraind.client.results import Prediction
from eftraind.client.waits import Done
from eftraind.errors import ClientError, Disconnected, Refused
from eftraind.wire import Array, Error, Frames, Infer
from eftraind.wire import Prediction as PredictionMessage

_RETRY_MIN_S, _RETRY_MAX_S = 0.01, 0.5


@dataclass(eq=False)
class _Request:
    number: int
    samples: Array
    deadline: float
    done: Done
    retry_at: float = 0.0
    strikes: int = 0
    refusal: Error | None = None


class Requests:
    def __init__(self) -> None:
        self._open: dict[int, _Request] = {}
        self._unsent: deque[_Request] = deque()
        self._next_number = 1

    def add(self, samples: Array, deadline: float, done: Done) -> None:
        request = _Request(self._next_number, samples, deadline, done)
        self._next_number += 1
        self._open[request.number] = request
        self._unsent.append(request)

    def take(self, now: float) -> Frames | None:
        for request in self._unsent:
            if request.retry_at <= now:
                self._unsent.remove(request)
                left_ms = max(1, int(min((request.deadline - now) * 1000, 2**32 - 1)))
                return Infer(request.number, request.samples, left_ms).frames()
        return None

    def answer(self, message: PredictionMessage) -> None:
        request = self._open.get(message.request_id)
        if request is None or len(message.logits) != len(request.samples):
            return  # too late: its caller has been told
        self._close(request)
        weights_hash = message.weights_hash.hex()
        request.done(Prediction(message.logits, message.version, weights_hash), None)

    def refused(self, error: Error, now: float) -> None:
        request = self._open.get(error.request_id)
        if request is None:
            return
        if not error.retryable:
            self._close(request)
            request.done(None, Refused(error.message, remedy=error.remedy, code=error.code))
            return
        request.retry_at = now + min(_RETRY_MIN_S * 2.0 ** min(request.strikes, 10), _RETRY_MAX_S)
        request.strikes += 1
        request.refusal = error
        if request not in self._unsent:
            self._unsent.append(request)

    def resend_all(self) -> None:
        """After a broken connection nobody will answer what was sent on it."""
        self._unsent = deque(self._open.values())

    def expire(self, now: float, late: Callable[[str], ClientError]) -> None:
        for request in [r for r in self._open.values() if now >= r.deadline]:
            self._close(request)
            refusal = request.refusal
            if refusal is None:
                request.done(None, late("no prediction came"))
            else:
                message = f"no prediction came in time: {refusal.message}"
                request.done(None, Disconnected(message, remedy=refusal.remedy, code=refusal.code))

    def fail(self, error: ClientError) -> None:
        for request in list(self._open.values()):
            self._close(request)
            request.done(None, error)

    def forget(self, done: Done) -> None:
        for request in [r for r in self._open.values() if r.done is done]:
            self._close(request)

    def deadline(self) -> float:
        return min((request.deadline for request in self._open.values()), default=float("inf"))

    def wake_at(self) -> float:
        return min((request.retry_at for request in self._unsent), default=float("inf"))

    def _close(self, request: _Request) -> None:
        del self._open[request.number]
        if request in self._unsent:
            self._unsent.remove(request)
