"""What the planner designs for each board, as far as the sources go (`--kernel hls`): its build
description becomes a header that the kernel compiles with, and a kernel so sized is right."""

import subprocess
import sys
from pathlib import Path

import pytest
from test_hls_sim import ROOT, need

from eftraind import boards
from eftraind.accel import kernel

STRICT = ["g++", "-std=c++14", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"]
STRICT += ["-Wno-unused-label", "-Wno-unused-function"]


def design(board: str, folder: Path) -> Path:
    """The folder of build.h and facts.tcl, by the commands of vendor/bit.sh."""
    target = folder / "build.json"
    command = [sys.executable, "-m", "eftraind", "plan", "--network", "cifar1x", "--kernel", "hls"]
    command += ["--board", board, "--build-description", str(target)]
    subprocess.run(command, check=True, capture_output=True, timeout=100, cwd=ROOT)
    return kernel.write_board(target)


def include(*folders: Path) -> list[str]:
    return [word for folder in folders for word in ("-iquote", str(folder))]


@pytest.mark.parametrize("board", boards.names())
def test_the_kernel_compiles_with_every_board_s_design(board: str, tmp_path: Path) -> None:
    need("g++")
    header = design(board, tmp_path)
    source = ROOT / "hls" / "src"
    command = [*STRICT, "-fsyntax-only", *include(source, header), str(source / "eftrain.cpp")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("board", ["pynq-z2", "zcu102"])
def test_a_board_s_design_convolves_bit_for_bit(board: str, tmp_path: Path) -> None:
    need("g++")
    header, hls = design(board, tmp_path), ROOT / "hls"
    files = [str(hls / "src" / "eftrain.cpp"), str(hls / "sim" / "test_conv.cpp")]
    command = [*STRICT, "-O1", "-DEFT_WATCH", *include(hls / "src", hls / "sim", header), *files]
    subprocess.run([*command, "-o", str(tmp_path / "test")], check=True, timeout=100)
    done = subprocess.run(
        [tmp_path / "test"], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "156 convolutions bit for bit" in done.stdout
