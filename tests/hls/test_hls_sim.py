"""The kernel's own unit tests, by `make -C hls sim`, and that they can fail."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from eftraind import isa
from eftraind.accel import kernel
from eftraind.accel.csim import CsimDevice
from eftraind.errors import ConfigError
from eftraind.plan.build import Build, from_json, to_json
from eftraind.registers import KernelSizes

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


@pytest.mark.parametrize(
    "rest",
    [["BUILDS=small"], ["BUILDS=small3", "TESTS=geometry conv windows"]],
    ids=["1", "3 pixels"],
)
def test_unit_tests_pass_with_small_buffers(rest: list[str], tmp_path: Path) -> None:
    need("make", "g++")
    done = make(tmp_path, "-j2", "sim", *rest)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "156 convolutions bit for bit" in done.stdout
    families = ["depthwise convolution and pooling"]
    if len(rest) == 1:
        families += ["commands on elements", "sums", "losses"]
        assert "29 commands through their ports" in done.stdout
    assert all(f"{family} bit for bit" in done.stdout for family in families)


@pytest.mark.parametrize(
    ("name", "before", "after", "complaint"),
    [
        ("array.h", "= Adders<0, T>::sum(outer", "= product[0] + Adders<0, T>::sum(outer", "word"),
        ("steps.h", "if (n * taps < REVISIT) n *= 2;", "", "used too soon"),
        ("steps.h", "return most(area, REVISIT);", "return area + 1;", "used too soon"),
        ("array.h", "q / 2", "0", "read too often"),
        ("geometry.h", "outs) * PIXELS); }", "outs) * (PIXELS + 1)); }", "used too soon"),
        ("array.h", "WATCH(y, q, to, i)", "WATCH(y, 0, to, i)", "used twice in an iteration"),
    ],
    ids=["sum", "partials", "padding", "ports", "words", "banks"],
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
    for folder in ("src", "sim", "boards/small3"):
        command += ["-iquote", str(tmp_path / "hls" / folder)]
    files = [str(tmp_path / "hls" / path) for path in ("src/eftrain.cpp", "sim/test_conv.cpp")]
    subprocess.run([*command, *files, "-o", str(tmp_path / "test")], check=True, timeout=120)
    done = subprocess.run([tmp_path / "test"], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and complaint in done.stderr


DESCRIPTION = Build(
    format=1, isa_digest=isa.digest(), board="b", part="p", clock_mhz=125.0, t=8, array_m=8,
    array_n=8, pixels=3, feature_depth=640, output_depth=500, weight_tiles=48, revisit=11,
    feature_words=4, weight_words=4, result_words=4, burst_beats=16, outstanding=8, fmul="maxdsp",
    fadd_tree="fabric", fadd_sum="fulldsp",
)  # fmt: skip


def test_a_board_s_header_follows_its_build_description(tmp_path: Path) -> None:
    sizes = kernel.sizes_of(from_json(to_json(DESCRIPTION)))
    header = sizes.c_header(125.0)
    lines = "T = 8", "PIXELS = 3", "X_DEPTH = 640", "Y_DEPTH = 500", "W_DEPTH = 48", "REVISIT = 11"
    for line in lines:
        assert f"{line};" in header
    assert "#define EFT_FADD_TREE fabric" in header
    assert "#define EFT_GRADIENT_RAM lutram" in header
    assert "#define EFT_GRADIENT_RAM bram" in replace(sizes, output_depth=771).c_header(125.0)
    device = CsimDevice(8, memory_bytes=1 << 20, library=compiled(tmp_path, sizes))
    assert device.sizes.report_words() == sizes.report_words()


def compiled(folder: Path, sizes: KernelSizes) -> Path:
    kernel.build(folder / "kernel.so", sizes)
    return folder / "kernel.so"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"array_m": 16}, "array_m is 16"),
        ({"pixels": 5}, "pixels is 5"),
        ({"weight_words": 8}, "weight_words is 8"),
    ],
    ids=str,
)
def test_a_build_that_this_kernel_cannot_be_is_refused(change: dict, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        kernel.sizes_of(replace(DESCRIPTION, **change))
