"""What users build: the installed package, the quick start, the examples, each header alone."""

import re
import subprocess
import sys

import numpy as np
import pytest
import sdk_build
from sdk_build import ROOT, SDK, cmake, run

from eftraind.client import FakeDaemon

README = (SDK / "README.md").read_text()
WARNINGS = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"


def block(language, number=0):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)[number]


@pytest.fixture(scope="module")
def daemon():
    with FakeDaemon() as fake:
        yield fake


@pytest.fixture(scope="module")
def tools():
    if lacking := sdk_build.missing():
        pytest.skip(lacking)


@pytest.fixture(scope="module")
def prefix(tools, tmp_path_factory):
    """Where the package is installed."""
    folder = tmp_path_factory.mktemp("prefix")
    run("cmake", "-S", str(SDK), "-B", str(folder / "sdk"), "-DEFTRAIND_BUILD_EXAMPLES=OFF")
    run("cmake", "--install", str(folder / "sdk"), "--prefix", str(folder))
    return folder


@pytest.fixture(scope="module")
def quick_start(tools, tmp_path_factory):
    """A user's project, as README.md has it."""
    source = tmp_path_factory.mktemp("camera")
    (source / "CMakeLists.txt").write_text(block("cmake"))
    (source / "camera.cpp").write_text(block("cpp"))
    return source


def test_the_quick_start_with_the_installed_package(quick_start, prefix, daemon, tmp_path):
    options = (f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_CXX_FLAGS={WARNINGS}")
    cmake(quick_start, tmp_path / "camera", *options)
    assert run(str(tmp_path / "camera" / "camera"), daemon.endpoint) == "2 by version 1\n"
    stored = daemon.samples("camera-left")
    assert [(item.sid, item.label) for item in stored] == [(1, 3), (2, 5)]


def test_add_subdirectory_gives_the_same_target(quick_start, tmp_path):
    """Configured only: what it compiles is what the test above compiled."""
    source = tmp_path / "source"
    source.mkdir()
    lists = block("cmake").replace(
        "find_package(eftraind 0.1 REQUIRED)", f'add_subdirectory("{SDK}" sdk)'
    )
    (source / "CMakeLists.txt").write_text(lists)
    (source / "camera.cpp").write_text(block("cpp"))
    run("cmake", "-S", str(source), "-B", str(tmp_path / "build"))
    assert "find_package" not in lists


def test_an_older_minor_version_is_not_taken_for_a_newer_one(prefix, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(block("cmake").replace("eftraind 0.1", "eftraind 9.9"))
    command = ["cmake", "-S", source, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}"]
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode != 0
    assert "9.9" in failed.stderr


def test_each_public_header_stands_alone(tools):
    """The quick start has shown it of those that eftraind.hpp includes first; all of it here in the
    next C++."""
    headers = {path.name for path in (SDK / "include" / "eftraind").glob("*.hpp")}
    for header in sorted(headers - {"client.hpp"}):
        source = f'#include "eftraind/{header}"\n#include "eftraind/{header}"\n'
        standard = "-std=c++20" if header == "eftraind.hpp" else "-std=c++17"
        command = ["g++", standard, *WARNINGS.split(), "-fsyntax-only", "-x", "c++", "-"]
        done = subprocess.run(
            [*command, f"-I{SDK}/include"], input=source, text=True, capture_output=True
        )
        assert done.returncode == 0, f"{header}:\n{done.stderr}"


def test_the_sensor_apps_do_the_same(programs, daemon):
    """The example in each language, with the same samples, labels and sids in the end."""
    found = {}
    for command in (
        [sys.executable, str(ROOT / "examples" / "sensor.py")],
        [str(programs.parent / "examples" / "sensor")],
    ):
        with FakeDaemon() as fake:
            printed = run(*command, fake.endpoint, "5")
            done, answered, late = map(int, re.findall(r"\d+", printed.splitlines()[-1]))
            assert (done, answered + late) == (5 * 17 + 1, 5)
            found[command[-1]] = fake.samples("example-sensor")
    for python, cpp in zip(*found.values(), strict=True):
        assert python[:3] == cpp[:3]
        assert np.array_equal(python.sample, cpp.sample)


def test_the_version_is_the_one_of_the_package():
    declared = re.search(r'^version = "([\d.]+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    project = re.search(r"project\(eftraind VERSION ([\d.]+)", (SDK / "CMakeLists.txt").read_text())
    assert project[1] == declared[1]


def test_the_page_names_every_call():
    public = (SDK / "include" / "eftraind" / "client.hpp").read_text().split("  private:")[0]
    for name in ("push", "push_batch", "label", "withdraw", "infer", "flush", "on_event", "stats"):
        assert re.search(rf"\b{name}\(", public) and f"`{name}(" in README


def test_files_are_short():
    sizes = {path: len(path.read_text().splitlines()) for path in SDK.glob("**/*.hpp")}
    assert max(sizes.values()) < 300, max(sizes, key=sizes.get)
    assert all(len(line) <= 100 for path in sizes for line in path.read_text().splitlines())
