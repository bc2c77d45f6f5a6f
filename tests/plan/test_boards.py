"""Boards: the shipped files load, and a bad one is refused by the name of its key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from eftraind import boards
from eftraind.errors import ConfigError


@pytest.mark.parametrize("name", boards.names())
def test_a_shipped_board_loads_and_says_where_its_figures_come_from(name: str) -> None:
    board = boards.load(name)
    assert board.name == name
    for section in (board.fabric, board.ports, board.memory, board.clocks):
        assert len(section.source) > 10
    assert board.clocks.mhz == tuple(sorted(board.clocks.mhz))


def test_the_boards_of_the_paper_hold_what_its_percentages_say() -> None:
    """1315 DSP are 52.2 % and 787 BRAM 86.3 % of a ZCU102; 212 are 96.4 % and 123 87.9 % of a
    PYNQ-Z1 (EF-Train, tables 7 and 8)."""
    zcu102, pynq = boards.load("zcu102").fabric, boards.load("pynq-z1").fabric
    assert round(1315 / zcu102.dsp, 3) == 0.522 and round(787 / zcu102.bram36, 3) == 0.863
    assert round(212 / pynq.dsp, 3) == 0.964 and round(123 / pynq.bram36, 3) == 0.879


def changed(tmp_path: Path, path: str, value: Any) -> Path:
    data = yaml.safe_load((boards.SHIPPED / "zcu102.yaml").read_text())
    *parents, key = path.split(".")
    node = data
    for parent in parents:
        node = node[parent]
    if value is None:
        del node[key]
    else:
        node[key] = value
    file = tmp_path / "zcu102.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("fabric.dps", 1, "unknown key fabric.dps (did you mean fabric.dsp?)"),
        ("fabric.dsp", None, "fabric.dsp is missing (give DSP slices)"),
        ("fabric.dsp", 0, "fabric.dsp is 0 (from 1 to 100000)"),
        ("fabric.dsp", "many", "fabric.dsp is"),
        ("ports", None, "ports is missing"),
        ("ports.width_bits", 100, "whole 32-bit words"),
        ("memory.usable_share", 1.5, "memory.usable_share is 1.5"),
        ("memory.cma_mib", 1 << 20, "more than size_mib"),
        ("clocks.mhz", [], "at least one number"),
        ("budget", {"lut": 1.5}, "budget.lut is 1.5 (from 0.01 to 1)"),
        ("budget", {"luts": 0.5}, "unknown key budget.luts (did you mean budget.lut?)"),
        ("family", "versal", "one of: zynq7000, zynqmp"),
        ("name", "zcu1002", "call it 'zcu102'"),
    ],
)
def test_a_bad_board_is_refused(tmp_path: Path, path: str, value: Any, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        boards.load(str(changed(tmp_path, path, value)))
    assert complaint in str(caught.value)


def test_an_unknown_board_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        boards.load("zcu103")
    assert all(name in str(caught.value) for name in ("did you mean", *boards.names()))
