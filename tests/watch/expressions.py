"""Which of the daemon's metrics a PromQL expression names."""

import re

from eftraind.metrics import PREFIX, TABLE

PROCESS = re.compile(r"(front|engine)_process_[a-z_]+")


def metrics_of(expression: str) -> set[str]:
    """Names without prefix and without a histogram's suffix; recorded ones are left out."""
    found = set(re.findall(rf"(?<![\w:]){PREFIX}(\w+)", expression))
    return {re.sub("_(bucket|sum|count)$", "", name) for name in found}


def unknown(expression: str) -> set[str]:
    known = {spec.name for spec in TABLE}
    return {name for name in metrics_of(expression)
            if name not in known and not PROCESS.fullmatch(name)}  # fmt: skip
