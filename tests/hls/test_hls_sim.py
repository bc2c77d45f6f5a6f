"""The kernel's own unit tests, by `make -C hls sim`, and that they can fail."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from eftraind.accel import kernel

ROOT = Path(__file__).parents[2]


def need(*tools: str) -> None:
    if missing := [tool for tool in tools if not shutil.which(tool)]:
        pytest.skip(f"not installed: {', '.join(missing)}")


def make(target: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-C", str(ROOT / "hls"), f"OUT={target}", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "MAKEFLAGS": ""},
    )


@pytest.mark.parametrize("path", sorted(kernel.headers()), ids=lambda path: f"{path.parent.name}")
def test_headers_are_generated_from_the_declarations(path: Path) -> None:
    assert path.read_text() == kernel.headers()[path], "run python -m eftraind.accel.kernel headers"


def test_unit_tests_pass_with_small_buffers(tmp_path: Path) -> None:
    need("make", "g++")
    done = make(tmp_path, "-j2", "sim", "BUILDS=small")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "156 convolutions bit for bit" in done.stdout


@pytest.mark.parametrize(
    ("name", "before", "after", "complaint"),
    [
        ("array.h", "Adders<0, T>::sum(outer", "products[0] + Adders<0, T>::sum(outer", "word"),
        ("array.h", "if (n * taps < REVISIT) n *= 2;", "", "used at iterations"),
        ("geometry.h", "return most(area, REVISIT);", "return area + 1;", "used at iterations"),
    ],
    ids=["sum", "partials", "padding"],
)
def test_a_planted_fault_is_found(
    tmp_path: Path, name: str, before: str, after: str, complaint: str
) -> None:
    need("g++")
    shutil.copytree(ROOT / "hls", tmp_path / "hls", ignore=shutil.ignore_patterns("build"))
    source = tmp_path / "hls" / "src" / name
    text = source.read_text()
    assert before in text
    source.write_text(text.replace(before, after))
    command = ["g++", "-std=c++14", "-O1", "-w", "-ffp-contract=off", "-DEFT_WATCH"]
    for folder in ("src", "sim", "boards/small"):
        command += ["-iquote", str(tmp_path / "hls" / folder)]
    files = [str(tmp_path / "hls" / path) for path in ("src/eftrain.cpp", "sim/test_conv.cpp")]
    subprocess.run([*command, *files, "-o", str(tmp_path / "test")], check=True, timeout=120)
    done = subprocess.run([tmp_path / "test"], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and complaint in done.stderr
