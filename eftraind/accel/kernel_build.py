"""Compiles the HLS kernel behind its registers to a library, with headers that lie there already.

Imports nothing of the package, so that the package's own build can call it. Every compilation is
strict: no contraction, no reordering; results are those of the source's order of operations.
"""

import shlex
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[1] / "hls"
BUILDS = {8: "csim8", 16: "csim16"}
"""The folder in `hls/boards` whose build.h a library of that T is made with."""

STRICT = "-std=c++14 -ffp-contract=off -Wall -Wextra -Wno-unused-label".split()
SANITIZE = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all".split()
SHARED = "-shared -fPIC -fvisibility=hidden -pthread".split()


def library(lanes: int) -> Path:
    return HERE / f"libeftcsim{lanes}.so"


def compile_kernel(
    compiler: list[str], target: Path, build_h: Path, *, sanitize: bool = False
) -> None:
    """`build_h` is the folder of build.h. Raises RuntimeError if the compiler fails."""
    files = [str(SOURCES / "src" / "eftrain.cpp"), str(SOURCES / "sim" / "csim.cpp")]
    include = ["-iquote", str(build_h), "-iquote", str(SOURCES / "src")]
    new = target.with_suffix(".new")
    optimise = SANITIZE if sanitize else ["-O3"]
    command = [*compiler, *STRICT, *optimise, *SHARED, *include, *files, "-o", str(new)]
    target.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stdout}{done.stderr}")
    # A running process keeps the old file: never write into it.
    new.replace(target)


def build_all(compiler: list[str], folder: Path) -> None:
    """One library for each T of the csim device."""
    for lanes, name in BUILDS.items():
        compile_kernel(compiler, folder / library(lanes).name, SOURCES / "boards" / name)
