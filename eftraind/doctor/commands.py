"""`eftraind doctor` and `eftraind support-bundle`, on this machine.

Owns their flags, and asking the running daemon and the journal for what only they know.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eftraind import config as configuration
from eftraind.clock import Clock
from eftraind.config import Config
from eftraind.doctor import bundle, report
from eftraind.doctor.findings import Finding, Machine
from eftraind.fsio import FileOps
from eftraind.service.request import RequestFailed, request

LOG_LINES = 2000
SERVICES = ("eftraind-front", "eftraind-engine", "eftraind-engine-degraded", "eftraind-overlay")
SERVICE_FACTS = (
    "Id,ActiveState,SubState,Result,NRestarts,ExecMainStatus,StatusText,MemoryCurrent,FragmentPath,"
    "DropInPaths"
)


def add_doctor(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def add_bundle(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("output", type=Path, metavar="FILE", help="a new .tar.gz")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", required=True, metavar="FILE", help="the daemon's YAML file"
    )


def doctor(given: argparse.Namespace) -> int:
    """Examine; the exit status says the worst that was found."""
    findings = _examine(configuration.load(given.config))
    shown = report.as_json(findings) if given.json else report.as_text(findings)
    sys.stdout.write(shown + "\n")
    return report.exit_status(findings)


def support(given: argparse.Namespace) -> str:
    """Collect and write; what was left out is in the text of what was not."""
    clock = Clock()
    texts = bundle.collect(
        Path(given.config),
        Machine(),
        clock=clock,
        examine=_examine,
        ask=_ask,
        outputs={"log.txt": _log_lines, "services.txt": _services},
    )
    bundle.write(given.output, texts, clock)
    return f"wrote {given.output}: {', '.join(texts)}\nno samples, weights or keys; look into it"


def _examine(config: Config) -> list[Finding]:
    status = _ask(config, "status")
    found = {"front": status.get("pid"), "engine": status.get("engine", {}).get("pid")}
    pids = {name: pid for name, pid in found.items() if isinstance(pid, int)}
    return report.examine(config, Machine(), pids=pids, ops=FileOps(), clock=Clock())


def _ask(config: Config, command: str) -> Mapping[str, Any]:
    """The daemon's answer, or why there is none."""
    try:
        return request(config.control_endpoint, command, timeout_s=3.0)
    except RequestFailed as error:
        return {"unanswered": str(error)}


def _log_lines() -> str:
    lines = f"--lines={LOG_LINES}"
    return _output("journalctl", "--no-pager", "--output=short-iso", lines, "--unit=eftraind*")


def _services() -> str:
    """How often each was started, how it ended last, what it says now."""
    return _output("systemctl", "show", f"--property={SERVICE_FACTS}", *SERVICES)


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    return done.stdout or f"{command[0]}: {done.stderr}"
