"""The ring behind the live page, and the server in front of it, without a daemon."""

import doctest
import hashlib
import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eftraind.clock import Clock, FakeClock
from eftraind.metrics import Metrics, Page
from eftraind.service import live as module
from eftraind.service import web
from eftraind.service.live import Live, printable, quantile

INF = float("inf")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(owner="front")


def made(metrics: Metrics, clock: Clock, rails: tuple[str, ...] = ()) -> Live:
    return Live(page=Page(metrics.registry), rails=rails, clock=clock)


def read(live: Live, since: int = 0) -> dict:
    return json.loads(live.document(since))


def test_the_examples() -> None:
    assert doctest.testmod(module).failed == 0


def test_a_row_has_rates_since_the_row_before_and_null_for_the_unknown(metrics: Metrics) -> None:
    clock = FakeClock()
    live = made(metrics, clock, rails=("VCC",))
    live.take({})
    metrics.counter("ingest_operations_total").inc(30, "samples", "accepted")
    metrics.counter("ingest_operations_total").inc(7, "samples", "busy")
    metrics.gauge("power_watts").set(2.5, "VCC", "ina226")
    for _ in range(10):
        metrics.histogram("infer_request_duration_seconds").observe(0.0015)
    clock.advance(2.0)
    live.take({"version": "1"})
    answer = read(live)
    rows = [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]
    assert rows[0]["ingest_per_s"] is None, "one look tells no rate"
    assert rows[1]["ingest_per_s"] == 15.0 and rows[1]["infer_per_s"] == 5.0
    assert rows[1]["infer_p50_s"] == pytest.approx(0.0015)
    assert rows[1]["watts VCC"] == 2.5 and rows[0]["watts VCC"] is None
    assert rows[1]["serving"] is None and rows[1]["train_per_s"] is None
    assert rows[1]["uptime_s"] == 2.0
    assert answer["now"] == {"version": "1"}


def test_a_counter_that_began_anew_has_no_rate(metrics: Metrics) -> None:
    clock = FakeClock()
    page = Page(metrics.registry)
    live = Live(page=page, rails=(), clock=clock)
    for count in (500.0, 4.0):  # the engine was restarted in between
        page.show([["eftraind_train_samples", "counter", "h", [["_total", {}, count]]]])
        clock.advance(1)
        live.take({})
    row = dict(zip(read(live)["columns"], read(live)["rows"][1], strict=True))
    assert row["train_per_s"] is None


def test_the_ring_is_bounded_and_a_reader_gets_what_is_new(metrics: Metrics) -> None:
    clock = FakeClock()
    live = made(metrics, clock)
    for number in range(module.ROWS + 5):
        live.event("swapped", {"version": number})
        live.event("score", {"samples": 1})
        live.take({})
        clock.advance(1)
    everything = read(live)
    assert len(everything["rows"]) == module.ROWS
    assert everything["next"] == module.ROWS + 5
    assert [e["text"] for e in everything["events"]][-1] == f"version {module.ROWS + 4}"
    assert len(everything["events"]) == module.EVENTS
    assert read(live, since=everything["next"])["rows"] == []
    live.event("swapped", {"version": 7})
    assert read(live, since=everything["next"])["events"] == [], "not before its row"
    live.take({})
    later = read(live, since=everything["next"])
    assert len(later["rows"]) == 1 and len(later["events"]) == 1
    assert read(live, since=10**15)["rows"] == []


def test_texts_from_outside_can_do_no_harm(metrics: Metrics) -> None:
    live = made(metrics, FakeClock(), rails=("a\x1b[2J",))
    live.event("alarm\n", {"message": "\x1b]0;owned\x07<script>" + "x" * 5000})
    live.take({"producers": ["cam\x9b31m", "‮evil"], "deep": {"k\r": ["v\t"]}})
    text = live.document(0).decode()
    raw = json.loads(text)
    shown = json.dumps(raw, ensure_ascii=False)
    assert not [c for c in shown if not c.isprintable()]
    assert len(raw["events"][0]["text"]) <= module.TEXT_LENGTH
    assert printable("plain ä text") == "plain ä text"


def test_numbers_json_does_not_know_are_null(metrics: Metrics) -> None:
    page = Page(metrics.registry)
    live = Live(page=page, rails=(), clock=FakeClock())
    sample = ["", {"model": "serving"}, float("nan")]
    page.show([["eftraind_accuracy_ratio", "gauge", "h", [sample]]])
    live.take({})
    assert read(live)["rows"][0][1] is None


def test_quantiles_as_prometheus_has_them() -> None:
    counts = [(0.1, 10.0), (0.2, 10.0), (0.5, 20.0), (INF, 25.0)]
    assert quantile(counts, 0.5) == pytest.approx(0.2 + 0.3 * 2.5 / 10)
    assert quantile(counts, 0.99) == 0.5, "beyond the last bound nobody knows"
    assert quantile([], 0.5) is None and quantile([(1.0, 0.0), (INF, 0.0)], 0.5) is None


# the server


class Served:
    def __init__(self) -> None:
        self.silent_s = 0.0
        self.reasons: list[str] = []
        self.asked: list[int] = []
        self.clock = FakeClock()
        site = web.Site(
            lambda: b"m 1\n", self.live, lambda: self.silent_s, lambda: list(self.reasons)
        )
        self.server = web.WebServer(site, "127.0.0.1", 0, self.clock)

    def live(self, since: int) -> bytes:
        self.asked.append(since)
        return b"{}"

    def get(self, path: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=20)


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.server.close()


def test_routes(served: Served) -> None:
    assert served.get("/metrics")[:2] == (200, b"m 1\n")
    assert served.get("/live.json?since=12")[:2] == (200, b"{}")
    assert served.get("/live.json")[0] == 200 and served.asked == [12, 0]
    assert served.get("/healthz")[:2] == (200, b"ok\n")
    assert served.get("/readyz")[:2] == (200, b"ready\n")
    status, body, headers = served.get("/")
    assert status == 200 and b"<title>eftraind" in body
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert served.get("/", "HEAD")[:2] == (200, b"")


@pytest.mark.parametrize("since", ["-1", "x", "1e3", "1" * 16, "%00", "²"])
def test_a_strange_since_is_refused(served: Served, since: str) -> None:
    status, *_ = served.get(f"/live.json?since={since}".replace("²", "%C2%B2"))
    assert status == 400 and not served.asked


@pytest.mark.parametrize("path", ["/../front.py", "/page/", "/etc/passwd", "/page.js/", "/%2e%2e/"])
def test_nothing_else_is_there(served: Served, path: str) -> None:
    assert served.get(path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_it_is_read_only(served: Served, method: str) -> None:
    assert served.get("/metrics", method)[0] == 405


@pytest.mark.parametrize("path", ["/", "/metrics", "/live.json", "/nothing", "/page.js"])
def test_the_browser_is_told_to_load_nothing_from_elsewhere(served: Served, path: str) -> None:
    headers = served.get(path)[2]
    policy = dict(part.strip().split(" ", 1) for part in
                  headers["Content-Security-Policy"].split(";"))  # fmt: skip
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'"}
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_health_is_the_loops_and_readiness_the_daemons(served: Served) -> None:
    served.silent_s = web.STALE_S + 1
    assert served.get("/healthz")[0] == 503
    served.reasons = ["not engine_up"]
    assert served.get("/readyz")[:2] == (503, b"not engine_up\n")


def test_readers_beyond_the_limit_are_turned_away_and_late_ones_cut_off(served: Served) -> None:
    idle = [served.connect() for _ in range(web.READERS)]
    for one in idle:
        one.sendall(b"GET /metrics HTTP/1.1\r\nX: ")  # and never the rest
    deadline_s = time.monotonic() + 20
    while len(served.server._server._open) < web.READERS:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        served.get("/metrics")
    served.clock.advance(web.DEADLINE_S + 1)
    for one in idle:
        while one.recv(65536):  # it may have been answered: its request ended with the connection
            pass
        one.close()
    while served.server._server._open:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert served.get("/metrics")[0] == 200


def test_garbage_is_answered_or_ignored(served: Served) -> None:
    for line in (b"\x16\x03\x01\x00\xa5\x01\r\n\r\n", b"GET\r\n\r\n", b"G" * 70000 + b"\r\n\r\n"):
        with served.connect() as one:
            try:
                one.sendall(line)
                while one.recv(65536):
                    pass
            except ConnectionError:
                continue
    assert served.get("/healthz")[0] == 200


# the files


PAGE = Path(web.__file__).parent / "page"


def test_the_page_is_small_and_complete() -> None:
    names = {name for name, _ in web.ASSETS.values()}
    assert names | {"uPlot.LICENSE"} == {path.name for path in PAGE.iterdir()}
    assert sum((PAGE / name).stat().st_size for name in names) < 200_000


def test_the_vendored_library_is_what_was_fetched() -> None:
    note = (PAGE / "uPlot.LICENSE").read_text()
    assert "MIT" in note and "Leon Sorokin" in note
    for name in ("uPlot.iife.min.js", "uPlot.min.css"):
        assert f"{hashlib.sha256((PAGE / name).read_bytes()).hexdigest()}  {name}" in note


def test_the_page_reads_columns_that_exist() -> None:
    page, script = (PAGE / "index.html").read_text(), (PAGE / "page.js").read_text()
    read = set(re.findall(r'data-read="(\w+)"', page)) | set(re.findall(r'value\("(\w+)"', script))
    assert read and read <= set(module.COLUMNS)


def test_the_page_sets_text_and_never_markup() -> None:
    script = (PAGE / "page.js").read_text()
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in script
    page = (PAGE / "index.html").read_text()
    assert "://" not in page.replace("http://www.w3.org", "") and "style=" not in page
