"""The Grafana dashboard: as its generator writes it, and every query of it runs.

Grafana itself is not run here. Its variables are filled in as it would, and the queries are put to
a real Prometheus that has scraped a daemon that learns.
"""

import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from expressions import unknown
from watchrig import until

ROOT = Path(__file__).parents[2]
JSON = ROOT / "configs" / "grafana" / "eftraind.json"
BOARD = json.loads(JSON.read_text())
EMPTY = {
    "Refused A": "nothing is refused",
    "Accuracy on new samples C": "there may be no candidate at this moment",
}


def queries() -> Iterator[Any]:
    for panel in BOARD["panels"]:
        for target in panel.get("targets", []):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for entry in BOARD["annotations"]["list"]:
        yield entry["name"], entry["expr"]


QUERIES = list(queries())


def filled(expression: str) -> str:
    """As Grafana fills it in for a scrape a second."""
    return expression.replace("$__rate_interval", "30s").replace("$instance", ".*")


def test_it_is_what_the_generator_writes() -> None:
    if importlib.util.find_spec("grafana_foundation_sdk") is None:
        pytest.skip("grafana-foundation-sdk is not installed (extra dev)")
    spec = importlib.util.spec_from_file_location("dashboard", ROOT / "scripts" / "dashboard.py")
    assert spec is not None and spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    sys.modules["dashboard"] = generator  # its dataclasses look themselves up
    spec.loader.exec_module(generator)
    assert generator.built() == JSON.read_text(), "run: python scripts/dashboard.py"


def test_it_has_what_an_operator_asks_for() -> None:
    titles = {panel["title"] for panel in BOARD["panels"]}
    assert {"Adaptation gain", "Samples", "Stages, 99 %", "Power", "Energy per trained sample",
            "Fill", "Failures", "Measured over planned time"} <= titles  # fmt: skip
    assert {entry["name"] for entry in BOARD["annotations"]["list"]} == {"Swaps", "Rollbacks"}


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                 for y in range(at["y"], at["y"] + at["h"])}  # fmt: skip
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.parametrize(("name", "expression"), QUERIES, ids=[name for name, _ in QUERIES])
def test_every_metric_named_exists(name: str, expression: str) -> None:
    assert "eftraind_" in expression and not unknown(expression)
    assert 'instance=~"$instance"' in expression


@pytest.mark.parametrize(("name", "expression"), QUERIES, ids=[name for name, _ in QUERIES])
def test_every_query_has_an_answer(
    name: str, expression: str, watched: tuple[Any, Any]
) -> None:
    prometheus, _ = watched
    shown = filled(expression)
    if name in EMPTY:
        assert prometheus.get("query", query=shown)["resultType"] == "vector", "it is valid"
        return

    def answered() -> Any:
        now = time.time()
        data = prometheus.get("query_range", query=shown, start=f"{now - 120:.0f}",
                              end=f"{now:.0f}", step="1")  # fmt: skip
        return data["result"]

    result = until(answered, 60.0, name)
    assert all(value != "" for series in result for _, value in series["values"])
