"""The source distribution and the wheel made of it: what is in them, and that the wheel works where
there is neither checkout nor compiler."""

import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from distributions import ROOT, Dist, base_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # they compile the native libraries


@pytest.fixture(scope="module")
def home(dist: Dist, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked by pip."""
    home = tmp_path_factory.mktemp("home")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", home, dist.wheel], check=True, capture_output=True)
    return home


@pytest.fixture
def env(home: Path, libraries: Path, tmp_path: Path) -> dict[str, str]:
    """No compiler, no shell, nothing on the path."""
    path = {"PATH": str(tmp_path / "nothing"), "PYTHONPATH": f"{home}:{libraries}"}
    return {**{k: v for k, v in os.environ.items() if k != "CXX"}, **path}


def run(env: dict[str, str], *arguments: object) -> str:
    done = subprocess.run(
        [base_python(), *map(str, arguments)],
        capture_output=True, text=True, env=env, cwd="/", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_version_everywhere(dist: Dist, env: dict[str, str]) -> None:
    written = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert written is not None
    told = written[1]
    assert dist.sdist.name == f"eftraind-{told}.tar.gz"
    assert dist.wheel.name.startswith(f"eftraind-{told}-py3-none-manylinux_2_")
    assert dist.wheel.name.endswith(f"_{platform.machine()}.whl")
    assert version("eftraind") == told
    assert run(env, "-m", "eftraind", "--version").strip() == told
    newest = re.search(r"^## .*?(\d+\.\d+\.\d+)", (ROOT / "docs/CHANGELOG.md").read_text(), re.M)
    assert newest is not None and newest[1] == told


def test_the_glibc_that_the_tag_names_is_the_one_it_needs(dist: Dist) -> None:
    """Against what the libraries themselves say, as text: GLIBC_2.X in their symbol versions."""
    named = re.search(r"manylinux_2_(\d+)_", dist.wheel.name)
    with zipfile.ZipFile(dist.wheel) as wheel:
        libraries = [wheel.read(name) for name in wheel.namelist() if name.endswith(".so")]
    needed = {int(m) for data in libraries for m in re.findall(rb"GLIBC_2\.(\d+)\0", data)}
    assert named is not None and len(libraries) == 3 and max(needed) == int(named[1])


def test_the_source_has_what_the_readme_needs(dist: Dist) -> None:
    """Every file that git tracks is in it, and nothing that was built."""
    with tarfile.open(dist.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "-C", ROOT, "ls-files"], check=True, capture_output=True, text=True
        ).stdout.split("\n")
        assert {name for name in listed if name} - names <= {".gitignore"}
    made = {name for name in names if re.search(r"\.(so|pyc|o|new)$", name)}
    assert not made
    for script in ("scripts/demo", "scripts/test"):
        assert script in names


def test_the_wheel_has_the_modules_and_no_more(dist: Dist) -> None:
    with zipfile.ZipFile(dist.wheel) as wheel:
        names = wheel.namelist()
        text = b"".join(wheel.read(name) for name in names if not name.endswith(".so"))
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "eftraind").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}
    assert {name.partition("/")[0] for name in names} == {
        "eftraind",
        dist.wheel.name.partition("-py3")[0] + ".dist-info",
    }
    assert str(ROOT).encode() not in text


STEP = """
import numpy as np
from eftraind import networks, params
from eftraind.accel import open_device
from eftraind.engine.offline import Course
from eftraind.isa import Hyper
from eftraind.plan.lower import Plan

graph, rng = networks.load("digits"), np.random.default_rng(0)
x = rng.integers(0, 256, (8, *graph.input.shape), dtype=np.uint8)
for kind in ("cpu", "csim", "reference"):
    course = Course(
        open_device(kind, 1), graph, Plan(8, 8), x, np.arange(8) % graph.classes,
        start=params.initial(graph, np.random.default_rng(1)), rates={Hyper.RATE: 0.1}, rng=rng,
    )
    losses = [course.step(np.arange(8))[0] for _ in range(20)]
    assert losses[-1] < losses[0], (kind, losses)
    print(kind)
"""


def test_every_device_learns_from_it(env: dict[str, str]) -> None:
    assert run(env, "-c", STEP).split() == ["cpu", "csim", "reference"]


@pytest.fixture
def daemon(env: dict[str, str], tmp_path: Path) -> Iterator[Path]:
    """A daemon of the wheel; yields its configuration."""
    config = tmp_path / "config.yaml"
    places = {"state_dir": str(tmp_path / "state"), "run_dir": str(tmp_path)}
    config.write_text(json.dumps({**places, "metrics": {"listen": None}}))
    process = subprocess.Popen(
        [base_python(), "-m", "eftraind", "run", "--config", config],
        env=env, cwd="/", stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield config
    finally:
        process.terminate()
        assert process.wait(60) == 0


ASK = """
import sys
import numpy as np
from eftraind.client import Client

with Client(sys.argv[1], producer="wheel") as client:
    image = np.zeros((8, 8, 1), np.uint8)
    client.push(image, label=3)
    client.flush()
    print(client.infer(image).version)
"""


def test_the_daemon_runs_from_it(daemon: Path, env: dict[str, str]) -> None:
    socket = daemon.parent / "eft.sock"
    deadline_s = time.monotonic() + 60
    while not socket.exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    assert run(env, "-c", ASK, f"ipc://{socket}").strip() == "1"


def test_services_come_with_it(env: dict[str, str], tmp_path: Path) -> None:
    run(env, "-m", "eftraind", "install-service", "--render", tmp_path / "units")
    assert (tmp_path / "units" / "eftraind-front.service").exists()
