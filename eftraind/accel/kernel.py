"""Compiles the HLS kernel as it stands for this machine: one library for each T of the csim device.

`python -m eftraind.accel.kernel` builds them beside this module, `... headers` writes the headers
that are generated into `hls`. The package's build calls `build` too. Every compilation is strict:
no contraction, no reordering, so that results are those of the source's order of operations.
"""

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from eftraind import isa, registers
from eftraind.accel.native.build import find_compiler
from eftraind.registers import KernelSizes

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[1] / "hls"

SIZES = {
    8: KernelSizes(lanes=8, feature_depth=2048, output_depth=1024, weight_tiles=64),
    16: KernelSizes(lanes=16, feature_depth=2048, output_depth=1024, weight_tiles=64),
}
"""What csim is built for."""

SMALL = KernelSizes(lanes=4, feature_depth=128, output_depth=48, weight_tiles=32)
"""Buffers so small that everything is cut: for tests."""

STRICT = "-std=c++14 -ffp-contract=off -Wall -Wextra -Wno-unused-label".split()
SANITIZE = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all".split()


def library(lanes: int) -> Path:
    return HERE / f"libeftcsim{lanes}.so"


def headers() -> dict[Path, str]:
    """The generated headers; `build.h` lies beside no source, but where the compiler is told."""
    shared = {"isa.h": isa.c_header(), "registers.h": registers.c_header()}
    out = {SOURCES / "src" / name: text for name, text in shared.items()}
    builds = {"small": SMALL, **{f"csim{lanes}": sizes for lanes, sizes in SIZES.items()}}
    for name, sizes in builds.items():
        out[SOURCES / "boards" / name / "build.h"] = sizes.c_header(100.0)
    return out


def build(
    target: Path, sizes: KernelSizes, *, sanitize: bool = False, sources: Path = SOURCES
) -> None:
    """Compile the kernel of `sizes` behind its registers to `target`.

    Raises RuntimeError if there is no compiler or it fails.
    """
    compiler = find_compiler()
    if compiler is None:
        raise RuntimeError("no C++ compiler: install g++ or clang++, or `pip install ziglang`")
    optimise = SANITIZE if sanitize else ["-O3"]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "build.h").write_text(sizes.c_header(100.0))
        files = [str(sources / "src" / "eftrain.cpp"), str(sources / "sim" / "csim.cpp")]
        include = ["-iquote", scratch, "-iquote", str(sources / "src")]
        output = str(target.with_suffix(".new"))
        shared = ["-shared", "-fPIC", "-fvisibility=hidden", "-pthread"]
        command = [*compiler, *STRICT, *optimise, *shared, *include, *files, "-o", output]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stdout}{done.stderr}")
    # A running process keeps the old file: never write into it.
    target.with_suffix(".new").replace(target)


def main() -> None:
    if sys.argv[1:] == ["headers"]:
        for path, text in headers().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return
    for lanes, sizes in SIZES.items():
        build(library(lanes), sizes)
        sys.stdout.write(f"built {library(lanes)}\n")


if __name__ == "__main__":
    main()
