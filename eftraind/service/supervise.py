"""`eftraind run`: two child processes, kept alive, stopped together.

Owns starting, watching over a heartbeat pipe, killing and restarting front and engine, and telling
systemd. Never looks inside them: a byte on the pipe is all it knows. A child ends by itself when
the supervisor is gone, because its next heartbeat finds no reader.
"""

import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eftraind.clock import Clock
from eftraind.config import SuperviseConfig
from eftraind.sdnotify import Notifier
from eftraind.service.heart import READY

EXIT_CONFIG = 78  # sysexits EX_CONFIG: restarting cannot help
EXIT_LOCKED = 75  # sysexits EX_TEMPFAIL: another daemon owns the directory
EXIT_DEVICE = 74  # sysexits EX_IOERR: the device is lost
LONGEST_DELAY_S = 60.0
"""Between two attempts to open a device that keeps being lost."""
START_DEADLINE_S = 600.0  # writing a large journal to a slow card for the first time
STOP_DEADLINE_S = 15.0
ABORT_S = 2.0
TURN_S = 0.1
NOTIFY_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

log = logging.getLogger(__name__)


@dataclass
class _Child:
    name: str
    command: list[str]
    process: "subprocess.Popen[bytes] | None" = None
    pipe: int = -1
    heard_s: float = 0.0
    ready: bool = False
    was_ready: bool = False
    start_at_s: float = 0.0
    lost_device: bool = False
    """once; then a device that cannot be opened is no fault of the configuration"""
    ends_s: list[float] = field(default_factory=list)
    """when it ended of itself, within `restart_interval_s`"""


class Supervisor:
    """`commands` maps each child's name to its command line, without the pipe's number;
    `fallbacks`, some names to what is started instead once the usual command has failed too often.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        config: SuperviseConfig,
        *,
        clock: Clock,
        notifier: Notifier,
        fallbacks: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._config = config
        self._fallbacks = dict(fallbacks or {})
        self._clock = clock
        self._notifier = notifier
        self._children = [_Child(name, list(command)) for name, command in commands.items()]
        self._announced = False
        self._stopping = False

    def stop(self) -> None:
        """End after this turn; safe in a signal handler."""
        self._stopping = True

    def reload(self) -> None:
        """Let front read the configuration again; it tells the engine. Safe in a signal handler."""
        for child in self._children:
            if child.name == "front" and child.process is not None and child.ready:
                child.process.send_signal(signal.SIGHUP)

    def run(self) -> int:
        """Until `stop`, or until a child says that restarting cannot help; the exit status."""
        status = 0
        while not self._stopping and status == 0:
            for child in self._children:
                if child.process is None and self._clock.monotonic_s() >= child.start_at_s:
                    self._start(child)
            self._listen()
            for child in self._children:
                status = status or self._look_after(child)
            self._announce()
        self._notifier.stopping()
        self._stop_all()
        return status

    def _start(self, child: _Child) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        command = [*child.command, "--heartbeat-fd", str(writer)]
        # Only this process speaks to systemd: it alone knows about both.
        environ = {name: text for name, text in os.environ.items() if name not in NOTIFY_VARIABLES}
        child.process = subprocess.Popen(
            command, pass_fds=(writer,), stdin=subprocess.DEVNULL, env=environ
        )
        os.close(writer)
        child.pipe, child.ready = reader, False
        child.heard_s = self._clock.monotonic_s()
        log.info("started %s as process %d", child.name, child.process.pid)

    def _listen(self) -> None:
        pipes = {child.pipe: child for child in self._children if child.pipe >= 0}
        if not pipes:
            self._clock.sleep(TURN_S)
            return
        readable, _, _ = select.select(list(pipes), [], [], TURN_S)
        for pipe in readable:
            child = pipes[pipe]
            data = os.read(pipe, 4096)
            if not data:  # the child closed its end, so it is ending; wait for its exit status
                self._close_pipe(child)
                continue
            child.heard_s = self._clock.monotonic_s()
            if READY in data and not child.ready:
                child.ready = child.was_ready = True
                log.info("%s is ready", child.name)

    def _look_after(self, child: _Child) -> int:
        """Notice an end or a hang; the exit status that ends everything, or 0."""
        if child.process is None:
            return 0
        deadline_s = self._config.engine_deadline_s if child.ready else START_DEADLINE_S
        if self._clock.monotonic_s() - child.heard_s > deadline_s:
            log.error("%s showed no progress for %.1f s; it is killed", child.name, deadline_s)
            _abort(child.process)
        status = child.process.poll()
        if status is None:
            return 0
        self._close_pipe(child)
        child.process, child.ready = None, False
        child.lost_device = child.lost_device or status == EXIT_DEVICE
        hopeless = status == EXIT_CONFIG and not child.lost_device
        if hopeless or (status == EXIT_LOCKED and not child.was_ready):
            return status
        reason = f"signal {-status}" if status < 0 else f"status {status}"
        if status == EXIT_DEVICE:
            reason += ", its device is lost,"
        log.warning("%s ended with %s and will be restarted", child.name, reason)
        self._notifier.status(f"restarting {child.name}")
        self._plan_restart(child)
        return 0

    def _plan_restart(self, child: _Child) -> None:
        now_s = self._clock.monotonic_s()
        oldest_s = now_s - self._config.restart_interval_s
        child.ends_s = [end_s for end_s in child.ends_s if end_s > oldest_s] + [now_s]
        delay_s = self._config.restart_delay_s
        if child.lost_device:  # a board wants time between resets: doubled with each end
            delay_s = max(delay_s, min(LONGEST_DELAY_S, delay_s * 2 ** (len(child.ends_s) - 1)))
        child.start_at_s = now_s + delay_s
        if len(child.ends_s) >= self._config.restart_burst and child.name in self._fallbacks:
            child.command = list(self._fallbacks.pop(child.name))
            log.error("%s failed %d times: degraded from now on", child.name, len(child.ends_s))
            self._notifier.status(f"degraded: {child.name} failed too often")

    def _announce(self) -> None:
        if all(child.ready for child in self._children):
            if not self._announced:
                self._announced = True
                self._notifier.ready("serving")
                log.info("ready")
            # Both loops turned within their deadlines, else they would be restarting.
            self._notifier.watchdog()
        elif not self._announced:
            self._notifier.extend_timeout(START_DEADLINE_S)
        elif self._children[0].ready:
            self._notifier.watchdog()  # front goes on without the engine, as designed

    def _stop_all(self) -> None:
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        deadline_s = self._clock.monotonic_s() + STOP_DEADLINE_S
        for process in running:
            try:
                process.wait(max(0.1, deadline_s - self._clock.monotonic_s()))
            except subprocess.TimeoutExpired:
                log.error("process %d does not end; it is killed", process.pid)
                process.kill()
                process.wait()
        for child in self._children:
            self._close_pipe(child)

    def _close_pipe(self, child: _Child) -> None:
        if child.pipe >= 0:
            os.close(child.pipe)
            child.pipe = -1


def _abort(process: "subprocess.Popen[bytes]") -> None:
    """End a process that hangs; one that still can prints where (faulthandler, on SIGABRT)."""
    process.send_signal(signal.SIGABRT)
    try:
        process.wait(ABORT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run(config_path: str, config: SuperviseConfig, *, clock: Clock, notifier: Notifier) -> int:
    """Supervise front and engine with this configuration file; the exit status."""
    commands = {
        name: [sys.executable, "-m", "eftraind", name, "--config", config_path]
        for name in ("front", "engine")
    }
    fallbacks = {"engine": [*commands["engine"], "--serve-only"]}
    supervisor = Supervisor(commands, config, clock=clock, notifier=notifier, fallbacks=fallbacks)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    signal.signal(signal.SIGHUP, lambda *_: supervisor.reload())
    return supervisor.run()
