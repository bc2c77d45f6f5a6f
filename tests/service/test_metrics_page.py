"""What Prometheus sees: the real page over HTTP, read by its own parser and by the real thing."""

import json
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import put_frames, until
from prometheus_client.parser import text_string_to_metric_families

from eftraind import link
from eftraind.metrics import Metrics
from eftraind.wire import Ack, Welcome

Make = Callable[..., Any]
PROMETHEUS = shutil.which("prometheus")


def scrape(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        text: bytes = page.read()
    return text


def busy(bench: Make, box: Path) -> Any:
    """A front with a client, an engine that reports metrics, and a power sensor."""
    chip = box / "sys" / "class" / "hwmon" / "hwmon0"
    chip.mkdir(parents=True)
    (chip / "name").write_text("ina226\n")
    (chip / "power1_input").write_text("2500000\n")
    (chip / "power1_label").write_text("VCCINT\n")
    b = bench(power={"sysfs_root": str(box / "sys"), "interval_s": 0.01})
    client = b.client("cam")
    client.expect(Welcome, b.turn)
    client.send(*put_frames(1, 0, 3))
    while client.expect(Ack, b.turn).ledger.durable_seq < 3:
        pass
    engine = b.engine()
    metrics = Metrics(owner="engine")
    metrics.counter("train_steps_total").inc(4)
    metrics.histogram("train_step_duration_seconds").observe(0.01)
    engine.say(link.MetricsSnapshot(metrics.snapshot()))
    b.until("the snapshot", lambda: b"eftraind_train_steps_total 4.0" in b.front.watch.page.text())
    b.until("energy", lambda: b"eftraind_energy_joules_total" in b.front.watch.page.text())
    return b


def test_the_page_parses_and_shows_both_processes(bench: Make, box: Path) -> None:
    b = busy(bench, box)
    text = scrape(b.front.watch.port).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["eftraind_ingest_operations_total", "accepted", "samples"] == 3
    assert samples["eftraind_train_steps_total",] == 4
    assert samples["eftraind_train_step_duration_seconds_count",] == 1
    assert samples["eftraind_power_watts", "VCCINT", "ina226"] == 2.5
    assert samples["eftraind_journal_read_only",] == 0
    assert families["eftraind_front_process_resident_memory_bytes"].samples
    assert families["eftraind_engine_process_resident_memory_bytes"].samples
    assert "_created" not in text
    assert "eftraind_accuracy_ratio" not in text, "what is not known is absent"


@pytest.mark.parametrize(("board", "rail"), [("kv260", "som"), ("pynq-z2", None)])
def test_power_is_what_the_board_can_measure_and_else_absent(
    bench: Make, box: Path, board: str, rail: str | None
) -> None:
    chip = box / "sys" / "class" / "hwmon" / "hwmon0"
    chip.mkdir(parents=True)
    (chip / "name").write_text("ina260_u14\n")
    (chip / "power1_input").write_text("4210000\n")
    power = {"sysfs_root": str(box / "sys"), "interval_s": 0.01, "board": board}
    b = bench(power=power)
    if rail is None:
        b.turn()
        text = b.front.watch.page.text()
        assert not re.search(rb"^eftraind_(power_watts|energy)", text, re.MULTILINE)
    else:
        shown = f'eftraind_power_watts{{rail="{rail}",source="ina260_u14"}} 4.21'.encode()
        b.until("the rail", lambda: shown in b.front.watch.page.text())


def test_the_engines_metrics_go_with_the_engine(bench: Make, box: Path) -> None:
    b = busy(bench, box)
    b.engines.pop().close()
    b.until("absence", lambda: b"eftraind_train_steps_total" not in b.front.watch.page.text())
    assert b"eftraind_engine_up 0.0" in b.front.watch.page.text()


def test_promtool_finds_nothing_to_complain_about(bench: Make, box: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    b = busy(bench, box)
    text = scrape(b.front.watch.port)
    check = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True)
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")


@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed")
def test_a_real_prometheus_scrapes_it(daemon: Make, box: Path) -> None:
    assert PROMETHEUS is not None
    front = daemon()
    port = front.ready()["endpoints"]["metrics_port"]
    target = {"job_name": "eftraind", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    path = box / "prometheus.yml"
    path.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [target]}))
    listen = box / "listen"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with listen.open("wb") as log:
        server = subprocess.Popen(
            [PROMETHEUS, f"--config.file={path}", f"--storage.tsdb.path={box / 'tsdb'}",
             f"--web.listen-address={address}"],
            stderr=log, stdout=log,
        )  # fmt: skip

    def up() -> Any:
        query = f"http://{address}/api/v1/query?query=eftraind_journal_limit_bytes"
        try:
            with urllib.request.urlopen(query, timeout=2) as answer:
                return json.load(answer)["data"]["result"]
        except (urllib.error.URLError, ConnectionError):
            assert server.poll() is None, listen.read_text()
            return None

    try:
        result = until("a scrape", up, 30.0)
        assert float(result[0]["value"][1]) == 8 << 20
    finally:
        server.kill()
        server.wait()
