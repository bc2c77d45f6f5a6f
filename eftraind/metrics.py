"""All metrics of the daemon: one table, typed handles, snapshots, the Prometheus text page.

The only module that knows prometheus_client. A registry is passed in, there is no global one.
A metric that cannot be provided is absent: a gauge appears with its first value and can be taken
back, labelled metrics appear with their first label. The engine has no network, so its registry
travels as a plain-list snapshot to the front, which shows both on one page.
"""

import dataclasses
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

PREFIX = "eftraind_"
PAGE_WORKERS = 4
PAGE_TIMEOUT_S = 5.0

LATENCY_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25)
DISK_S = (*LATENCY_S, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True)
class Spec:
    """One row of the table. `name` is without the common prefix."""

    name: str
    kind: str
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    owner: str = "front"
    buckets: tuple[float, ...] = ()


def _counter(name: str, unit: str, text: str, *labels: str, owner: str = "front") -> Spec:
    return Spec(name, "counter", unit, text, labels, owner)


def _gauge(name: str, unit: str, text: str, *labels: str, owner: str = "front") -> Spec:
    return Spec(name, "gauge", unit, text, labels, owner)


def _histogram(
    name: str, text: str, *labels: str, owner: str = "front", buckets: tuple[float, ...] = LATENCY_S
) -> Spec:
    return Spec(name, "histogram", "seconds", text, labels, owner, buckets)


E = "engine"
TABLE: tuple[Spec, ...] = (
    _gauge("build_info", "", "Always 1; the labels describe what runs.", "version", "python"),
    _gauge("start_time_seconds", "seconds", "Wall time at which the front process started."),
    # clients
    _gauge("clients", "connections", "Clients that said HELLO and are served."),
    _gauge("producers", "producers", "Producer names whose sequence numbers are remembered."),
    _counter("clients_superseded_total", "connections",
             "Connections ended because their producer connected again."),
    _counter("clients_expired_total", "connections", "Connections ended because they fell silent."),
    _counter("messages_total", "messages", "Messages received from clients.", "kind"),
    _counter("errors_sent_total", "messages", "Error answers to clients.", "code"),
    _counter("replies_dropped_total", "messages",
             "Answers thrown away because their client is gone or does not read.", "reason"),
    # ingest
    _counter("ingest_operations_total", "operations",
             "Samples, labels and withdrawals received, by what became of them: accepted, "
             "duplicate, or the code of the error.", "operation", "outcome"),
    _counter("ingest_received_bytes_total", "bytes", "Bytes of accepted operations."),
    _gauge("ingest_queue_bytes", "bytes", "Accepted bytes that are not durable yet."),
    # journal
    _histogram("journal_commit_duration_seconds", "Time of one group commit.", buckets=DISK_S),
    _counter("journal_commits_total", "commits", "Group commits."),
    _gauge("journal_records", "records", "Durable records the engine has not consumed."),
    _gauge("journal_used_bytes", "bytes", "Bytes of the ring that hold unconsumed records."),
    _gauge("journal_limit_bytes", "bytes", "Size of the ring."),
    _counter("journal_device_bytes_written_total", "bytes",
             "Bytes written to the device by the journal, framing included."),
    _counter("journal_corrupt_records_total", "records", "Damaged records found at start."),
    _counter("journal_quarantined_total", "segments", "Damaged segment files set aside at start."),
    _gauge("journal_read_only", "", "1 while the journal refuses writes, else 0."),
    # inference, as clients see it
    _counter("infer_requests_total", "requests",
             "Inference requests by outcome: ok, or the code of the error.", "code"),
    _histogram("infer_request_duration_seconds",
               "Time from the receipt of an inference request to its reply."),
    _gauge("infer_in_flight", "requests", "Inference requests the engine is working on."),
    # the engine, as front sees it
    _gauge("engine_up", "", "1 while an engine is connected, else 0."),
    _counter("engine_sessions_total", "sessions", "Engine processes that said hello."),
    _counter("link_errors_total", "messages", "Messages from the engine that did not decode."),
    _gauge("engine_lag_records", "records", "Durable records the engine has not fetched."),
    _counter("events_total", "events", "Events published.", "topic"),
    # power
    _gauge("power_watts", "watts", "Latest power of a rail.", "rail", "source"),
    _counter("energy_joules_total", "joules", "Energy drawn by a rail since start.",
             "rail", "source"),
    # engine: samples
    _counter("records_consumed_total", "records", "Journal records taken in.", owner=E),
    _counter("samples_skipped_total", "samples", "Samples not trained on, by reason.", "reason",
             owner=E),
    _gauge("replay_samples", "samples", "Samples in the replay memory.", owner=E),
    _gauge("replay_class_samples", "samples", "Samples in the replay memory per class.", "class",
           owner=E),
    _gauge("replay_pending_samples", "samples", "Samples that wait for their label.", owner=E),
    # engine: training
    _counter("train_steps_total", "steps", "Training steps done.", owner=E),
    _counter("train_samples_total", "samples", "Samples in all training steps, repeats included.",
             owner=E),
    _histogram("train_step_duration_seconds", "Time of one training step on the device.", owner=E,
               buckets=DISK_S),
    _gauge("train_loss", "nats", "Mean loss of the latest training step.", owner=E),
    _gauge("train_paused", "", "1 while training is paused, else 0.", owner=E),
    _gauge("train_lag_samples", "samples", "Labelled samples not yet trained on.", owner=E),
    _counter("train_nonfinite_total", "steps", "Steps thrown away for NaN or infinity.", owner=E),
    # engine: quality
    _gauge("accuracy_ratio", "", "Share of right answers on recent labelled samples, each "
           "predicted before it was trained on.", "model", owner=E),
    _counter("scored_samples_total", "samples", "Labelled samples scored before training.",
             owner=E),
    _counter("gate_decisions_total", "decisions", "Candidates judged.", "result", owner=E),
    _gauge("weights_version", "", "Version of the weights that serve.", owner=E),
    _counter("weights_swaps_total", "swaps", "Changes of the serving weights.", "result", owner=E),
    _counter("checkpoint_writes_total", "checkpoints", "Checkpoints written.", "result", owner=E),
    _histogram("checkpoint_duration_seconds", "Time to write one checkpoint.", owner=E,
               buckets=DISK_S),
    _gauge("checkpoint_last_success_timestamp_seconds", "seconds",
           "Wall time of the newest checkpoint.", owner=E),
    _counter("checkpoint_damaged_total", "checkpoints", "Damaged checkpoints set aside.", owner=E),
    # engine: device
    _counter("device_busy_seconds_total", "seconds", "Time the device worked.", "work", owner=E),
    _counter("device_operations_total", "operations",
             "Floating-point operations the device did (two per multiply-add).", "work", owner=E),
    _histogram("device_slice_duration_seconds", "Time of one uninterrupted piece of training.",
               owner=E),
    _gauge("device_longest_slice_seconds", "seconds", "Longest of those since start.", owner=E),
    _gauge("plan_error_ratio", "", "Measured over predicted time of a kind of command in the "
           "latest training step; 1 is as predicted.", "operation", owner=E),
    _gauge("plan_drift_ratio", "", "Predicted time of a kind of command now, after following "
           "measurements, over that of the start.", "operation", owner=E),
    _counter("device_errors_total", "errors", "Device failures.", "code", owner=E),
    _counter("infer_samples_total", "samples", "Samples inferred for clients.", owner=E),
    _histogram("infer_wait_duration_seconds",
               "Time an inference waited in the engine for the device.", owner=E),
    _histogram("infer_device_duration_seconds", "Time of one inference on the device.", owner=E),
)  # fmt: skip

_CLASSES = {
    "counter": prometheus_client.Counter,
    "gauge": prometheus_client.Gauge,
    "histogram": prometheus_client.Histogram,
}


class _Handle:
    def __init__(self, spec: Spec, registry: CollectorRegistry) -> None:
        self._spec = spec
        self._registry = registry
        self._metric: Any = None
        self._children: dict[tuple[str, ...], Any] = {}

    def _child(self, labels: tuple[str, ...]) -> Any:
        child = self._children.get(labels)
        if child is None:
            if self._metric is None:
                self._metric = self._registered()
            child = self._metric.labels(*labels) if self._spec.labels else self._metric
            self._children[labels] = child
        return child

    def _registered(self) -> Any:
        spec = self._spec
        options: dict[str, Any] = {"buckets": spec.buckets} if spec.buckets else {}
        return _CLASSES[spec.kind](
            PREFIX + spec.name, spec.help, spec.labels, registry=self._registry, **options
        )


class Counter(_Handle):
    """Only grows. An unlabelled one is shown from the start, as 0."""

    def inc(self, amount: float = 1.0, *labels: str) -> None:
        self._child(labels).inc(amount)


class Gauge(_Handle):
    """Goes up and down; absent until first set."""

    def set(self, value: float, *labels: str) -> None:
        self._child(labels).set(value)

    def clear(self, *labels: str) -> None:
        """Make it absent again: the value is no longer known."""
        if self._children.pop(labels, None) is None:
            return
        if self._spec.labels:
            self._metric.remove(*labels)
        else:
            self._registry.unregister(self._metric)
            self._metric = None


class Histogram(_Handle):
    """Counts durations per bucket."""

    def observe(self, value: float, *labels: str) -> None:
        self._child(labels).observe(value)


class Metrics:
    """Handles to the metrics one process owns, by name without prefix."""

    def __init__(self, registry: CollectorRegistry | None = None, *, owner: str = "front") -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._handles: dict[str, _Handle] = {}
        kinds = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
        for spec in TABLE:
            if spec.owner == owner:
                handle = kinds[spec.kind](spec, self.registry)
                self._handles[spec.name] = handle
                if spec.kind != "gauge" and not spec.labels:
                    handle._child(())
        prometheus_client.ProcessCollector(namespace=PREFIX + owner, registry=self.registry)

    def counter(self, name: str) -> Counter:
        handle = self._handles[name]
        assert isinstance(handle, Counter), f"{name} is no counter"
        return handle

    def gauge(self, name: str) -> Gauge:
        handle = self._handles[name]
        assert isinstance(handle, Gauge), f"{name} is no gauge"
        return handle

    def histogram(self, name: str) -> Histogram:
        handle = self._handles[name]
        assert isinstance(handle, Histogram), f"{name} is no histogram"
        return handle

    def snapshot(self) -> list[Any]:
        """[[name, type, help, [[suffix, labels, value]...]]...], plain data for JSON."""
        families = []
        for family in self.registry.collect():
            samples = [
                [sample.name[len(family.name) :], dict(sample.labels), sample.value]
                for sample in family.samples
                if not sample.name.endswith("_created")
            ]
            if samples:
                families.append([family.name, family.type, family.documentation, samples])
        return families


class Page:
    """What is shown: the own registry and the latest snapshot of the other process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._other: list[Metric] = []

    def show(self, snapshot: Sequence[Any]) -> None:
        """Replace the other process's metrics; raises ValueError on a malformed snapshot."""
        try:
            self._other = [_family(*row) for row in snapshot]
        except (TypeError, AttributeError, KeyError) as error:
            raise ValueError(f"malformed metrics snapshot: {error}") from error

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            kept = [s for s in family.samples if not s.name.endswith("_created")]
            if kept:
                family.samples = kept
                yield family
        yield from self._other

    def text(self) -> bytes:
        # generate_latest asks only for collect()
        text: bytes = prometheus_client.generate_latest(self)
        return text


def _family(name: str, kind: str, text: str, samples: Iterable[Any]) -> Metric:
    family = Metric(name, text, kind)
    for suffix, labels, value in samples:
        family.add_sample(name + suffix, dict(labels), float(value))
    return family


class PageServer:
    """Serves the page over HTTP from its own thread, a few readers at a time."""

    def __init__(self, page: Callable[[], bytes], host: str, port: int) -> None:
        self._page = page
        self._server = make_server(
            host, port, self._answer, server_class=_BoundedServer, handler_class=_QuietHandler
        )
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )
        self._thread.start()

    def _answer(self, environ: Any, start_response: Any) -> list[bytes]:
        if environ.get("REQUEST_METHOD") != "GET" or environ.get("PATH_INFO") not in (
            "/", "/metrics",
        ):  # fmt: skip
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"GET /metrics\n"]
        body = self._page()
        kind = "text/plain; version=0.0.4; charset=utf-8"
        start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _BoundedServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if ":" in args[0][0]:
            self.address_family = socket.AF_INET6
        super().__init__(*args, **kwargs)
        self._free = threading.Semaphore(PAGE_WORKERS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def server_bind(self) -> None:
        # HTTPServer.server_bind looks its own name up in DNS, which may take seconds on a robot.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "", int(self.socket.getsockname()[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that went away is nobody's problem."""


class _QuietHandler(WSGIRequestHandler):
    timeout = PAGE_TIMEOUT_S

    def log_message(self, *args: Any) -> None:
        """Scrapes are not worth a line each."""


def reference_table() -> str:
    """The Markdown table in docs/metrics.md."""
    lines = ["| name | type | unit | labels | from | meaning |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for spec in TABLE:
        row = dataclasses.asdict(spec)
        labels = ", ".join(f"`{label}`" for label in spec.labels)
        lines.append(
            f"| `{PREFIX}{row['name']}` | {row['kind']} | {row['unit']} | {labels} "
            f"| {row['owner']} | {row['help']} |"
        )
    return "\n".join(lines) + "\n"
