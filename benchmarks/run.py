"""Runs every benchmark beside it, prints one table and writes one JSON file.

A benchmark is a script `benchmarks/NAME.py` that takes `--json FILE` and writes an object of
figures there; what it prints passes through. Arguments after `--` go to every script.

    python benchmarks/run.py [--json OUT] [--only NAME ...] [-- ARGS ...]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def main(argv: list[str]) -> int:
    options, passed_on = arguments(argv)
    scripts = find(options.directory, options.only)
    runs = {script.stem: measure(script, passed_on, options.timeout_s) for script in scripts}
    report = {"machine": machine(), "benchmarks": runs}
    print_table(runs)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return max((int(not run["ok"]) for run in runs.values()), default=0)


def arguments(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    end = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(description="Run all benchmarks.")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures there")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these alone")
    parser.add_argument("--timeout-s", type=float, default=900.0, help="of each benchmark")
    parser.add_argument("--directory", type=Path, default=HERE, help=argparse.SUPPRESS)
    return parser.parse_args(argv[:end]), argv[end + 1 :]


def find(directory: Path, only: list[str] | None) -> list[Path]:
    scripts = [p for p in sorted(directory.glob("*.py")) if p.stem != "run" and p.stem[0] != "_"]
    unknown = set(only or ()) - {script.stem for script in scripts}
    if unknown:
        names = ", ".join(script.stem for script in scripts)
        sys.exit(f"no benchmark called {', '.join(sorted(unknown))}; there are: {names}")
    return [script for script in scripts if not only or script.stem in only]


def measure(script: Path, passed_on: list[str], timeout_s: float) -> dict[str, Any]:
    """One script's figures, or why there are none."""
    print(f"== {script.stem}", flush=True)
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="eft") as box:
        out = Path(box) / "figures.json"
        command = [sys.executable, str(script), "--json", str(out), *passed_on]
        try:
            done = subprocess.run(command, timeout=timeout_s, check=False, env=environment())
            status: int | str = done.returncode
        except subprocess.TimeoutExpired:
            status = f"took longer than {timeout_s:.0f} s"
        figures = json.loads(out.read_text(encoding="utf-8")) if out.exists() else None
    wall_s = round(time.monotonic() - started_s, 1)
    ok = status == 0 and figures is not None
    return {"ok": ok, "status": status, "wall_s": wall_s, "figures": figures}


def environment() -> dict[str, str]:
    """The checkout's own package, whether or not it is installed."""
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def machine() -> dict[str, Any]:
    cpu = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else ""
    return {
        "cpu": cpu or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
    }


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested figures, with their paths."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from flat(inner, f"{path}[{index}]")
    else:
        yield path, f"{value:,.4g}" if isinstance(value, float) else str(value)


def print_table(runs: dict[str, dict[str, Any]]) -> None:
    for name, run in runs.items():
        state = "ok" if run["ok"] else f"FAILED ({run['status']})"
        print(f"\n{name}: {state}, {run['wall_s']} s")
        rows = list(flat(run["figures"] or {}))
        width = max((len(path) for path, _ in rows), default=0)
        for path, value in rows:
            print(f"  {path:<{width}}  {value}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
