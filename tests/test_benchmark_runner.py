"""The benchmark runner: finds scripts, merges their figures, reports a failure."""

import json
import subprocess
import sys
from pathlib import Path

RUNNER = Path(__file__).parent.parent / "benchmarks" / "run.py"
GOOD = """
import json, sys
out = sys.argv[sys.argv.index("--json") + 1]
json.dump({"rate": 12345.678, "rows": [{"n": 1}], "extra": "--quick" in sys.argv}, open(out, "w"))
"""


def run(box: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(RUNNER), "--directory", str(box), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_figures_are_merged_and_arguments_passed_on(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    out = tmp_path / "all.json"
    done = run(tmp_path, "--json", str(out), "--", "--quick")
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert report["benchmarks"]["good"]["figures"] == {
        "rate": 12345.678,
        "rows": [{"n": 1}],
        "extra": True,
    }
    assert report["machine"]["cores"] >= 1
    assert "rows[0].n" in done.stdout


def test_a_failing_script_fails_the_run_but_not_the_others(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("raise SystemExit(5)")
    (tmp_path / "good.py").write_text(GOOD)
    done = run(tmp_path)
    assert done.returncode == 1
    assert "FAILED (5)" in done.stdout and "good: ok" in done.stdout


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    done = run(tmp_path, "--only", "best")
    assert done.returncode != 0 and "there are: good" in done.stderr
