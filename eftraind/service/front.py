"""The front process: everything with a socket, nothing with a device.

Composition root: builds all parts from one Config and turns one loop over their sockets. The
committer, the web page and the power sampler have threads of their own; everything else runs
here, and nothing here waits for anything but the poller.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eftraind import link, networks
from eftraind.clock import Clock
from eftraind.config import Config
from eftraind.errors import EftraindError, StorageError
from eftraind.fsio import FileOps, StateLock
from eftraind.metrics import Metrics
from eftraind.service.clients import Clients
from eftraind.service.control import Control
from eftraind.service.doors import Doors
from eftraind.service.guard import Guard
from eftraind.service.heart import Heart
from eftraind.service.ingest import Ingest
from eftraind.service.mail import ClientMail, EngineMail, EventSocket
from eftraind.service.predict import Predict
from eftraind.service.reload import Reload
from eftraind.service.report import Report
from eftraind.service.samplelog import SampleLog, prepare_directories
from eftraind.service.session import EngineSession
from eftraind.service.sockets import Router
from eftraind.service.watch import Watch
from eftraind.wire import Bye, Stream

TURN_MS = 50
BUSY_TURN_MS = 5  # while something has a deadline soon
MESSAGES_PER_TURN = 16
TICK_S = 0.02
DISK_DEADLINE_S = 60.0  # a card collecting garbage stalls for seconds, not for a minute
SHOW_S = 0.5

log = logging.getLogger(__name__)


class Front:
    """Built once; `turn` until told to stop; `close`."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        ops: FileOps,
        heart: Heart,
        read_again: Callable[[], Config] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._environ = environ or {}
        self._read_again = read_again or (lambda: config)
        self._clock = clock
        self._heart = heart
        self._started_s = clock.monotonic_s()
        self._tick_s = self._show_s = 0.0
        self._stack = contextlib.ExitStack()
        try:
            self._build(config, ops)
        except BaseException:
            self._stack.close()
            raise

    def _build(self, config: Config, ops: FileOps) -> None:
        net = networks.load(config.model.network)
        self.stream = Stream(
            shape=net.input.shape,
            dtype=net.input.dtype,
            classes=net.classes,
            max_message_bytes=config.ingest.max_message_bytes,
        )
        prepare_directories(config)
        for directory in {config.state_dir, config.run_dir}:
            self._lock(ops, Path(directory))
        self.metrics = Metrics(owner="front")
        self.watch = Watch(config, self.metrics, self._clock)
        self.guard = Guard(config, self._environ, self.metrics)
        self._wake_reader, self._wake_writer = os.pipe()
        for fd in (self._wake_reader, self._wake_writer):
            os.set_blocking(fd, False)
            self._stack.callback(os.close, fd)
        self.log = SampleLog(
            config,
            ops=ops,
            clock=self._clock,
            metrics=self.metrics,
            wake=self._wake,
            progress=self._heart.starting,
        )
        self._stack.callback(self.log.close)
        self.doors = Doors(config, self.guard)
        self._stack.callback(self.doors.close)
        self.doors.watch(self._wake_reader)
        self._compose(config, net.digest)
        self._stack.callback(self.watch.close)
        self.watch.start()
        self._writable = True
        log.info("front listens on %s", ", ".join(config.listen_endpoints))

    def _lock(self, ops: FileOps, directory: Path) -> None:
        try:
            lock = StateLock.acquire(ops, directory)
        except StorageError as error:
            if error.code not in ("read_only", "storage"):
                raise
            # A directory that cannot even be locked can hold no journal either.
            log.error("%s is not locked: %s", directory, error)
            return
        self._stack.callback(lock.close)

    def _compose(self, config: Config, network_digest: str) -> None:
        self.clients = Clients(
            config=config.ingest,
            stream=self.stream,
            send=self.doors.clients.send,
            metrics=self.metrics,
            clock=self._clock,
            events_endpoint=self.doors.events_endpoint,
            network_events_endpoint=self.doors.network_events_endpoint,
            guard=self.guard,
            forget=self.log.forget,
        )
        self.clients.recover(self.log.last_seqs)
        self.reload = Reload(
            config,
            read_again=self._read_again,
            guard=self.guard,
            clients=self.clients,
            cut=self.doors.cut,
            heart=self._heart,
        )
        self.ingest = Ingest(
            self.clients, self.stream, self.log.submit, self.log.readmit, self.metrics
        )
        self.session = EngineSession(
            send=self.doors.link.send,
            source=self.log,
            network_digest=network_digest,
            deadline_s=config.supervise.engine_deadline_s,
            on_change=lambda up: self._engine_mail.engine_changed(up),
            metrics=self.metrics,
            clock=self._clock,
        )
        self.predict = Predict(
            clients=self.clients,
            tell=self.session.tell,
            classes=self.stream.classes,
            limit_bytes=config.ingest.queue_bytes,
            metrics=self.metrics,
            clock=self._clock,
        )
        self.control = Control(
            router=self.doors.control,
            tell=self.session.tell,
            status=self.status,
            page=self.watch.page.text,
            live=self.watch.live.document,
            reload=self.reload,
            require=self.guard.require,
            clock=self._clock,
        )
        self._events = EventSocket(self.doors.events, self.metrics, self.watch.live.event)
        self.report = Report(self.log, self.session, self.clients)
        self._client_mail = ClientMail(
            self.clients, self.guard, self.ingest, self.predict, self.metrics
        )
        self._engine_mail = EngineMail(
            session=self.session,
            clients=self.clients,
            predict=self.predict,
            control=self.control,
            events=self._events,
            page=self.watch.page,
            metrics=self.metrics,
        )

    # the loop

    def turn(self, timeout_ms: int | None = None) -> None:
        """Wait for something, handle a bounded amount of it, send what is due."""
        if timeout_ms is None:
            timeout_ms = BUSY_TURN_MS if self.predict.in_flight else TURN_MS
        ready = self.doors.wait(timeout_ms)
        if self._wake_reader in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_reader, 65_536)
        self._settle()
        if self.doors.link.socket in ready:
            self._drain(self.doors.link, self._engine_mail.handle)
        if self.guard.socket is not None and self.guard.socket in ready:
            self.guard.answer(self._clock.monotonic_s())
        if self.doors.clients.socket in ready:
            self._drain(self.doors.clients, self._client_mail.handle)
        if self.doors.control.socket in ready:
            self._drain(self.doors.control, self.control.handle)
        self.clients.flush()
        self._tick()
        if self.log.busy_s < DISK_DEADLINE_S:
            self._heart.beat()

    def _drain(self, router: Router, handle: Any) -> None:
        for _ in range(MESSAGES_PER_TURN):
            received = router.receive()
            if received is None:
                return
            handle(received)

    def _settle(self) -> None:
        """What the disk has done. After a failed flush nothing may be acknowledged any more."""
        outcomes = self.log.take_outcomes()
        if self.log.fatal is not None:
            raise self.log.fatal
        if outcomes:
            self.ingest.settle(outcomes)
            self.session.feed()

    def _tick(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s < self._tick_s:
            return
        self._tick_s = now_s + TICK_S
        self.doors.mend()
        self.predict.expire()
        self.control.expire()
        self.session.tick()
        if now_s < self._show_s:
            return
        self._show_s = now_s + SHOW_S
        self.watch.tick(lambda: self.report.facts(now_s - self._started_s))
        self._heart.say(self.report.summary())
        self.clients.expire()
        if self.log.tick():
            self.clients.recover(self.log.last_seqs)
        self.log.show(self.session.consumed_seq)
        if self.log.writable != self._writable:
            self._writable = self.log.writable
            holds = {"condition": "journal_writable", "holds": self._writable}
            self._events.publish("alarm", holds)
        if self.session.up:
            lag = self.log.durable_seq - self.session.fetched_seq
            self.metrics.gauge("engine_lag_records").set(max(0, lag))
        else:
            self.metrics.gauge("engine_lag_records").clear()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: the loop is being woken already
            os.write(self._wake_writer, b"w")

    # the outside

    def reload_now(self) -> None:
        """Reload for a signal, whose sender hears nothing but the log."""
        try:
            self.session.tell(link.Control(0, "reload", self.reload()))
        except EftraindError as error:
            log.error("reload refused: %s", error)

    def status(self) -> dict[str, Any]:
        """The front's part of `eftraind status`."""
        endpoints = {
            "listen": list(self.doors.clients.endpoints),
            "events": self.doors.events_endpoint,
            "control": self.doors.control.endpoints[0],
            "metrics_port": self.watch.port,
        }
        counts = {
            "queue_bytes": self.ingest.queue_bytes,
            "infer_in_flight": self.predict.in_flight,
        }
        now_s = self._clock.monotonic_s()
        return self.report.status(now_s, now_s - self._started_s, endpoints, counts)

    def finish(self) -> None:
        """Make everything received durable, acknowledge it, say BYE."""
        self.log.close()
        self._settle()
        self.clients.flush()
        for connection in list(self.clients.connections.values()):
            self.clients.answer(connection, Bye().frames())

    def close(self) -> None:
        self._stack.close()
