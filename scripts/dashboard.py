"""Writes configs/grafana/eftraind.json, the Grafana dashboard, from this description of it.

Needs grafana-foundation-sdk, which the extra `dev` installs; the JSON is in the tree, so that
nobody else does. Every expression is run against a real Prometheus by tests/watch.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import GraphGradientMode, VisibilityMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DynamicConfigValue,
    VariableRefresh,
)

OUT = Path(__file__).parent.parent / "configs" / "grafana" / "eftraind.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH = 24  # columns of Grafana's grid
I = 'instance=~"$instance"'  # noqa: E741
BLUE, GREY, RED, ORANGE = "#3b6fe0", "#8b94a3", "#d64545", "#e08a2e"


@dataclass(frozen=True)
class Line:
    """One query and how its series are called."""

    expression: str
    legend: str
    colour: str = ""


@dataclass(frozen=True)
class Chart:
    title: str
    unit: str
    lines: tuple[Line, ...]
    text: str = ""
    width: int = 8
    least: float | None = 0
    most: float | None = None


@dataclass(frozen=True)
class Figure:
    """One number, the latest."""

    title: str
    unit: str
    expression: str
    text: str = ""
    width: int = 4


def rate(name: str, labels: str = "") -> str:
    inside = f"{I}, {labels}" if labels else I
    return f"rate(eftraind_{name}{{{inside}}}[$__rate_interval])"


def p(share: float, name: str) -> str:
    return f"histogram_quantile({share}, {rate(name + '_bucket')})"


SERVED = f'eftraind_accuracy_ratio{{{I}, model="serving"}}'
FROZEN = f'eftraind_accuracy_ratio{{{I}, model="golden"}}'
GAIN = f"{SERVED} - ignoring(model) {FROZEN}"

ROWS: dict[str, tuple[Chart | Figure, ...]] = {
    "Does it help?": (
        Figure("Adaptation gain", "percentunit", GAIN, "Accuracy served minus frozen."),
        Figure("Served", "percentunit", SERVED),
        Figure("Frozen", "percentunit", FROZEN),
        Figure("Weights version", "none", f"eftraind_weights_version{{{I}}}"),
        Figure(
            "Swaps", "none", f'eftraind_weights_swaps_total{{{I}, result="promoted"}}',
            "Since the engine started.",
        ),
        Figure(
            "Rollbacks", "none", f'eftraind_weights_swaps_total{{{I}, result="rolled_back"}}',
            "Since the engine started.",
        ),
        Chart(
            "Accuracy on new samples", "percentunit",
            (
                Line(SERVED, "{{instance}} served", BLUE),
                Line(FROZEN, "{{instance}} frozen", GREY),
                Line(f'eftraind_accuracy_ratio{{{I}, model="candidate"}}',
                     "{{instance}} candidate", ORANGE),
            ),
            "Each sample is predicted before anyone learns from it.", 16, most=1,
        ),
        Chart("Adaptation gain", "percentunit", (Line(GAIN, "{{instance}}", BLUE),), least=None),
    ),
    "Throughput and latency": (
        Chart(
            "Samples", "cps",
            (
                Line(rate("ingest_operations_total", 'operation="samples", outcome="accepted"'),
                     "{{instance}} received"),
                Line(rate("train_samples_total"), "{{instance}} trained, repeats included"),
                Line(rate("infer_samples_total"), "{{instance}} predicted"),
            ),
        ),
        Chart(
            "Inference, as clients see it", "s",
            (
                Line(p(0.5, "infer_request_duration_seconds"), "{{instance}} median"),
                Line(p(0.99, "infer_request_duration_seconds"), "{{instance}} 99 %"),
            ),
            "From receipt to reply in the front.",
        ),
        Chart(
            "Stages, 99 %", "s",
            (
                Line(p(0.99, "journal_commit_duration_seconds"), "{{instance}} journal commit"),
                Line(p(0.99, "infer_wait_duration_seconds"), "{{instance}} wait for the device"),
                Line(p(0.99, "infer_device_duration_seconds"), "{{instance}} inference on it"),
                Line(p(0.99, "device_slice_duration_seconds"), "{{instance}} slice of training"),
                Line(p(0.99, "train_step_duration_seconds"), "{{instance}} training step"),
                Line(p(0.99, "checkpoint_duration_seconds"), "{{instance}} checkpoint"),
            ),
        ),
    ),
    "Learning": (
        Chart(
            "Swaps and rollbacks", "none",
            (
                Line(f'increase(eftraind_weights_swaps_total{{{I}, result="promoted"}}'
                     "[$__rate_interval])", "{{instance}} swaps", BLUE),
                Line(f'increase(eftraind_weights_swaps_total{{{I}, result="rolled_back"}}'
                     "[$__rate_interval])", "{{instance}} rollbacks", RED),
            ),
            width=6,
        ),
        Chart(
            "Gate", "cps", (Line(rate("gate_decisions_total"), "{{instance}} {{result}}"),),
            "Candidates judged.", 6,
        ),
        Chart("Loss", "none", (Line(f"eftraind_train_loss{{{I}}}", "{{instance}}"),),
              "Mean of the latest step, in nats.", 6),
        Chart(
            "Waiting", "none",
            (
                Line(f"eftraind_train_lag_samples{{{I}}}", "{{instance}} samples not trained on"),
                Line(f"eftraind_replay_pending_samples{{{I}}}", "{{instance}} without a label"),
            ),
            width=6,
        ),
    ),
    "Power and energy": (
        Chart(
            "Power", "watt",
            (
                Line(f"eftraind_power_watts{{{I}}}", "{{instance}} {{rail}}"),
                Line(f"eftraind_power_budget_watts{{{I}}}", "{{instance}} budget", RED),
            ),
            "Measured; nothing here where there is no sensor.",
        ),
        Chart(
            "Energy per trained sample", "joule",
            (
                Line(
                    f"sum without (rail, source) ({rate('energy_joules_total')})"
                    f" / ({rate('train_samples_total')} > 0)",
                    "{{instance}}",
                ),
            ),
            "All rails together, and all that runs meanwhile.",
        ),
        Chart(
            "Arithmetic", "flops",
            (Line(rate("device_operations_total"), "{{instance}} {{work}}"),),
            "Floating-point operations of the device, two per multiply-add.",
        ),
    ),
    "Journal": (
        Chart(
            "Fill", "percentunit",
            (Line(f"eftraind_journal_used_bytes{{{I}}} / eftraind_journal_limit_bytes{{{I}}}",
                  "{{instance}}"),),
            most=1, width=6,
        ),
        Chart(
            "Records not consumed", "none",
            (Line(f"eftraind_journal_records{{{I}}}", "{{instance}}"),), width=6,
        ),
        Chart(
            "Written to the disk", "Bps",
            (Line(rate("journal_device_bytes_written_total"), "{{instance}}"),), width=6,
        ),
        Chart(
            "Refused", "cps",
            (Line(rate("ingest_operations_total", 'outcome!~"accepted|duplicate"'),
                  "{{instance}} {{operation}} {{outcome}}"),),
            "Empty as long as nothing is refused.", 6,
        ),
    ),
    "Device and plan": (
        Chart(
            "Measured over planned time", "none",
            (Line(f"eftraind_plan_error_ratio{{{I}}}", "{{instance}} {{operation}}"),),
            "1 is as predicted, per kind of command, in the latest training step.", 6,
        ),
        Chart(
            "Device at work", "percentunit",
            (Line(rate("device_busy_seconds_total"), "{{instance}} {{work}}"),), width=6,
        ),
        Chart(
            "Failures", "none",
            (
                Line(f"increase(eftraind_device_errors_total{{{I}}}[$__rate_interval])",
                     "{{instance}} {{code}}", RED),
                Line(f"increase(eftraind_train_nonfinite_total{{{I}}}[$__rate_interval])",
                     "{{instance}} not finite", ORANGE),
            ),
            width=6,
        ),
        Chart(
            "Memory", "bytes",
            (
                Line(f"eftraind_front_process_resident_memory_bytes{{{I}}}", "{{instance}} front"),
                Line(f"eftraind_engine_process_resident_memory_bytes{{{I}}}",
                     "{{instance}} engine"),
            ),
            width=6,
        ),
    ),
}  # fmt: skip
ANNOTATIONS = (("Swaps", "promoted", BLUE), ("Rollbacks", "rolled_back", RED))


def query(line: Line, number: int) -> prometheus.Dataquery:
    made = prometheus.Dataquery().ref_id(chr(ord("A") + number)).datasource(SOURCE)
    return made.expr(line.expression).legend_format(line.legend).range()


def fixed(colour: str) -> list[DynamicConfigValue]:
    return [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})]


def chart(given: Chart) -> timeseries.Panel:
    panel = timeseries.Panel().title(given.title).description(given.text).datasource(SOURCE)
    panel.unit(given.unit).span(given.width).height(8).line_width(2).fill_opacity(6)
    panel.gradient_mode(GraphGradientMode.OPACITY).show_points(VisibilityMode.NEVER)
    if given.least is not None:
        panel.min(given.least)
    if given.most is not None:
        panel.max(given.most)
    for number, line in enumerate(given.lines):
        panel.with_target(query(line, number))
        if line.colour:
            panel.override_by_query(chr(ord("A") + number), fixed(line.colour))
    return panel


def figure(given: Figure) -> stat.Panel:
    panel = stat.Panel().title(given.title).description(given.text).datasource(SOURCE)
    panel.unit(given.unit).span(given.width).height(4)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.with_target(query(Line(given.expression, "{{instance}}"), 0))


def annotation(name: str, result: str, colour: str) -> dashboard.AnnotationQuery:
    """Marks a minute with such a change; Grafana asks for one value a minute."""
    labels = f'{I}, result="{result}"'
    made = dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(True)
    made.icon_color(colour)
    return made.expr(f"increase(eftraind_weights_swaps_total{{{labels}}}[1m]) > 0")


def built() -> str:
    """The dashboard as JSON."""
    board = dashboard.Dashboard("eftraind").uid("eftraind").tags(["eftraind", "robots"])
    board.refresh("10s").time("now-1h", "now").tooltip(DashboardCursorSync.CROSSHAIR).editable()
    board.description("Robots that keep learning. Made by scripts/dashboard.py of eftraind.")
    board.with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
    board.with_variable(
        dashboard.QueryVariable("instance").datasource(SOURCE)
        .query("label_values(eftraind_build_info, instance)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).multi(True).include_all(True)
    )  # fmt: skip
    for given in ANNOTATIONS:
        board.annotation(annotation(*given))
    for title, panels in ROWS.items():
        board.with_row(dashboard.Row(title))
        for panel in panels:
            board.with_panel(chart(panel) if isinstance(panel, Chart) else figure(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


if __name__ == "__main__":
    OUT.write_text(built(), encoding="utf-8")
    sys.stderr.write(f"{OUT}\n")
