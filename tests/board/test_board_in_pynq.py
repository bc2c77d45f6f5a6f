"""Runs the tests of `inside` and the contract suite where pynq is installed.

pynq wants numpy below 2 and Pythons of its own, so it cannot live in this environment: one is made
for it and kept. By default the first that this machine can make; EFTRAIND_PYNQ=all takes every one.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
INSIDE = Path(__file__).parent / "inside"
PYNQS = {"3.1.2": ("3.10",), "3.0.1": ("3.10",), "4.0.0": ("3.11", "3.12")}
"""Version of pynq: Pythons that it is made for (3.x) or installs on (4.0)."""
NEEDS = ("pycparser<3", "numpy<2", "pyzmq", "PyYAML", "prometheus-client", "safetensors")
TOOLS = ("pytest>=8", "pytest-timeout", "hypothesis")


def python_of(versions: tuple[str, ...]) -> str | None:
    """A Python of one of these versions that starts; shims that stand for nothing do not."""
    for version in versions:
        candidates = [shutil.which(f"python{version}"), *map(str, pyenvs(version))]
        for path in filter(None, candidates):
            code = f"import sys, venv; sys.exit('{version}' != '%d.%d' % sys.version_info[:2])"
            if subprocess.run([path, "-c", code], capture_output=True).returncode == 0:
                return path
    return None


def pyenvs(version: str) -> list[Path]:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return sorted(root.glob(f"versions/{version}.*/bin/python"))


def environment(version: str) -> Path:
    """Its interpreter; made once. Skips, saying what is missing."""
    box = ROOT / f".venv-pynq-{version}"
    ready = box / "ready"
    with (ROOT / f".venv-pynq-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            base = python_of(PYNQS[version])
            if base is None:
                pytest.skip(f"pynq {version} needs Python {' or '.join(PYNQS[version])}")
            subprocess.run([base, "-m", "venv", "--clear", box], check=True, capture_output=True)
            pip = [box / "bin/python", "-m", "pip", "install", "-q", f"pynq=={version}"]
            # without it pynq compiles for a board, which this machine is not
            made = subprocess.run(
                [*pip, *NEEDS, *TOOLS],
                env={**os.environ, "PYNQ_REMOTE": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode:
                pytest.skip(f"pynq {version} cannot be installed: {made.stderr.strip()[-300:]}")
            ready.touch()
    return box / "bin/python"


def chosen() -> list[str]:
    wanted = os.environ.get("EFTRAIND_PYNQ", "first")
    found = [version for version, pythons in PYNQS.items() if python_of(pythons)]
    return list(PYNQS) if wanted == "all" or not found else found[:1]


@pytest.mark.slow
@pytest.mark.timeout(600)  # the environment is made here, once
@pytest.mark.parametrize("version", chosen())
def test_inside(version: str) -> None:
    python = environment(version)
    suite = ROOT / "tests" / "contract"
    elsewhere = ("native", "arm")  # of other devices only
    contract = [suite, *(f"--ignore={suite}/test_contract_{name}.py" for name in elsewhere)]
    configs = ROOT / "tests" / "service" / "test_cli.py"
    shipped = f"{configs}::test_each_shipped_configuration_starts[emulated-board]"
    run = subprocess.run(
        [python, "-m", "pytest", "-q", "-o", "addopts=", "-o", "filterwarnings=default",
         "-p", "no:cacheprovider", INSIDE, *contract, shipped],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "EFTRAIND_CONTRACT": "board"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert " passed" in run.stdout


def test_these_tests_do_not_run_without_pynq_here() -> None:
    """The folder is skipped as a whole, so that no warning of pynq's reaches the others."""
    code = [sys.executable, "-m", "pytest", "-q", "--collect-only", str(INSIDE.parent)]
    listed = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert "inside/test_board" not in listed and "test_inside" in listed
