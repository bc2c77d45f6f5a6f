"""A real daemon that learns, with a power sensor made of files."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "system"))


@pytest.fixture(scope="session")
def sensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sysfs with one chip of 2.5 W."""
    root = tmp_path_factory.mktemp("sys")
    chip = root / "class" / "hwmon" / "hwmon0"
    chip.mkdir(parents=True)
    (chip / "name").write_text("ina226\n")
    (chip / "power1_input").write_text("2500000\n")
    (chip / "power1_label").write_text("VCCINT\n")
    return root


def promoted(daemon: Any) -> bool:
    """Whether weights were swapped; asks for it. The daemon says no while one is under way."""
    from eftraind.errors import EftraindError

    with contextlib.suppress(EftraindError):
        daemon.ask("promote")
        return True
    return False


@pytest.fixture
def learning(sensors: Path) -> Iterator[Any]:
    """A daemon that has swapped once, has answered predictions, and has a rail of 2.5 W."""
    from realdaemon import RealDaemon, until

    from eftraind.client import Client
    from eftraind.demo.data import load

    digits = load("digits")
    power = {"sysfs_root": str(sensors), "interval_s": 0.05, "budget_watts": 4.0}
    with RealDaemon(power=power) as daemon:
        with Client(daemon.endpoint, producer="cam") as client:
            client.push_batch(digits.x_train[:256], digits.y_train[:256])
            client.flush()
            until(lambda: daemon.status()["engine"]["steps"] > 20, what="training")
            client.infer(digits.x_test[:4], timeout_s=20.0)
            until(lambda: promoted(daemon), what="a swap")
            yield daemon
