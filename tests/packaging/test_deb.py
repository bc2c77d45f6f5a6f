"""The Debian package, built and unpacked: what is in it, and that it runs."""

import os
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from distributions import ROOT, Dist, base_python

HOME = "usr/lib/eftraind"


def run(*command: object, **given: str) -> str:
    env = {**os.environ, **given}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=env, cwd="/", timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def package(dist: Dist, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    out = tmp_path_factory.mktemp("deb")
    return Path(run(ROOT / "scripts" / "deb", out, EFTRAIND_WHEEL=str(dist.wheel)).strip())


@pytest.fixture(scope="module")
def tree(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package unpacked, its control files in DEBIAN."""
    tree = tmp_path_factory.mktemp("tree")
    run("dpkg-deb", "--raw-extract", package, tree)
    return tree


pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # it compiles the native libraries


def test_fields_and_conffiles(package: Path, tree: Path, dist: Dist) -> None:
    lines = run("dpkg-deb", "--field", package).splitlines()
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    assert fields["Version"] == version("eftraind")
    named = re.search(r"manylinux_2_(\d+)_", dist.wheel.name)
    assert named is not None and f"libc6 (>= 2.{named[1]})" in fields["Depends"]
    assert "python3-zmq" in fields["Depends"] and fields["Architecture"] != "all"
    assert (tree / "DEBIAN/conffiles").read_text() == "/etc/eftraind/config.yaml\n"
    assert (tree / "etc/eftraind/config.yaml").read_text() == (
        ROOT / "configs/default.yaml"
    ).read_text()


def test_units_start_the_package_and_nothing_starts_by_itself(tree: Path) -> None:
    units = tree / "usr/lib/systemd/system"
    text = (units / "eftraind-front.service").read_text()
    assert f"/{HOME}/bin/python" in text and "/etc/eftraind/config.yaml" in text
    assert not list(tree.rglob("*.wants")), "nothing is enabled"
    for name in ("postinst", "prerm", "postrm"):
        commands = (tree / "DEBIAN" / name).read_text().partition("set -e")[2]
        assert "enable --now" not in commands and " start" not in commands


def test_removing_leaves_what_was_learnt(tree: Path) -> None:
    script = (tree / "DEBIAN/postrm").read_text()
    assert "/var/lib/eftraind" in script.partition("= purge")[2]
    assert "/var/lib/eftraind" not in script.partition("= purge")[0]


def test_nothing_tells_where_it_was_built(tree: Path) -> None:
    for path in tree.rglob("*"):
        if path.is_file() and path.suffix != ".so":
            assert str(ROOT).encode() not in path.read_bytes(), path


def test_the_unpacked_tree_runs(tree: Path, libraries: Path) -> None:
    """By its own commands, in a root that holds it; numpy and zmq are this environment's, in the
    place of Debian's."""
    wrapper = (tree / "usr/bin/eftraind").read_text()
    python = (tree / HOME / "bin/python").read_text()
    assert f"/{HOME}/bin/python" in wrapper and f"/{HOME}/python" in python
    for script, text in (("usr/bin/eftraind", wrapper), (f"{HOME}/bin/python", python)):
        moved = text.replace(f"/{HOME}", str(tree / HOME))
        (tree / script).write_text(moved.replace("/usr/bin/python3", base_python()))
    eftraind, here = tree / "usr/bin/eftraind", {"PYTHONPATH": str(libraries)}
    code = "import eftraind; print(eftraind.__file__)"
    assert run(tree / HOME / "bin/python", "-c", code, **here).startswith(str(tree))
    assert run(eftraind, "version", **here).strip() == version("eftraind")
    config = tree / "etc/eftraind/config.yaml"
    assert "good" in run(eftraind, "check-config", "--config", config, **here)
    assert run(eftraind, "plan", "--network", "lenet5", "--board", "pynq-z2", **here)
