"""Runs one demo from the first question to the last: who is told what, and when.

Owns the order of events and the figures. Children, events of the daemon and the clock reach it
through one inbox, so nothing here needs a lock. It starts nothing on its own but through the Stage
and draws nothing but through the Screen.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eftraind.client import Client
from eftraind.clock import Clock
from eftraind.demo.children import EXIT, Child, ChildFailed, Inbox, Message
from eftraind.demo.data import Dataset
from eftraind.demo.options import Options
from eftraind.demo.screen import Screen, View
from eftraind.demo.shifts import World
from eftraind.demo.stage import Stage, heard
from eftraind.demo.story import Mark, Point, Result, Story
from eftraind.errors import Disconnected

READY_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 15.0
CATCH_UP_TIMEOUT_S = 30.0
SILENCE_TIMEOUT_S = 90.0
TICK_S = 0.1
ASK_RATE = 50.0
TEST_CHUNK = 50
STREAM = 3

Facts = Mapping[str, Any]


class Director:
    """One run; `run` is called once."""

    def __init__(
        self,
        options: Options,
        dataset: Dataset,
        stage: Stage,
        screen: Screen,
        inbox: Inbox,
        clock: Clock,
        power_w: Callable[[], float | None],
    ) -> None:
        self._options = options
        self._dataset = dataset
        self._stage = stage
        self._screen = screen
        self._inbox = inbox
        self._clock = clock
        self._power_w = power_w
        self.story = Story(options.network, options.shift)
        self._sent: Facts = {"sent": 0, "durable": 0}
        self._answers: Facts = {"asked": 0, "answered": 0, "failed": 0, "versions": []}
        self._scored = 0
        self._version: int | None = None
        self._phase = "starting"
        self._pace: deque[tuple[float, int]] = deque(maxlen=40)

    def run(self, started_s: float) -> Result:
        client = self._connect()
        with client:
            client.on_event("", self._hear)
            port = self._stage.status()["endpoints"]["metrics_port"]
            self._screen.say(f"live page, as long as this runs: http://127.0.0.1:{port}/")
            world = World(
                self._options.shift, self._dataset.shape, seed=self._options.seed, stream=STREAM
            )
            after = world.look(self._dataset.x_test)
            # Before anything is learned, the served model is the frozen one.
            frozen = self._accuracy(client, after)
            self._screen.say(
                f"the model starts with {self._accuracy(client, self._dataset.x_test):.1%}; "
                f"frozen, it will have {frozen:.1%} after the shift"
            )
            asker, streamer = self._start_clients()
            streaming_s = self._clock.monotonic_s()
            self._await(streamer, "at_shift", f"learning, the shift {self._options.shift} comes")
            before = self._accuracy(client, self._dataset.x_test)
            if self._options.shift != "none":
                self.story.marks.append(Mark("shift", int(self._sent["sent"])))
            asker.tell("shift")
            streamer.tell("go")
            self._await(streamer, "done", f"after the shift: {self._options.shift}")
            trained = self._catch_up()
            streaming_s = self._clock.monotonic_s() - streaming_s
            served = self._accuracy(client, after)
            asker.stop(terminate=False)
            self._drain()
        return self._result(before, served, frozen, trained / streaming_s, started_s)

    # the steps

    def _connect(self) -> Client:
        """A client of the daemon, as soon as it answers."""
        deadline_s = self._clock.monotonic_s() + READY_TIMEOUT_S
        while True:
            self._drain()
            try:
                return Client(self._stage.endpoint, producer="demo", connect_timeout_s=1.0)
            except Disconnected:
                if self._clock.monotonic_s() > deadline_s:
                    raise

    def _start_clients(self) -> tuple[Child, Child]:
        options = self._options
        common = ["--endpoint", self._stage.endpoint, "--data", options.data]
        common += ["--shift", options.shift, "--seed", str(options.seed)]
        asker = self._stage.start(
            "asker", ["-m", "eftraind.demo.asker", *common, "--rate", str(ASK_RATE)]
        )
        counts = ["--samples", str(options.samples), "--shift-at", str(options.shift_at)]
        streamer = self._stage.start(
            "streamer",
            ["-m", "eftraind.demo.streamer", *common, *counts, "--rate", str(options.rate)],
        )
        return asker, streamer

    def _await(self, child: Child, kind: str, phase: str) -> None:
        """Handle what comes until the child says `kind`."""
        self._phase = phase
        heard_s = self._clock.monotonic_s()
        while True:
            message = heard(self._inbox, TICK_S)
            if message is not None:
                self._handle(message)
                if message.source == child.name:
                    heard_s = self._clock.monotonic_s()
                    if message.kind == kind:
                        return
            elif self._clock.monotonic_s() - heard_s > SILENCE_TIMEOUT_S:
                raise ChildFailed(f"the {child.name} said nothing for {SILENCE_TIMEOUT_S:.0f} s")
            self._show()

    def _catch_up(self) -> float:
        """Wait until the engine has learned from everything; the images it trained on."""
        self._phase = "catching up"
        deadline_s = self._clock.monotonic_s() + CATCH_UP_TIMEOUT_S
        while True:
            self._drain()
            self._show()
            status = self._stage.status()["engine"]
            if not status["lag_samples"] and status["scored_samples"] >= self._sent["sent"]:
                break
            if self._clock.monotonic_s() > deadline_s:
                behind = int(self._sent["sent"]) - int(status["scored_samples"])
                self._screen.say(f"this machine is too slow for this rate: {behind} samples behind")
                break
            self._clock.sleep(2 * TICK_S)
        return float(status["steps"]) * self._stage.batch

    def _accuracy(self, client: Client, images: NDArray[np.uint8]) -> float:
        """Of the serving weights, asked like any user does."""
        right = 0
        for at in range(0, len(images), TEST_CHUNK):
            answer = client.infer(images[at : at + TEST_CHUNK], timeout_s=ANSWER_TIMEOUT_S)
            self._version = answer.version
            right += int((answer.labels == self._dataset.y_test[at : at + TEST_CHUNK]).sum())
        return right / len(images)

    # what comes in

    def _hear(self, topic: str, data: Any) -> None:
        """In the client's thread: an event of the daemon."""
        if isinstance(data, dict):
            self._inbox.put(Message("event", {**data, "kind": topic}))

    def _drain(self) -> None:
        while (message := heard(self._inbox, 0.0)) is not None:
            self._handle(message)

    def _handle(self, message: Message) -> None:
        data = message.data
        if message.kind == EXIT:
            self._stage.check_exit(message.source, int(data["status"]))
        elif message.source == "streamer":
            self._sent = data
            self._pace.append((self._clock.monotonic_s(), int(data["durable"])))
        elif message.source == "asker":
            self._answers = data
        elif message.source == "event":
            self._event(message.kind, data)

    def _event(self, kind: str, data: Facts) -> None:
        if kind == "score" and "golden" in data and "serving" in data:
            self._scored = int(data["samples"])
            point = Point(self._scored, float(data["serving"]), float(data["golden"]))
            self.story.points.append(point)
        elif kind in ("swapped", "rolled_back"):
            self._version = int(data["version"])
            name = "swap" if kind == "swapped" else "rollback"
            self.story.marks.append(Mark(name, int(data["samples"]), self._version))
        elif kind == "alarm":
            self._screen.say(f"alarm from the daemon: {data.get('message', data)}")

    # what goes out

    def _show(self) -> None:
        pace = 0.0
        if len(self._pace) > 1 and self._pace[-1][0] > self._pace[0][0]:
            (since_s, before), (now_s, now) = self._pace[0], self._pace[-1]
            pace = (now - before) / (now_s - since_s)
        self._screen.show(
            View(
                phase=self._phase,
                samples=int(self._sent["sent"]),
                samples_total=self._options.samples,
                samples_per_s=pace,
                predictions=int(self._answers["answered"]),
                infer_p50_ms=self._answers.get("p50_ms"),
                infer_p99_ms=self._answers.get("p99_ms"),
                version=self._version,
                power_w=self._power_w(),
                story=self.story,
            )
        )

    def _result(
        self, before: float, served: float, frozen: float, trained_per_s: float, started_s: float
    ) -> Result:
        sent, durable = int(self._sent["sent"]), int(self._sent["durable"])
        asked, answered = int(self._answers["asked"]), int(self._answers["answered"])
        marked = {mark.version for mark in self.story.marks if mark.version is not None}
        nothing = float("nan")
        return Result(
            shift=self._options.shift,
            network=self._options.network,
            seed=self._options.seed,
            samples_sent=sent,
            samples_acked_durable=durable,
            samples_lost=sent - durable,
            predictions=answered,
            predictions_lost=asked - answered,
            swaps=self.story.count("swap"),
            rollbacks=self.story.count("rollback"),
            accuracy_before_shift=before,
            accuracy_after_shift_served=served,
            accuracy_after_shift_frozen=frozen,
            train_samples_per_s=trained_per_s,
            infer_p50_ms=self._answers.get("p50_ms") or nothing,
            infer_p99_ms=self._answers.get("p99_ms") or nothing,
            wall_s=self._clock.monotonic_s() - started_s,
            versions=tuple(sorted(marked | set(self._answers["versions"]))),
        )
