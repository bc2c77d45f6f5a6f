"""All findings together, how they read, and what they mean as an exit status.

Owns the order of examination and both forms of the report.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from eftraind.clock import Clock
from eftraind.config import Config
from eftraind.doctor import disk, hardware, service, system
from eftraind.doctor.findings import Finding, Level, Machine
from eftraind.fsio import FileOps

STATUSES = {Level.FAIL: 1, Level.WARN: 3}


def examine(
    config: Config, machine: Machine, *, pids: Mapping[str, int], ops: FileOps, clock: Clock
) -> list[Finding]:
    """Everything there is to find, in the order of the report."""
    return [
        *hardware.examine(config, machine),
        *system.examine(machine, clock),
        *disk.examine(config, machine, ops, clock),
        *service.examine(config, machine, pids),
    ]


def exit_status(findings: Iterable[Finding]) -> int:
    """1: something fails; 3: nothing fails, something warns; 0 otherwise, unknown things or not."""
    levels = {finding.level for finding in findings}
    return next((status for level, status in STATUSES.items() if level in levels), 0)


def as_text(findings: Sequence[Finding]) -> str:
    width = max(len(finding.check) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.level.value:<8} {finding.check:<{width}}  {finding.text}")
        if finding.remedy:
            lines.append(f"{'':<8} {'':<{width}}  -> {finding.remedy}")
    counts = [f"{sum(f.level is level for f in findings)} {level.value}" for level in Level]
    return "\n".join([*lines, ", ".join(counts)])


def as_json(findings: Sequence[Finding]) -> str:
    """{"status": exit status, "findings": [{"check", "level", "text", "remedy"}]}."""
    rows = [{**asdict(finding), "level": finding.level.value} for finding in findings]
    return json.dumps({"status": exit_status(findings), "findings": rows})
