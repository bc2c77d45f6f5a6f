"""The shipped Prometheus rules: well-formed, tested both ways, and run by a real Prometheus."""

import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from expressions import metrics_of, unknown
from watchrig import done, until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SHIPPED = ROOT / "configs" / "prometheus"
PROMTOOL = shutil.which("promtool")
RULES = [
    rule
    for group in yaml.safe_load((SHIPPED / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDS = {rule["record"] for rule in RULES if "record" in rule}


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool (Debian: prometheus)")
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "config", str(SHIPPED / "prometheus.yml")],
        ["check", "rules", str(SHIPPED / "rules.yml")],
        ["test", "rules", str(HERE / "rules_test.yml")],
    ],
    ids=["config", "rules", "cases"],
)
def test_promtool_agrees(arguments: list[str]) -> None:
    assert PROMTOOL is not None
    run = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_alert_has_a_case_where_it_fires_and_one_where_it_does_not() -> None:
    fires, silent = set(), set()
    for case in yaml.safe_load((HERE / "rules_test.yml").read_text())["tests"]:
        for test in case.get("alert_rule_test", []):
            (fires if test["exp_alerts"] else silent).add(test["alertname"])
    assert fires == silent == set(ALERTS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_metric_named_exists(rule: dict[str, Any]) -> None:
    assert not unknown(rule["expr"])
    for record in re.findall(r"instance:\w+:\w+", rule["expr"]):
        assert record in RECORDS
    assert metrics_of(rule["expr"]) or "instance:" in rule["expr"] or "up{" in rule["expr"]


def test_an_invented_metric_is_noticed() -> None:
    assert unknown("rate(eftraind_train_stepz_total[5m])") == {"train_stepz_total"}
    assert not unknown("rate(eftraind_train_step_duration_seconds_bucket[5m])")


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_explained(name: str) -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
    assert ALERTS[name]["labels"]["severity"] in row
    assert set(ALERTS[name]["annotations"]) == {"summary", "description"}


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool (Debian: prometheus)")
def test_promtool_finds_nothing_to_complain_about_in_a_whole_daemon(learning: Any) -> None:
    assert PROMTOOL is not None
    port = learning.status()["endpoints"]["metrics_port"]

    def scrape() -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            return bytes(answer.read())

    text = until(lambda: b"eftraind_accuracy_ratio{" in (page := scrape()) and page, 60.0, "scores")
    assert b'result="rolled_back"' in text and b"eftraind_power_budget_watts 4.0" in text
    run = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")


def test_a_real_prometheus_runs_them(watched: tuple[Any, Any]) -> None:
    prometheus, _ = watched
    gain = until(lambda: prometheus.query("instance:eftraind_adaptation_gain:ratio"), 60.0, "gain")
    assert -1 <= float(gain[0]["value"][1]) <= 1
    power = until(lambda: prometheus.query("instance:eftraind_power_watts:sum"), 60.0, "power")
    assert float(power[0]["value"][1]) == 2.5

    def evaluated() -> Any:
        groups = prometheus.get("rules")["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        return found if all(rule["health"] == "ok" for rule in found) else None

    assert len(until(evaluated, 60.0, "all rules")) == len(RULES)
    assert prometheus.query('up{job="eftraind"} == 1')


def test_a_real_rollback_raises_the_alert(watched: tuple[Any, Any]) -> None:
    prometheus, daemon = watched
    until(lambda: done(daemon, "promote"), 30.0, "a swap")
    until(lambda: done(daemon, "rollback"), 30.0, "a rollback")
    firing = 'ALERTS{alertname="EftraindRolledBack",alertstate="firing"}'
    until(lambda: prometheus.query(firing), 60.0, "the alert")
