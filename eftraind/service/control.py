"""The operator's socket: status, metrics, and commands that the engine carries out.

Owns the JSON requests {"command": ..., "args": {...}} and answers {"ok": true, "result": {...}} or
{"ok": false, "error": {"code", "message", "remedy"}}; a request that needs the engine is answered
when the engine has, or at its deadline. The fields of a status are described in docs/config.md.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eftraind import link
from eftraind.clock import Clock
from eftraind.errors import EftraindError
from eftraind.service.sockets import Buffer, Received, Router

COMMANDS = ("pause", "resume", "promote", "rollback", "checkpoint", "set")
STATUS_DEADLINE_S = 2.0
COMMAND_DEADLINE_S = 30.0
MAX_WAITING = 64


class ControlError(EftraindError):
    """A request that cannot be carried out."""

    code = "control"


@dataclass(frozen=True)
class _Waiting:
    identity: bytes
    envelope: list[Buffer]
    command: str
    deadline_s: float


class Control:
    """`status` gives the front's own part, `reload` what a file read again has changed; `tell`
    sends to the engine."""

    def __init__(
        self,
        *,
        router: Router,
        tell: Callable[[link.Message], bool],
        status: Callable[[], dict[str, Any]],
        page: Callable[[], bytes],
        live: Callable[[int], bytes],
        reload: Callable[[], dict[str, Any]],
        require: Callable[[str, str], None],
        clock: Clock,
    ) -> None:
        self._router = router
        self._tell = tell
        self._status = status
        self._page = page
        self._live = live
        self._reload = reload
        self._clock = clock
        self._require = require
        self._waiting: dict[int, _Waiting] = {}
        self._next_id = 1

    def handle(self, received: Received) -> None:
        """Answer a request now, or remember it until the engine has answered."""
        envelope: list[Buffer] = []
        frames = received.frames
        if len(frames) > 1 and len(frames[0]) == 0:  # REQ puts an empty frame in front
            envelope, frames = [frames[0]], frames[1:]
        try:
            if len(frames) != 1 or received.parts != len(envelope) + 1:
                raise ControlError("a request has one JSON frame", code="malformed")
            self._require(received.user, "admin")
            command, args = _parse(frames[0])
            self._carry_out(received.identity, envelope, command, args)
        except EftraindError as error:
            self._answer(received.identity, envelope, _failure(error))

    def _carry_out(
        self, identity: bytes, envelope: list[Buffer], command: str, args: dict[str, Any]
    ) -> None:
        if command == "metrics":
            result = {"text": self._page().decode()}
            self._answer(identity, envelope, {"ok": True, "result": result})
        elif command == "live":
            self._answer(identity, envelope, {"ok": True, "result": self._since(args)})
        elif command == "status":
            self._ask(identity, envelope, command, args, STATUS_DEADLINE_S)
        elif command == "reload":
            self._ask(identity, envelope, command, self._reload(), COMMAND_DEADLINE_S)
        elif command in COMMANDS:
            self._ask(identity, envelope, command, args, COMMAND_DEADLINE_S)
        else:
            known = ", ".join(("status", "metrics", "live", "reload", *COMMANDS))
            raise ControlError(
                f"unknown command {command!r:.60}", remedy=f"one of {known}", code="command"
            )

    def _since(self, args: dict[str, Any]) -> Any:
        since = args.get("since", 0)
        if type(since) is not int or since < 0:
            raise ControlError("since is a whole number", remedy="leave it out", code="malformed")
        return json.loads(self._live(since))

    def _ask(
        self,
        identity: bytes,
        envelope: list[Buffer],
        command: str,
        args: dict[str, Any],
        within_s: float,
    ) -> None:
        if len(self._waiting) >= MAX_WAITING:
            raise ControlError(
                "too many requests wait for the engine", remedy="try again", code="busy"
            )
        number = self._next_id
        self._next_id += 1
        if self._tell(link.Control(number, command, args)):
            deadline_s = self._clock.monotonic_s() + within_s
            self._waiting[number] = _Waiting(identity, envelope, command, deadline_s)
        elif command == "status":
            self._answer(identity, envelope, {"ok": True, "result": self._status()})
        elif command == "reload":  # the next engine reads the file itself
            self._answer(identity, envelope, {"ok": True, "result": {"changed": args}})
        else:
            raise _engine_down("the engine is not there")

    def reply(self, message: link.Reply) -> None:
        """The engine has answered."""
        waiting = self._waiting.pop(message.id, None)
        if waiting is None:
            return
        if waiting.command == "status":
            result = self._status()
            if message.ok:
                result["engine"] = {**result["engine"], **message.result}
            self._answer(waiting.identity, waiting.envelope, {"ok": True, "result": result})
        elif message.ok:
            answer = {"ok": True, "result": message.result}
            self._answer(waiting.identity, waiting.envelope, answer)
        else:
            self._answer(waiting.identity, waiting.envelope, {"ok": False, "error": message.error})

    def engine_down(self) -> None:
        """Nobody will answer what waits."""
        self._give_up(list(self._waiting), "the engine went away")

    def expire(self) -> None:
        now_s = self._clock.monotonic_s()
        late = [number for number, w in self._waiting.items() if w.deadline_s <= now_s]
        self._give_up(late, "the engine did not answer in time")

    def _give_up(self, numbers: list[int], reason: str) -> None:
        for number in numbers:
            waiting = self._waiting.pop(number)
            answer = _failure(_engine_down(reason))
            if waiting.command == "status":
                answer = {"ok": True, "result": self._status()}
            self._answer(waiting.identity, waiting.envelope, answer)

    def _answer(self, identity: bytes, envelope: list[Buffer], answer: dict[str, Any]) -> None:
        self._router.send(identity, [*envelope, json.dumps(answer).encode()])


def _parse(frame: Buffer) -> tuple[str, dict[str, Any]]:
    try:
        request = json.loads(bytes(frame))
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise ControlError("a request is one JSON object", code="malformed")
    command, args = request.get("command"), request.get("args", {})
    if not isinstance(command, str) or not isinstance(args, dict):
        raise ControlError('a request has "command" (text) and "args"', code="malformed")
    return command, args


def _failure(error: EftraindError) -> dict[str, Any]:
    details = {"code": error.code, "message": error.message, "remedy": error.remedy}
    return {"ok": False, "error": details}


def _engine_down(reason: str) -> ControlError:
    return ControlError(reason, remedy="see `eftraind status` and the log", code="engine_down")
