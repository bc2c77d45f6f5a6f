"""The vendor flow as far as it can be held to anything without the vendor's tools.

The real make, shell and Tcl run; Vivado and Vitis HLS are stand-ins that know the documented
commands and record the calls. That the real tools accept them is not shown here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from eftraind import boards, registers
from eftraind.accel.board.device import IP
from eftraind.bitstream.seal import placed_of, seal
from eftraind.boards.manifest import check_files, load_manifest
from eftraind.errors import ConfigError
from eftraind.plan import build
from eftraind.plan.design import Design

HLS = Path(__file__).parents[2] / "hls"
SCRIPTS = sorted((HLS / "vendor").iterdir())
BOARDS = ("pynq-z1", "pynq-z2", "zcu102", "zcu104", "kv260")
REPORT = """
| Copyright 1986-2022 Xilinx, Inc. All Rights Reserved. |
|          Site Type         |  Used | Fixed | Prohibited | Available | Util% |
| {fabric} LUTs*             | 41000 |     0 |          0 |     53200 | 77.07 |
|   LUT as Logic             | 40000 |     0 |          0 |     53200 | 75.19 |
| {fabric} Registers         | 52000 |     0 |          0 |    106400 | 48.87 |
| Block RAM Tile             | 100.5 |     0 |          0 |       140 | 71.79 |
|   RAMB36/FIFO*             |    90 |     0 |          0 |       140 | 64.29 |
| DSPs                       |   192 |     0 |          0 |       220 | 87.27 |
"""

needs_tcl = pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh is not installed")

# Clock and reset inputs of the IPs, and their buses: PG247, PG099, PG121, PG164, PG082, PG201.
CLOCKED = {
    "smartconnect": {"aclk"},
    "axi_intc": {"s_axi_aclk"},
    "proc_sys_reset": {"slowest_sync_clk"},
    "c_counter_binary": {"CLK"},
    "eftrain": {"ap_clk"},
    "processing_system7": {"M_AXI_GP0_ACLK", *(f"S_AXI_HP{n}_ACLK" for n in range(4))},
    "zynq_ultra_ps_e": {"maxihpm0_fpd_aclk", *(f"saxihp{n}_fpd_aclk" for n in range(4))},
}
RESET = {"smartconnect": "aresetn", "axi_intc": "s_axi_aresetn", "eftrain": "ap_rst_n"}
MEMORY = {
    "processing_system7": [f"S_AXI_HP{n}" for n in range(4)],
    "zynq_ultra_ps_e": [f"S_AXI_HP{n}_FPD" for n in range(4)],
}
REGISTERS = {"processing_system7": "M_AXI_GP0", "zynq_ultra_ps_e": "M_AXI_HPM0_FPD"}


class Flow:
    """`make bit` in a directory of its own, with stand-ins first in PATH."""

    def __init__(self, box: Path, board: str, tools: tuple[str, ...], **settings: str) -> None:
        self.box, self.board = box, board
        programs = box / "bin"
        programs.mkdir()
        for tool in tools:
            script = '#!/bin/sh\nfor last; do :; done\necho "$0" "$@" >> "$EFT_RECORD.tools"\n'
            (programs / tool).write_text(f'{script}exec tclsh {STUB} "$last"\n')
            (programs / tool).chmod(0o755)
        (box / "report.txt").write_text(REPORT.format(fabric=settings.pop("fabric", "CLB")))
        self.environ = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "EFT_RECORD": str(box / "record"),
            "EFT_UTILIZATION": str(box / "report.txt"),
            "EFT_PROGRESS": "100%",
            "EFT_SLACK": "0.012",
            **settings,
        }

    def make(self) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["make", "-C", HLS, f"BOARD={self.board}", f"OUT={self.box}", "bit",
             f"PYTHON={sys.executable}", f"BITSTREAMS={self.box / 'bitstreams'}"],
            env=self.environ, capture_output=True, text=True, timeout=100,
        )  # fmt: skip

    @property
    def calls(self) -> list[list[str]]:
        lines = (self.box / "record").read_text().splitlines()
        return [line.split("\x1f") for line in lines]


STUB = Path(__file__).parent / "vendor_stub.tcl"
TOOLS = ("vivado", "vitis-run")


def wired(calls: list[list[str]], command: str) -> list[tuple[str, str]]:
    return [(call[1], call[2]) for call in calls if call[0] == command]


def interfaces() -> tuple[dict[str, str], set[str], set[str]]:
    """The top function's ports as its pragmas say: master port -> bundle, arguments among the
    registers, wires."""
    text = (HLS / "src" / "eftrain.cpp").read_text()
    pragmas = re.findall(r"HLS\(INTERFACE (\w+) port=(\w+)(?:.*?bundle=(\w+))?", text)
    masters = {port: bundle for kind, port, bundle in pragmas if kind == "m_axi"}
    lite = {port for kind, port, bundle in pragmas if kind == "s_axilite" and bundle == "control"}
    wires = {port for kind, port, _ in pragmas if kind == "ap_none"}
    assert len(pragmas) == len(masters) + len(lite) + len(wires), "an interface of another kind"
    return masters, lite, wires


@pytest.fixture(scope="module", params=BOARDS)
def built(request: Any, tmp_path_factory: Any) -> Flow:
    if shutil.which("tclsh") is None:
        pytest.skip("tclsh is not installed")
    fabric = "Slice" if request.param.startswith("pynq") else "CLB"
    flow = Flow(tmp_path_factory.mktemp("flow"), request.param, TOOLS, fabric=fabric)
    done = flow.make()
    assert done.returncode == 0, done.stdout + done.stderr
    return flow


def test_it_leaves_a_bitstream_whose_manifest_is_good(built: Flow) -> None:
    manifest = load_manifest(built.box / "bitstreams" / built.board / "eftrain.json")
    check_files(manifest)
    description = json.loads((built.box / built.board / "build.json").read_text())
    assert (manifest.t, manifest.board) == (description["t"], built.board)
    assert (manifest.clock_hz, manifest.tool) == (99_999_001, "Vivado 2024.1")
    used = manifest.resources
    assert (used.lut, used.ff, used.dsp, used.bram36, used.uram) == (41000, 52000, 192, 100.5, 0)


def test_the_tools_are_called_as_their_guides_say(built: Flow) -> None:
    hls, vivado = (built.box / "record.tools").read_text().splitlines()
    assert re.search(r"/vitis-run --mode hls --tcl \S+/hls.tcl$", hls)
    assert re.search(r"/vivado -mode batch .*-source \S+/vivado.tcl$", vivado)


def test_part_clock_and_widths_are_those_of_the_board_s_file(built: Flow) -> None:
    board = boards.load(built.board)
    clock_mhz = json.loads((built.box / built.board / "build.json").read_text())["clock_mhz"]
    calls = built.calls
    assert ["set_part", board.part] in calls
    assert next(c for c in calls if c[0] == "create_project")[2:4] == ["-part", board.part]
    (period,) = [call[2] for call in calls if call[0] == "create_clock"]
    assert float(period) == pytest.approx(1000 / clock_mhz, abs=1e-3)
    settings = next(c for c in calls if c[0] == "set_property" and c[-1] == "ps")[2].split()
    values = dict(zip(settings[::2], settings[1::2], strict=True))
    widths = {int(v) for k, v in values.items() if k.endswith("DATA_WIDTH")}
    assert widths == {board.ports.width_bits}
    (asked,) = [v for k, v in values.items() if re.search(r"(FPGA0|PL0).*FREQMHZ$", k)]
    assert float(asked) == clock_mhz


def test_every_port_of_the_kernel_is_connected_once(built: Flow) -> None:
    masters, lite, wires = interfaces()
    expected = {f"m_axi_{bundle}" for bundle in masters.values()} | {"s_axi_control"}
    expected |= wires | {"interrupt", "ap_clk", "ap_rst_n"}
    ends = [end for kind in ("connect_bd_net", "connect_bd_intf_net")
            for pair in wired(built.calls, kind) for end in pair]  # fmt: skip
    found = [end.removeprefix("eftrain_0/") for end in ends if end.startswith("eftrain_0/")]
    assert sorted(found) == sorted(expected)
    assert lite == {name for name, _ in registers.ARGUMENTS} | {"return"}


def test_clocks_resets_and_buses_of_the_design(built: Flow) -> None:
    calls = built.calls
    cells = {call[-1]: call[4].split(":")[2] for call in calls if call[0] == "create_bd_cell"}
    assert cells[IP] == "eftrain", "the board device looks for this name"
    buses, wires = wired(calls, "connect_bd_intf_net"), wired(calls, "connect_bd_net")
    clocks = Counter(to for start, to in wires if start in ("ps/FCLK_CLK0", "ps/pl_clk0"))
    assert clocks == {f"{cell}/{pin}": 1 for cell, kind in cells.items() for pin in CLOCKED[kind]}
    resets = Counter(to for start, to in wires if start == "reset/peripheral_aresetn")
    assert resets == {f"{c}/{RESET[kind]}": 1 for c, kind in cells.items() if kind in RESET}

    ends = Counter(end for pair in buses for end in pair)
    assert set(ends.values()) == {1}
    after = dict(buses)
    memory = [after[after[f"eftrain_0/m_axi_{name}"].replace("S00", "M00")]
              for name in interfaces()[0].values()]  # fmt: skip
    assert sorted(memory) == [f"ps/{port}" for port in MEMORY[cells["ps"]]]
    assert after[f"ps/{REGISTERS[cells['ps']]}"] == "registers/S00_AXI"
    slaves = {after["registers/M00_AXI"], after["registers/M01_AXI"]}
    assert slaves == {"eftrain_0/s_axi_control", "interrupts/s_axi"}
    interrupt = {"processing_system7": "ps/IRQ_F2P", "zynq_ultra_ps_e": "ps/pl_ps_irq0"}
    assert ("eftrain_0/interrupt", "interrupts/intr") in wires
    assert ("interrupts/irq", interrupt[cells["ps"]]) in wires
    assert ("cycles/Q", "eftrain_0/clock") in wires
    names = [call[0] for call in calls]
    order = ["assign_bd_address", "validate_bd_design", "launch_runs", "write_bitstream"]
    assert [name for name in names if name in order] == order


def test_what_the_host_is_told_to_expect_of_the_kernel(built: Flow) -> None:
    header = (built.box / built.board / "build.h").read_text()
    both = int(registers.Feature.COUNTER | registers.Feature.ADAM)
    assert f"FEATURES = {both};" in header, "a counter is connected, so the kernel must say so"
    (files,) = [call for call in built.calls if call[0] == "add_files" and call[1] != "-norecurse"]
    assert Path(files[1]).samefile(HLS / "src" / "eftrain.cpp") and "-ffp-contract=off" in files[3]
    assert Path(files[3].split("-I")[-1]).samefile(built.box / built.board)


@needs_tcl
@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"EFT_SLACK": "-0.2"}, "timing is not met (max delay, slack -0.2 ns)"),
        ({"EFT_PROGRESS": "40%"}, "implementation failed"),
        ({"fabric": "Tile"}, "no row CLB LUTs or Slice LUTs"),
    ],
)
def test_a_build_that_failed_leaves_no_bitstream(
    tmp_path: Path, settings: dict[str, str], complaint: str
) -> None:
    done = Flow(tmp_path, "pynq-z2", TOOLS, **settings).make()
    assert done.returncode != 0 and complaint in done.stderr
    assert not list((tmp_path / "bitstreams").glob("*/*"))


@needs_tcl
def test_the_older_tool_serves_where_it_is_the_one_installed(tmp_path: Path) -> None:
    flow = Flow(tmp_path, "pynq-z2", ("vivado", "vitis_hls"), fabric="Slice")
    assert flow.make().returncode == 0
    assert "/vitis_hls -f " in (tmp_path / "record.tools").read_text()


@pytest.mark.parametrize(
    ("tools", "complaint"),
    [((), "no vivado"), (("vivado",), "no vitis-run or vitis_hls")],
)
def test_without_the_tools_it_says_what_to_install(
    tmp_path: Path, tools: tuple[str, ...], complaint: str
) -> None:
    done = Flow(tmp_path, "pynq-z2", tools).make()
    assert done.returncode != 0
    assert f"{complaint}: install AMD Vitis (with Vivado), 2022.1 or later" in done.stderr


def test_without_a_board_it_asks_for_one() -> None:
    done = subprocess.run(["make", "-C", HLS, "bit"], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "make BOARD=pynq-z2 bit" in done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_each_script_says_first_that_it_has_never_run(script: Path) -> None:
    first, second = script.read_text().splitlines()[:2]
    assert "Never run by us" in (second if first.startswith("#!") else first)


def test_a_report_without_a_row_is_refused_not_filled_in() -> None:
    text = REPORT.format(fabric="Slice").replace("| DSPs", "| Others")
    with pytest.raises(ConfigError, match=r"utilization.txt has no row DSPs"):
        placed_of(text)


def test_what_hls_cannot_be_built_as_is_not_sealed(tmp_path: Path) -> None:
    wide = Design(16, 32, 16, 1, 200.0, "fulldsp", "fulldsp", "fabric", 2048, 1024, 256, 8, 8, 8)
    text = build.to_json(build.describe(wide, boards.load("zcu102")))
    (tmp_path / "build.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"array_m is 32.*--kernel hls"):
        seal(tmp_path, tmp_path / "sealed")
    assert not (tmp_path / "sealed").exists()
