"""`eftraind load-overlay` with a stand-in for pynq: each failure is one line with its remedy."""

import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from eftraind import cli
from eftraind.accel.board import overlay
from eftraind.errors import ConfigError, DeviceUnavailable


class StandIn(types.ModuleType):
    """pynq, as far as loading goes: programs `manager`, or fails as the real one would."""

    def __init__(self, manager: Path, fault: Exception | None = None) -> None:
        super().__init__("pynq")
        self._manager, self._fault = manager, fault
        self.loaded: list[str] = []

    def Overlay(self, path: str) -> None:
        if self._fault is not None:
            raise self._fault
        assert os.environ["XILINX_XRT"]
        self.loaded.append(path)
        (self._manager / "state").write_text("operating\n")


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    manager = tmp_path / "sys/class/fpga_manager/fpga0"
    manager.mkdir(parents=True)
    (manager / "state").write_text("unknown\n")
    for name in ("a.bit", "a.hwh"):
        (tmp_path / name).touch()
    pynq = StandIn(manager)
    monkeypatch.setitem(sys.modules, "pynq", pynq)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("XILINX_XRT", raising=False)
    return tmp_path, pynq


def test_it_loads(board: Any) -> None:
    path, pynq = board
    assert overlay.load(path / "a.bit", path / "sys") == "operating"
    assert pynq.loaded == [str(path / "a.bit")]


def test_each_failure_is_named(board: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pynq = board
    with pytest.raises(ConfigError, match=r"no .*b\.bit"):
        overlay.load(path / "b.bit", path / "sys")
    (path / "b.bit").touch()
    with pytest.raises(ConfigError, match=r"no .*b\.hwh"):
        overlay.load(path / "b.bit", path / "sys")
    with pytest.raises(DeviceUnavailable, match="no FPGA"):
        overlay.load(path / "a.bit", path / "nothing")
    pynq._fault = RuntimeError("No Devices Found")
    with pytest.raises(DeviceUnavailable, match="RuntimeError: No Devices Found"):
        overlay.load(path / "a.bit", path / "sys")
    pynq._fault = None
    pynq.Overlay = lambda given: None  # type: ignore[method-assign]
    with pytest.raises(DeviceUnavailable, match="state 'unknown'"):
        overlay.load(path / "a.bit", path / "sys")
    monkeypatch.setitem(sys.modules, "pynq", None)
    with pytest.raises(DeviceUnavailable, match="image"):
        overlay.load(path / "a.bit", path / "sys")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(DeviceUnavailable, match="needs root"):
        overlay.load(path / "a.bit", path / "sys")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("")
    assert cli.main(["load-overlay", "--config", str(config)]) == 0
    assert "nothing to load" in capsys.readouterr().out
    config.write_text("device: {overlay: /none.bit}")
    assert cli.main(["load-overlay", "--config", str(config)]) == 78
    assert capsys.readouterr().err.count("\n") == 1
