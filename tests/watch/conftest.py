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
            scrapes = "count_over_time(eftraind_weights_version[10m]) > 4"
            watchrig.until(lambda: prometheus.query(scrapes), 60.0, "scrapes")
            yield prometheus, daemon
        finally:
            prometheus.close()
