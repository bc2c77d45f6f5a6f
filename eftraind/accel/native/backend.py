"""How the package is built: setuptools, plus the native library, plus a compiler where none is.

pyproject.toml names this module as build backend (PEP 517) and `BuildPy`, `BdistWheel` as commands.
It is imported by its path, before any dependency of the package exists, and so imports no package.
The library needs no Python headers: a wheel serves every Python 3 of one platform. That is this
machine, or what EFTRAIND_MACHINE names, with a cross compiler in CXX (scripts/wheels).
"""

import importlib.util
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

__all__ = [
    "BdistWheel",
    "BuildPy",
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"eftraind_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


HERE = Path(__file__).resolve().parent
build = _module(HERE / "build.py")
kernel_build = _module(HERE.parent / "kernel_build.py")

MACHINE = os.environ.get("EFTRAIND_MACHINE", "")
Settings = dict[str, Any] | None


def compiler_requirement() -> list[str]:
    """A compiler that pip can install, if this machine has none."""
    if build.find_compiler() is not None:
        return []
    sys.stderr.write("eftraind: no C++ compiler found; the ziglang wheel provides one\n")
    return ["ziglang>=0.13"]


def get_requires_for_build_wheel(settings: Settings = None) -> list[str]:
    return [*build_meta.get_requires_for_build_wheel(settings), *compiler_requirement()]


def get_requires_for_build_editable(settings: Settings = None) -> list[str]:
    return [*build_meta.get_requires_for_build_editable(settings), *compiler_requirement()]


class BuildPy(build_py):
    """Puts the library beside the modules: in the wheel, or in the source tree if editable."""

    def run(self) -> None:
        super().run()
        native = HERE
        if not self.editable_mode:
            native = Path(self.build_lib, "eftraind", "accel", "native")
        compiler = build.build(native / build.LIBRARY, machine=MACHINE)
        kernel_build.build_all(compiler, native.parent)
        sys.stderr.write(f"eftraind: native kernels built with {shlex.join(compiler)}\n")


class BdistWheel(bdist_wheel):
    """Any Python 3, this platform only."""

    def finalize_options(self) -> None:
        # Else the library would be filed among modules that run anywhere.
        self.distribution.has_ext_modules = lambda: True
        super().finalize_options()

    def get_tag(self) -> tuple[str, str, str]:
        platform = f"linux_{MACHINE}" if MACHINE else super().get_tag()[2]
        return "py3", "none", platform
