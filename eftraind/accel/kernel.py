"""The builds of the HLS kernel that csim and tests run, and the headers generated for all builds.

`python -m eftraind.accel.kernel` builds the libraries of the csim device beside this module, `...
headers` writes the headers that are generated into `hls`.
"""

import sys
import tempfile
from pathlib import Path

from eftraind import isa, registers
from eftraind.accel.kernel_build import BUILDS, SOURCES, build_all, compile_kernel, library
from eftraind.accel.native.build import find_compiler
from eftraind.registers import KernelSizes

SIZES = {
    8: KernelSizes(lanes=8, feature_depth=2048, output_depth=1024, weight_tiles=64),
    16: KernelSizes(lanes=16, feature_depth=2048, output_depth=1024, weight_tiles=64),
}
"""What csim is built for."""

SMALL = KernelSizes(lanes=4, feature_depth=128, output_depth=48, weight_tiles=32)
"""Buffers so small that everything is cut: for tests."""

CLOCK_MHZ = 100.0
"""What the headers of these builds say; nothing here has a clock."""


def headers() -> dict[Path, str]:
    """The generated headers; `build.h` lies beside no source, but where the compiler is told."""
    out = {
        SOURCES / "src" / "isa.h": isa.c_header(),
        SOURCES / "src" / "registers.h": registers.c_header(),
        SOURCES / "boards" / "small" / "build.h": SMALL.c_header(CLOCK_MHZ),
    }
    for lanes, sizes in SIZES.items():
        out[SOURCES / "boards" / BUILDS[lanes] / "build.h"] = sizes.c_header(CLOCK_MHZ)
    return out


def compiler() -> list[str]:
    """Raises RuntimeError if there is none."""
    found = find_compiler()
    if found is None:
        raise RuntimeError("no C++ compiler: install g++ or clang++, or `pip install ziglang`")
    return found


def build(target: Path, sizes: KernelSizes, *, sanitize: bool = False) -> None:
    """Compile the kernel of any sizes. Raises RuntimeError if the compiler fails."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "build.h").write_text(sizes.c_header(CLOCK_MHZ))
        compile_kernel(compiler(), target, Path(folder), sanitize=sanitize)


def main() -> None:
    if sys.argv[1:] == ["headers"]:
        for path, text in headers().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return
    build_all(compiler(), library(8).parent)
    sys.stdout.write(f"built {', '.join(library(lanes).name for lanes in SIZES)}\n")


if __name__ == "__main__":
    main()
