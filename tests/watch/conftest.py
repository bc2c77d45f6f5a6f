"""A real daemon that learns, and a Prometheus that watches one."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "system"))

import watchrig


@pytest.fixture
def learning(tmp_path: Path) -> Iterator[Any]:
    with watchrig.learning_daemon(tmp_path / "sys") as daemon:
        yield daemon


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[watchrig.Prometheus, Any]]:
    """A Prometheus that has scraped a daemon that learns a few times, and the daemon."""
    if watchrig.PROMETHEUS is None:
        pytest.skip("prometheus is not installed (Debian: prometheus)")
    with watchrig.learning_daemon(tmp_path_factory.mktemp("sys") / "sys") as daemon:
        port = daemon.status()["endpoints"]["metrics_port"]
        prometheus = watchrig.Prometheus(tmp_path_factory.mktemp("prometheus"), port)
        try:
            seen = "eftraind_weights_swaps_total and on() count_over_time(up[10m]) > {}"
            watchrig.until(lambda: prometheus.query(seen.format(2)), 60.0, "scrapes")
            watchrig.work(daemon, "lidar")  # what changes is changed before its eyes
            scrapes = prometheus.query("count_over_time(up[10m])")[0]["value"][1]
            later = seen.format(int(scrapes) + 2)
            watchrig.until(lambda: prometheus.query(later), 60.0, "more scrapes")
            yield prometheus, daemon
        finally:
            prometheus.close()
