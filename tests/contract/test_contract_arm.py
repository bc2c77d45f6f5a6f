"""The contract on ARM, emulated, wherever the cross compilers and qemu are installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "arm"
TOOLS = {
    "aarch64": ("aarch64-linux-gnu-g++", "qemu-aarch64"),
    "armv7": ("arm-linux-gnueabihf-g++", "qemu-arm"),
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("machine", TOOLS)
def test_the_contract_holds_on_arm(machine: str) -> None:
    if missing := [tool for tool in TOOLS[machine] if not shutil.which(tool)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    command = [sys.executable, str(SCRIPT), machine]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 do not" in done.stdout


def test_a_machine_without_the_tools_is_told_so() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/nowhere"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("not installed") == len(TOOLS)
