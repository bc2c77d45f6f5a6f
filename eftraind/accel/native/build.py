"""Compiles the native kernels: once per instruction set, linked into one library without Python.

`python -m eftraind.accel.native.build` builds beside the source, `... isa.h` writes the header that
is generated from `eftraind.isa`. The build backend of the package (`backend.py`) calls `build`.
It never asks for the instructions of the machine it runs on: the library chooses when it is opened.
"""

import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARY = "libeftraind.so"

COMMON = (
    "-std=c++17 -O3 -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti -fno-math-errno"
    " -fno-trapping-math -ffp-contract=fast -pthread -Wall -Wextra"
).split()
# One set, for any machine: compiling all of them with checks takes minutes.
SANITIZE = [
    "-DEFT_PORTABLE",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-g",
    "-O1",
]


@dataclass(frozen=True)
class InstructionSet:
    """One compilation of kernels.cpp."""

    name: str
    lanes: int
    accumulators: int
    flags: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        return [
            *self.flags,
            f"-DEFT_SET={self.name}",
            f"-DEFT_LANES={self.lanes}",
            f"-DEFT_ACCUMULATORS={self.accumulators}",
        ]


AVX2 = ("-mavx2", "-mfma")
AVX512 = (*AVX2, "-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw")
# Without unsafe optimisations 32-bit NEON, which flushes denormals, is not used for floats at all.
NEON32 = ("-mfpu=neon", "-funsafe-math-optimizations")
NEON32_FMA = ("-mfpu=neon-vfpv4", "-funsafe-math-optimizations")

PORTABLE = InstructionSet("portable", 8, 8)


def instruction_sets(machine: str) -> list[InstructionSet]:
    """The sets compiled for a machine (as `platform.machine` names it)."""
    machine = machine.lower()
    if machine in ("x86_64", "amd64"):
        return [
            InstructionSet("avx512", 16, 16, AVX512),
            InstructionSet("avx2", 8, 8, AVX2),
            InstructionSet("sse2", 4, 8),
        ]
    if machine in ("aarch64", "arm64"):
        return [InstructionSet("neon", 4, 16)]
    if machine.startswith("armv7"):
        return [InstructionSet("neonfma", 4, 8, NEON32_FMA), InstructionSet("neon", 4, 8, NEON32)]
    return [PORTABLE]


def find_compiler(environment: Mapping[str, str] = os.environ) -> list[str] | None:
    """$CXX, else a compiler of the system, else the one that pip can install (ziglang)."""
    if environment.get("CXX"):
        return shlex.split(environment["CXX"])
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang"):
        # zig's default is the machine at hand, with all its instructions.
        return [sys.executable, "-m", "ziglang", "c++", "-mcpu=baseline"]
    return None


def _run(arguments: list[str]) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def build(
    target: Path,
    *,
    machine: str = "",
    sanitize: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> list[str]:
    """Compile the library to `target`; returns the compiler's command."""
    compiler = find_compiler(environment)
    if compiler is None:
        raise RuntimeError("no C++ compiler: install g++ or clang++, or `pip install ziglang`")
    common = [*compiler, *COMMON, *(SANITIZE if sanitize else [])]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        jobs = []
        sets = [PORTABLE] if sanitize else instruction_sets(machine or platform.machine())
        chosen = ["-DEFT_ARM32"] if any(one.name == "neonfma" for one in sets) else []
        for source in ("engine", "team"):
            path, output = str(HERE / f"{source}.cpp"), f"{scratch}/{source}.o"
            jobs.append([*common, *chosen, "-c", path, "-o", output])
        for one in sets:
            output = f"{scratch}/{one.name}.o"
            jobs.append([*common, *one.arguments(), "-c", str(HERE / "kernels.cpp"), "-o", output])
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_run, jobs))
        objects = [job[-1] for job in jobs]
        linked = Path(scratch) / LIBRARY
        # As C: nothing of the C++ library is used, and zig would first compile its own for minutes.
        linker = ["cc" if part == "c++" and len(compiler) > 1 else part for part in common]
        _run([*linker, "-shared", "-Wl,--as-needed", *objects, "-lm", "-o", str(linked)])
        # A running process keeps the old file: never write into it.
        shutil.copy(linked, target.with_suffix(".new"))
        target.with_suffix(".new").replace(target)
    return compiler


def build_in_place() -> Path:
    target = HERE / LIBRARY
    compiler = build(target)
    sys.stdout.write(f"built {target} with {shlex.join(compiler)}\n")
    return target


def main() -> None:
    if sys.argv[1:] == ["isa.h"]:
        from eftraind import isa

        (HERE / "isa.h").write_text(isa.c_header())
    else:
        build_in_place()


if __name__ == "__main__":
    main()
