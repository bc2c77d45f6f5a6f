"""The table of metrics: its rules, its handles, its page, and that the code uses all of it."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from eftraind import metrics
from eftraind.metrics import TABLE, Metrics, Page

ROOT = Path(__file__).parent.parent.parent
USE = re.compile(r"""(counter|gauge|histogram)\(\s*["']([a-z_]+)["']""")


def used() -> set[tuple[str, str]]:
    """(kind, name) of every metric the code touches."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "eftraind").rglob("*.py")]
    found = {use for source in sources for use in USE.findall(source)}
    samplelog = (ROOT / "eftraind" / "service" / "samplelog.py").read_text(encoding="utf-8")
    return found | {
        ("counter", name) for name in re.findall(r'\("([a-z_]+_total)", stats\.', samplelog)
    }


def test_the_code_uses_only_metrics_of_the_table() -> None:
    known = {(spec.kind, spec.name) for spec in TABLE}
    assert used() <= known


def test_every_front_metric_of_the_table_is_used() -> None:
    names = {name for _, name in used()}
    assert {spec.name for spec in TABLE if spec.owner == "front"} <= names


@pytest.mark.parametrize("spec", TABLE, ids=lambda spec: spec.name)
def test_names_follow_prometheus(spec: metrics.Spec) -> None:
    assert re.fullmatch("[a-z][a-z0-9_]*", spec.name)
    assert spec.name.endswith("_total") == (spec.kind == "counter")
    assert not re.search("_(ms|us|ns|milliseconds|kb|mb)(_|$)", spec.name)
    assert spec.help.endswith(".")
    if spec.unit in ("seconds", "bytes", "joules", "watts"):
        assert spec.unit in spec.name
    assert spec.kind != "histogram" or list(spec.buckets) == sorted(set(spec.buckets))


def test_the_page_has_the_table() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    table = text.partition("-->\n")[2].partition("<!-- end -->")[0]
    assert table == metrics.reference_table(), "paste the output of: eftraind reference metrics"


def test_what_is_not_known_is_absent() -> None:
    made = Metrics(CollectorRegistry())
    text = Page(made.registry).text().decode()
    assert "eftraind_ingest_received_bytes_total 0.0" in text, "counters start at 0"
    assert "eftraind_engine_up" not in text, "gauges start absent"
    made.gauge("engine_up").set(1)
    made.gauge("power_watts").set(3, "VCC", "ina226")
    assert "eftraind_engine_up 1.0" in Page(made.registry).text().decode()
    made.gauge("engine_up").clear()
    made.gauge("engine_up").clear()
    made.gauge("power_watts").clear("VCC", "ina226")
    text = Page(made.registry).text().decode()
    assert "eftraind_engine_up" not in text and "eftraind_power_watts" not in text
    made.gauge("engine_up").set(0)
    assert "eftraind_engine_up 0.0" in Page(made.registry).text().decode()


def test_a_snapshot_travels_as_json_and_shows_the_same() -> None:
    engine = Metrics(owner="engine")
    engine.counter("train_steps_total").inc(3)
    engine.counter("device_busy_seconds_total").inc(0.5, "train")
    engine.histogram("infer_device_duration_seconds").observe(0.004)
    engine.gauge("accuracy_ratio").set(0.75, "serving")
    page = Page(CollectorRegistry())
    page.show(json.loads(json.dumps(engine.snapshot())))
    assert steady(page) == steady(Page(engine.registry))


def steady(page: Page) -> list[bytes]:
    """The lines that do not change from moment to moment."""
    return [line for line in page.text().splitlines() if b"_process_" not in line]


@pytest.mark.parametrize("bad", [[1], [["a"]], [["a", "gauge", "h", [["", 1, 2]]]], 3])
def test_a_malformed_snapshot_is_an_error_and_changes_nothing(bad: object) -> None:
    page = Page(CollectorRegistry())
    with pytest.raises(ValueError, match="malformed"):
        page.show(bad)  # type: ignore[arg-type]
    assert page.text() == b""


def test_an_unknown_metric_is_a_bug() -> None:
    with pytest.raises(KeyError):
        Metrics().counter("invented_total")
