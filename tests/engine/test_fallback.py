"""A board that cannot be opened: refused, or the cpu stands in where the configuration says so."""

import importlib.util

import pytest
from enginerig import Rig, configuration, whole_device

from eftraind import config
from eftraind.errors import ConfigError, DeviceUnavailable

NO_PYNQ = importlib.util.find_spec("pynq") is None


@pytest.mark.skipif(not NO_PYNQ, reason="pynq is installed")
def test_without_pynq_an_emulated_board_says_what_to_install(tmp_path):
    with pytest.raises(DeviceUnavailable, match=r"pip install 'eftraind\[emu\]'"):
        Rig(tmp_path, device={"kind": "emulated-board"})


@pytest.mark.parametrize("kind", ["board", "emulated-board"])
def test_the_cpu_stands_in_loudly(tmp_path, caplog, kind):
    whole_device("cpu")
    manifest = str(tmp_path / "none.json")
    rig = Rig(tmp_path, device={"kind": kind, "manifest": manifest, "fallback": "cpu"})
    assert rig.engine.status()["device"]["name"] == "cpu"
    assert "the cpu stands in" in caplog.text
    assert rig.value("device_fallback") == 1


def test_a_board_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="without a bitstream"):
        Rig(tmp_path, device={"kind": "board"})


def test_fallback_is_off_unless_asked_for(tmp_path):
    assert configuration(tmp_path).device.fallback == "none"
    with pytest.raises(ConfigError, match="one of: none, cpu"):
        config.from_mapping({"device": {"fallback": "csim"}})
