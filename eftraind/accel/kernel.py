"""The builds of the HLS kernel that csim and tests run, and the headers generated for all builds.

`python -m eftraind.accel.kernel` builds the libraries of the csim device beside this module; with
`headers` it writes the headers that are generated into `hls`, with `board FILE.json` what the
vendor flow needs for a board, beside the planner's build description.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from eftraind import boards, isa, registers
from eftraind.accel.kernel_build import BUILDS, SOURCES, build_all, compile_kernel, library
from eftraind.accel.native.build import find_compiler
from eftraind.errors import ConfigError
from eftraind.plan.build import FORMAT, Build, from_json
from eftraind.registers import BEAT_WORDS, Feature, KernelSizes

SIZES = {
    8: KernelSizes(lanes=8, feature_depth=2048, output_depth=1024, weight_tiles=64),
    16: KernelSizes(lanes=16, feature_depth=2048, output_depth=1024, weight_tiles=64),
}
"""What csim is built for."""

SMALL = KernelSizes(lanes=4, feature_depth=128, output_depth=48, weight_tiles=32)
"""Buffers so small that everything is cut."""

TESTED = {
    "small": SMALL,
    "small3": replace(SMALL, output_depth=80, pixels=3),
    "wide": replace(SIZES[8], pixels=2),
}
"""Builds for tests alone, by their folder in `hls/boards`."""

MOST_PIXELS = 4
"""That the sources take in an iteration."""

CLOCK_MHZ = 100.0
"""What the headers of these builds say; nothing here has a clock."""


def headers() -> dict[Path, str]:
    """The generated headers; `build.h` lies beside no source, but where the compiler is told."""
    out = {
        SOURCES / "src" / "isa.h": isa.c_header(),
        SOURCES / "src" / "registers.h": registers.c_header(),
    }
    for folder, sizes in (TESTED | {BUILDS[t]: sizes for t, sizes in SIZES.items()}).items():
        out[SOURCES / "boards" / folder / "build.h"] = sizes.c_header(CLOCK_MHZ)
    return out


def sizes_of(build: Build) -> KernelSizes:
    """What a build description asks for. Raises ConfigError if this kernel cannot be built so."""
    fixed = {"array_m": build.t, "array_n": build.t, "pixels": min(build.pixels, MOST_PIXELS)}
    for name in ("feature_words", "weight_words", "result_words"):
        fixed[name] = min(getattr(build, name), BEAT_WORDS)  # interconnect narrows, never widens
    for name, value in fixed.items():
        if getattr(build, name) != value:
            raise ConfigError(
                f"build description: {name} is {getattr(build, name)}, this kernel has {value}",
                remedy="take eftraind plan --kernel hls",
            )
    return KernelSizes(
        lanes=build.t,
        pixels=build.pixels,
        feature_depth=build.feature_depth,
        output_depth=build.output_depth,
        weight_tiles=build.weight_tiles,
        revisit=build.revisit,
        fmul=build.fmul,
        fadd_tree=build.fadd_tree,
        fadd_sum=build.fadd_sum,
    )


def description(sizes: KernelSizes) -> Build:
    """The build description of a kernel that only csim runs: its ports are those of ZCU102, its
    clock is none."""
    return Build(
        format=FORMAT,
        isa_digest=isa.digest(),
        board="zcu102",
        part="csim",
        clock_mhz=CLOCK_MHZ,
        t=sizes.lanes,
        array_m=sizes.lanes,
        array_n=sizes.lanes,
        pixels=sizes.pixels,
        feature_depth=sizes.feature_depth,
        output_depth=sizes.output_depth,
        weight_tiles=sizes.weight_tiles,
        revisit=sizes.revisit,
        feature_words=BEAT_WORDS,
        weight_words=BEAT_WORDS,
        result_words=BEAT_WORDS,
        burst_beats=16,
        outstanding=16,
        fmul=sizes.fmul,
        fadd_tree=sizes.fadd_tree,
        fadd_sum=sizes.fadd_sum,
    )


def write_board(path: Path) -> Path:
    """`build.h` and `facts.tcl` beside a build description. Raises ConfigError."""
    build = from_json(path.read_text(encoding="utf-8"))
    sizes = replace(sizes_of(build), features=Feature.ADAM | Feature.COUNTER)
    (path.parent / "build.h").write_text(sizes.c_header(build.clock_mhz))
    (path.parent / "facts.tcl").write_text(tcl_facts(build))
    return path.parent


def tcl_facts(build: Build) -> str:
    """What the vendor scripts must know. Raises ConfigError for a board that does not exist."""
    board = boards.load(build.board)
    facts = {
        "board": board.name,
        "part": build.part,
        "family": board.family,
        "port_bits": min(board.ports.width_bits, 32 * BEAT_WORDS),
        "clock_mhz": f"{build.clock_mhz:g}",
    }
    lines = [f"# Generated for {board.name} by `python -m eftraind.accel.kernel`: do not edit."]
    return "\n".join([*lines, *(f"set {name} {value}" for name, value in facts.items()), ""])


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
    if sys.argv[1:2] == ["board"]:
        sys.stdout.write(f"wrote {write_board(Path(sys.argv[2]))}\n")
        return
    build_all(compiler(), library(8).parent)
    sys.stdout.write(f"built {', '.join(library(lanes).name for lanes in SIZES)}\n")


if __name__ == "__main__":
    main()
