"""Tests that run where pynq is installed: see ../test_board_in_pynq.py, which makes such places."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eftraind.accel.board.device import BoardDevice
from eftraind.accel.emu.logic import Faults
from eftraind.accel.emu.opening import open_emulated
from eftraind.clock import Clock

sys.path.append(str(Path(__file__).parents[2] / "system"))  # realdaemon

pynq = pytest.importorskip("pynq")
DESIGNS = ("ultrascale",) if pynq.__version__ >= "4" else ("zynq", "ultrascale")
"""pynq 4.0 has dropped Zynq-7000."""

Open = Callable[..., tuple[BoardDevice, Any]]


@pytest.fixture(params=DESIGNS)
def design(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def open_board(design: str, tmp_path: Path) -> Iterator[Open]:
    """Opens one board; what it leaves open is closed."""
    with contextlib.ExitStack() as stack:

        def opened(faults: Faults | None = None, **given: Any) -> tuple[BoardDevice, Any]:
            found = open_emulated(design, work_dir=tmp_path, clock=Clock(), faults=faults, **given)
            stack.callback(found[0].close)
            return found

        yield opened


