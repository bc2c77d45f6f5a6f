"""The table of all metrics: names, kinds, units, labels, meanings. Declares, and measures nothing.

docs/metrics.md is generated from it, and a process can only use what it holds.
"""

import dataclasses
from dataclasses import dataclass

PREFIX = "eftraind_"

LATENCY_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25)
DISK_S = (*LATENCY_S, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True)
class Spec:
    """One row of the table. `name` is without the common prefix; `zeros` are the label values of
    a counter that exist from the start, because an increase from nothing is no increase to
    Prometheus."""

    name: str
    kind: str
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    owner: str = "front"
    buckets: tuple[float, ...] = ()
    zeros: tuple[tuple[str, ...], ...] = ()


def _counter(
    name: str,
    unit: str,
    text: str,
    *labels: str,
    owner: str = "front",
    zeros: tuple[tuple[str, ...], ...] = (),
) -> Spec:
    return Spec(name, "counter", unit, text, labels, owner, zeros=zeros)


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
    _counter("producers_forgotten_total", "producers",
             "Producers whose sequence numbers were given up for a new one: silent longest."),
    _counter("clients_superseded_total", "connections",
             "Connections ended because their producer connected again."),
    _counter("handshakes_refused_total", "handshakes",
             "Network connections refused because their key is not in the list of clients."),
    _counter("clients_expired_total", "connections", "Connections ended because they fell silent."),
    _counter("messages_total", "messages", "Messages received from clients.", "kind"),
    _counter("errors_sent_total", "messages", "Error answers to clients.", "code"),
    _counter("replies_dropped_total", "messages",
             "Answers thrown away because their client is gone or does not read.", "reason"),
    # ingest
    _counter("ingest_operations_total", "operations",
             "Samples, labels and withdrawals received, by what became of them: accepted, "
             "duplicate, or the code of the error.", "operation", "outcome",
             zeros=(("samples", "accepted"),)),
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
             "Inference requests by outcome: ok, or the code of the error.", "code",
             zeros=(("ok",),)),
    _histogram("infer_request_duration_seconds",
               "Time from the receipt of an inference request to its reply."),
    _gauge("infer_in_flight", "requests", "Inference requests the engine is working on."),
    # the engine, as front sees it
    _gauge("engine_up", "", "1 while an engine is connected, else 0."),
    _counter("engine_sessions_total", "sessions", "Engine processes that said hello."),
    _counter("engine_device_lost_total", "engines",
             "Engine processes that ended because their device was lost.", "code",
             zeros=(("device_lost",), ("device_timeout",))),
    _counter("link_errors_total", "messages", "Messages from the engine that did not decode."),
    _gauge("engine_lag_records", "records", "Durable records the engine has not fetched."),
    _counter("events_total", "events", "Events published.", "topic"),
    # power
    _gauge("power_watts", "watts", "Latest power of a rail.", "rail", "source"),
    _gauge("power_budget_watts", "watts", "Power of all rails together that power.budget_watts "
           "allows; nothing is throttled by it."),
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
    _gauge("engine_serve_only", "", "1 in an engine that only answers predictions, because the "
           "usual one failed too often; else 0.", owner=E),
    _gauge("train_lag_samples", "samples", "Labelled samples not yet trained on.", owner=E),
    _counter("train_nonfinite_total", "steps", "Steps thrown away for NaN or infinity.", owner=E),
    # engine: quality
    _gauge("accuracy_ratio", "", "Share of right answers on recent labelled samples, each "
           "predicted before it was trained on.", "model", owner=E),
    _counter("scored_samples_total", "samples", "Labelled samples scored before training.",
             owner=E),
    _counter("gate_decisions_total", "decisions", "Candidates judged.", "result", owner=E),
    _gauge("weights_version", "", "Version of the weights that serve.", owner=E),
    _counter("weights_swaps_total", "swaps", "Changes of the serving weights.", "result", owner=E,
             zeros=(("promoted",), ("rolled_back",))),
    _counter("checkpoint_writes_total", "checkpoints", "Checkpoints written.", "result", owner=E,
             zeros=(("ok",), ("failed",))),
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
    _gauge("device_fallback", "", "1: the cpu stands in for a device that could not be opened.",
           owner=E),
    _counter("device_errors_total", "errors", "Device failures.", "code", owner=E,
             zeros=(("device",), ("device_timeout",), ("nonfinite",))),
    _counter("infer_samples_total", "samples", "Samples inferred for clients.", owner=E),
    _histogram("infer_wait_duration_seconds",
               "Time an inference waited in the engine for the device.", owner=E),
    _histogram("infer_device_duration_seconds", "Time of one inference on the device.", owner=E),
)  # fmt: skip


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
