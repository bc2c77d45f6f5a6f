"""Floors and fences: what may import what. Read from the source, so lazy imports count too.

A module imports from lower floors, or from modules left of it in its own group; groups on one
floor are strangers. A package (`nn.*`) is one group whose modules must not import in circles.
There is no list of exemptions.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "eftraind"

FLOORS = (
    ("errors clock sdnotify fsio",),
    (
        "wire wire_decode wire_records",
        "keys",
        "config.*",
        "graph graph_fields graph_layers graph_build params",
        "isa registers",
        "metrics.*",
        "link",
    ),
    ("nn.*", "plan.* boards.*", "store.*", "power", "client.*", "networks.*"),
    ("accel.*",),
    ("engine.*",),
    ("service.*",),
    (
        (
            "demo.* train.* onnx_io.* planner.* bitstream.* installer.* doctor.* commands.* "
            "top.* cli __main__"
        ),
    ),
)

FENCES = {  # import -> the only places it may appear
    "yaml": "config",
    "prometheus_client": "metrics",
    "zmq": "service client",
    "asyncio": "client accel.board",
    "ctypes": "accel.cpu accel.csim",
    "pynq": "accel.board accel.emu",
    "matplotlib": "demo train planner",
    "onnx": "onnx_io",
    "google": "onnx_io",
    "rich": "demo train",
    "torch": "",
    "sklearn": "",
    "pickle": "",
}


def place(module: str) -> tuple[int, int, int] | None:
    """(floor, group, position in the group) of a module such as `nn.ops`."""
    for floor, groups in enumerate(FLOORS):
        for group, members in enumerate(groups):
            for position, member in enumerate(members.split()):
                if module == member or within(module, member.removesuffix(".*")) and "*" in member:
                    return floor, group, position
    return None


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def imported(source: str) -> Iterator[str]:
    """Dotted names that the code imports, anywhere in it, by statement or by a literal name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from (f"{dots}{node.module or ''}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            names = [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
            yield from (name for name in names if isinstance(name, str))


def sources(package: Path) -> dict[str, str]:
    found = {}
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package).with_suffix("").parts)
        found[name.removesuffix("__init__").rstrip(".")] = path.read_text(encoding="utf-8")
    return found


def target_of(name: str, modules: dict[str, str]) -> str | None:
    """The module of ours that `eftraind.a.b.c` refers to (c may be a function)."""
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in modules:
        parts.pop()
    return ".".join(parts) if parts else None


def faults_of(module: str, source: str, modules: dict[str, str]) -> Iterator[str]:
    here = place(module)
    if here is None and module:
        yield f"{module} is on no floor"
        return
    for name in imported(source):
        top = name.partition(".")[0]
        if not top:
            yield f"{module}: relative import {name}"
        elif top == "eftraind":
            target = target_of(name, modules)
            if target is None:
                continue  # `from eftraind import __version__` and the like
            there = place(target)
            if here is None or there is None:
                yield f"{module or 'eftraind'} must not import {name}"
            elif there[0] > here[0] or (there[0] == here[0] and there[1] != here[1]):
                yield f"{module} must not import {target}: not below it"
            elif there[:2] == here[:2] and there[2] > here[2]:
                yield f"{module} must not import {target}: right of it in its group"
        elif top in FENCES and not any(within(module, home) for home in FENCES[top].split()):
            yield f"{module} must not import {top}"


def circles(modules: dict[str, str]) -> list[str]:
    """What remains when modules that import nothing of what remains are taken away, in turns."""
    waits = {
        module: {
            target
            for name in imported(source)
            if name.startswith("eftraind.") and (target := target_of(name, modules)) != module
        }
        for module, source in modules.items()
    }
    while ready := [module for module, targets in waits.items() if not targets & waits.keys()]:
        for module in ready:
            del waits[module]
    return sorted(waits)


def all_faults(package: Path) -> list[str]:
    modules = sources(package)
    faults = [
        fault for name, source in modules.items() for fault in faults_of(name, source, modules)
    ]
    round_trip = circles(modules)
    return faults + ([f"imports in a circle: {', '.join(round_trip)}"] if round_trip else [])


def test_floors_and_fences() -> None:
    faults = all_faults(PACKAGE)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("path", "code", "complaint"),
    [
        ("errors.py", "from eftraind.config import Config", "not below"),
        ("errors.py", "def f():\n    import eftraind.config", "not below"),
        ("wire.py", "import eftraind.config", "not below"),
        ("errors.py", "from eftraind import clock", "right of it"),
        ("service/front.py", "import importlib\nimportlib.import_module('asyncio')", "asyncio"),
        ("accel/reference.py", "import ctypes", "ctypes"),
        ("nn/ops.py", "import pickle", "pickle"),
        ("nn/ops.py", "from . import optim", "relative"),
        ("nn/ops.py", "import eftraind.nn.optim", "circle"),
        ("stray.py", "", "no floor"),
        ("__init__.py", "from eftraind import errors", "must not import"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, path: str, code: str, complaint: str) -> None:
    for name in ("errors", "clock", "config", "wire", "nn/optim", "nn/ops", "service/front"):
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text("import eftraind.nn.ops\n" if name == "nn/optim" else "import numpy\n")
    assert all_faults(tmp_path) == []
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(code)
    assert complaint in "\n".join(all_faults(tmp_path))


def test_every_place_named_by_a_fence_is_on_a_floor() -> None:
    assert all(place(home) for homes in FENCES.values() for home in homes.split())


def test_the_client_loads_only_what_a_sensor_app_needs() -> None:
    code = "import sys, eftraind.client; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(run.stdout.split())
    heavy = {"yaml", "prometheus_client", "safetensors", "matplotlib", "rich", "pynq"}
    ours = {f"eftraind.{name}" for name in ("engine", "accel", "plan", "service", "config", "demo")}
    assert not loaded & (heavy | ours)
