"""What the front lets others see of the daemon: metrics, the live page, watts.

Owns the metrics page, the ring behind the live page, the web server and the power sampler, both
with threads of their own. Decides nothing about samples, and reads the front's state only through
the facts it is handed.
"""

import contextlib
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from eftraind import boards
from eftraind.clock import Clock
from eftraind.config import Config
from eftraind.errors import ConfigError
from eftraind.metrics import Metrics, Page
from eftraind.power import PowerMeter, PowerSampler, Reading, find_rails
from eftraind.service.live import Live
from eftraind.service.web import Site, WebServer

LIVE_S = 0.9  # asked every half second: a row once a second


class Watch:
    """Made, started once everything it shows exists, ticked by the loop, closed."""

    def __init__(self, config: Config, metrics: Metrics, clock: Clock) -> None:
        self._config = config
        self._metrics = metrics
        self._clock = clock
        named = config.power.board
        table = None if named is None else boards.load(named).power.rails
        self._rails = find_rails(config.power.sysfs_root, table)
        self.page = Page(metrics.registry)
        self.live = Live(
            page=self.page, rails=[rail.name for rail in self._rails], clock=self._clock
        )
        self.port: int | None = None
        self._stack = contextlib.ExitStack()

    def start(self) -> None:
        """Listen and measure. Raises ConfigError where it cannot listen."""
        self._metrics.gauge("build_info").set(1, package_version(), platform.python_version())
        self._metrics.gauge("start_time_seconds").set(self._clock.wall_s())
        if self._config.metrics_address is not None:
            self._listen(*self._config.metrics_address)
        if self._config.power.budget_watts is not None:
            self._metrics.gauge("power_budget_watts").set(self._config.power.budget_watts)
        if self._rails:
            meter = PowerMeter(self._rails, self._clock)
            sampler = PowerSampler(meter, self._config.power.interval_s, self._show_power)
            self._stack.callback(sampler.close)

    def _listen(self, host: str, port: int) -> None:
        live = self.live
        site = Site(self.page.text, live.document, live.silent_s, live.unready)
        try:
            server = WebServer(site, host, port, self._clock)
        except OSError as error:
            raise ConfigError(
                f"cannot serve metrics on {self._config.metrics.listen}: {error.strerror}",
                remedy="set metrics.listen to a free port, to port 0, or to null",
                code="metrics_listen",
            ) from error
        self._stack.callback(server.close)
        self.port = server.port

    def tick(self, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Take a row if one is due; `facts` is what the live page shows beside its curves."""
        if self.live.silent_s() >= LIVE_S:
            self.live.take(
                {
                    "version": package_version(),
                    "python": platform.python_version(),
                    "network": self._config.model.network,
                    "power_budget_watts": self._config.power.budget_watts,
                    **facts(),
                }
            )

    def _show_power(self, readings: list[Reading]) -> None:
        for reading in readings:
            if reading.power_w is None:
                self._metrics.gauge("power_watts").clear(reading.rail, reading.source)
                continue
            self._metrics.gauge("power_watts").set(reading.power_w, reading.rail, reading.source)
            energy = self._metrics.counter("energy_joules_total")
            energy.inc(reading.energy_j, reading.rail, reading.source)

    def close(self) -> None:
        self._stack.close()


def package_version() -> str:
    try:
        return version("eftraind")
    except PackageNotFoundError:
        return "unknown"
