"""The configuration: one YAML file becomes one tree of frozen dataclasses.

Owns every key, its default, bounds and explanation; the reference table, the commented default file
and the checks are all generated from the same fields, so they cannot drift apart. This is the only
module that reads YAML. An unknown key, a value of another type or out of bounds is a ConfigError
that names the key's full path. It opens no sockets and creates no directories.
"""

import dataclasses
import difflib
import ipaddress
import json
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from eftraind.errors import ConfigError

MAX_YAML_BYTES = 1 << 20
IPC_PATH_MAX_BYTES = 107  # sun_path of a Unix socket, without its final zero
RECORD_OVERHEAD_BYTES = 1024  # journal framing, producer name and slack around one message
PRODUCER_BYTES = 80  # one row of the producer table that opens every journal segment
MIB = 1 << 20


def _option(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    return field(
        default=default, metadata={"doc": doc, "low": low, "high": high, "choices": choices}
    )


def required(doc: str, low: float | None = None, high: float | None = None) -> Any:
    """A field of a `record` that has no default."""
    return field(metadata={"doc": doc, "low": low, "high": high, "choices": ()})


def optional(default: Any, doc: str, low: float, high: float) -> Any:
    """A field of a `record` that may be left out."""
    return _option(default, doc, low=low, high=high)


def _section(kind: type, doc: str) -> Any:
    return field(default_factory=kind, metadata={"doc": doc})


@dataclass(frozen=True)
class ModelConfig:
    network: str = _option("digits", "name of a shipped network, or path of a network YAML file")
    weights: str | None = _option(
        None, "safetensors file to start from when no checkpoint exists yet; null starts untrained"
    )
    seed: int = _option(0, "seed of the initial weights", low=0, high=2**63 - 1)


@dataclass(frozen=True)
class DeviceConfig:
    kind: str = _option(
        "cpu",
        "cpu: native SIMD code; reference: slow numpy; csim: the FPGA kernel, run as a program",
        choices=("cpu", "reference", "csim"),
    )
    threads: int = _option(
        0,
        "threads of the cpu device; 0: one core fewer than the machine has, at least 1",
        low=0,
        high=1024,
    )
    chunk: int = _option(
        8,
        "images that pass through all layers together in a training step; halved at start until "
        "the longest command fits `slice_s`",
        low=1,
        high=1024,
    )
    slice_s: float = _option(
        0.002,
        "aim for the longest uninterrupted piece of training, in seconds: an inference "
        "waits at most about this long",
        low=1e-4,
        high=10.0,
    )
    memory_bytes: int = _option(
        0,
        "memory that all buffers of the device together may take; what does not fit is refused "
        "at start with the figures; 0: no limit",
        low=0,
        high=2**50,
    )


@dataclass(frozen=True)
class IngestConfig:
    window_bytes: int = _option(
        16 * MIB, "bytes one client may have sent that are not durable yet", low=4096, high=2**32
    )
    max_message_bytes: int = _option(
        2 * MIB, "largest message body; longer ones cut the connection", low=4096, high=2**30
    )
    queue_bytes: int = _option(
        64 * MIB,
        "bytes of all clients together that wait for the disk; beyond it: error `busy`",
        low=4096,
        high=2**36,
    )
    max_clients: int = _option(64, "connections served at a time", low=1, high=65536)
    max_producers: int = _option(
        1024, "producer names whose sequence numbers are remembered", low=1, high=65536
    )


@dataclass(frozen=True)
class JournalConfig:
    size_bytes: int = _option(
        256 * MIB,
        "size of the ring on disk, written in full at first start",
        low=131072,
        high=2**40,
    )
    segment_bytes: int = _option(
        16 * MIB, "size of one file of the ring, a multiple of 4096", low=32768, high=2**30
    )
    commit_records: int = _option(
        16, "flush to the device when this many messages wait", low=1, high=65536
    )
    commit_s: float = _option(
        0.05, "flush when the oldest waiting message is this old, in seconds", low=0.0, high=60.0
    )


@dataclass(frozen=True)
class ReplayConfig:
    policy: str = _option(
        "balanced",
        "what is kept: equal shares per class, a uniform sample, or only the newest",
        choices=("balanced", "uniform", "fresh"),
    )
    capacity: int = _option(10_000, "samples kept in memory", low=1, high=2**31)
    pending_capacity: int = _option(
        2_000, "samples kept in memory that wait for their label", low=0, high=2**31
    )
    seed: int = _option(0, "seed of what is kept and drawn", low=0, high=2**63 - 1)


@dataclass(frozen=True)
class TrainConfig:
    batch: int = _option(32, "samples per training step", low=1, high=4096)
    fresh_fraction: float = _option(
        0.5, "share of a batch taken from the newest samples, 0 to 1", low=0.0, high=1.0
    )
    steps_per_sample: float = _option(
        0.25, "training steps per labelled sample received", low=0.0, high=1000.0
    )
    min_samples: int = _option(
        64, "labelled samples needed before the first step", low=1, high=2**31
    )
    optimizer: str = _option(
        "sgd",
        "how a gradient changes the weights; adam is often given a learning_rate of 0.001",
        choices=("sgd", "nesterov", "adam"),
    )
    learning_rate: float = _option(0.01, "step size", low=0.0, high=100.0)
    momentum: float = _option(0.9, "momentum of SGD, beta1 of Adam", low=0.0, high=0.9999)
    beta2: float = _option(0.999, "decay of Adam's second moment", low=0.0, high=0.999999)
    weight_decay: float = _option(1e-4, "L2 penalty", low=0.0, high=1.0)
    clip_norm: float = _option(
        0.0, "gradients of a larger norm are scaled down to it; 0: never", low=0.0, high=1e6
    )
    label_smoothing: float = _option(
        0.0, "share of the target spread over all classes", low=0.0, high=0.999
    )
    class_weights: tuple[float, ...] | None = _option(
        None, "weight of each class in the loss; null: all the same", low=0.0, high=1e6
    )
    trainable: tuple[str, ...] = _option(
        ("all",),
        "what learns: all, last-K (the last K convolutions and linear layers), "
        "norms-and-biases, or names of layers or tensors; several are united",
    )
    freeze_norms: bool = _option(
        False, "batch normalisation keeps its running statistics and uses them in training too"
    )
    norm_share: float = _option(
        0.1, "how far running statistics move towards those of each batch", low=0.0, high=1.0
    )
    latent: bool = _option(
        False,
        "keep for replay what the frozen first layers make of a sample, not the sample: "
        "they run once per sample, not in every step",
    )
    max_lag_samples: int = _option(
        4096,
        "samples training may fall behind before older ones are only stored, not trained on",
        low=1,
        high=2**31,
    )


@dataclass(frozen=True)
class GateConfig:
    candidate_steps: int = _option(
        50, "training steps from one candidate to the next", low=1, high=2**31
    )
    alpha: float = _option(
        0.05, "chance of promoting a candidate that is not better", low=1e-9, high=0.5
    )
    min_samples: int = _option(
        64, "labelled samples a candidate is scored on before it may be promoted", low=1, high=2**31
    )
    max_samples: int = _option(
        500, "labelled samples after which an undecided candidate is rejected", low=1, high=2**31
    )
    probation_samples: int = _option(
        200, "labelled samples during which a promoted model can be rolled back", low=0, high=2**31
    )
    window_samples: int = _option(
        200, "labelled samples the reported accuracies are averaged over", low=1, high=2**31
    )
    max_norm_ratio: float = _option(
        4.0,
        "a candidate whose weight norm grew by more than this factor is rejected",
        low=1.0,
        high=1e6,
    )
    min_class_share: float = _option(
        0.1,
        "a candidate that predicts a class less often than this share of its labels is rejected",
        low=0.0,
        high=1.0,
    )


@dataclass(frozen=True)
class CheckpointConfig:
    keep: int = _option(5, "generations kept on disk", low=2, high=10_000)


@dataclass(frozen=True)
class MetricsConfig:
    listen: str | None = _option(
        "127.0.0.1:9464",
        "host:port of the Prometheus endpoint; port 0 takes a free one, null switches it off",
    )


@dataclass(frozen=True)
class PowerConfig:
    sysfs_root: str = _option("/sys", "where hwmon sensors are looked for")
    interval_s: float = _option(0.1, "seconds between two readings", low=0.01, high=60.0)


@dataclass(frozen=True)
class SuperviseConfig:
    engine_deadline_s: float = _option(
        10.0,
        "a process that shows no progress for this many seconds is killed and restarted",
        low=0.2,
        high=3600.0,
    )
    restart_delay_s: float = _option(
        1.0, "seconds between the end of a process and its restart", low=0.0, high=3600.0
    )


@dataclass(frozen=True)
class LogConfig:
    level: str = _option(
        "info", "least severe messages shown", choices=("debug", "info", "warning", "error")
    )


@dataclass(frozen=True)
class Config:
    """Everything the daemon can be told. Sections hold related keys."""

    state_dir: str = _option("/var/lib/eftraind", "journal, checkpoints and the lock file")
    run_dir: str = _option("/run/eftraind", "sockets")
    listen: tuple[str, ...] = _option(
        ("ipc://{run_dir}/eft.sock",), "endpoints for clients: ipc, or tcp on a loopback address"
    )
    events: str = _option("ipc://{run_dir}/events.sock", "endpoint of the event publisher")
    model: ModelConfig = _section(ModelConfig, "What is served and trained.")
    device: DeviceConfig = _section(DeviceConfig, "What computes.")
    ingest: IngestConfig = _section(IngestConfig, "Bounds on what clients may use.")
    journal: JournalConfig = _section(JournalConfig, "The samples' ring on disk.")
    replay: ReplayConfig = _section(ReplayConfig, "The memory of past samples.")
    train: TrainConfig = _section(TrainConfig, "How training steps are made.")
    gate: GateConfig = _section(GateConfig, "When trained weights may serve.")
    checkpoint: CheckpointConfig = _section(CheckpointConfig, "Weights on disk.")
    metrics: MetricsConfig = _section(MetricsConfig, "The Prometheus endpoint.")
    power: PowerConfig = _section(PowerConfig, "Power sensors.")
    supervise: SuperviseConfig = _section(SuperviseConfig, "Restarting failed processes.")
    log: LogConfig = _section(LogConfig, "Messages on standard error.")

    @property
    def listen_endpoints(self) -> tuple[str, ...]:
        return tuple(self._placed(endpoint) for endpoint in self.listen)

    @property
    def events_endpoint(self) -> str:
        return self._placed(self.events)

    @property
    def link_endpoint(self) -> str:
        """Where front and engine meet."""
        return self._placed("ipc://{run_dir}/link.sock")

    @property
    def control_endpoint(self) -> str:
        return self._placed("ipc://{run_dir}/control.sock")

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        if self.metrics.listen is None:
            return None
        host, _, port = self.metrics.listen.rpartition(":")
        return host.strip("[]"), int(port)

    def _placed(self, endpoint: str) -> str:
        return endpoint.replace("{run_dir}", self.run_dir)


def load_yaml(path: str | Path) -> Any:
    """Plain data of a YAML file; only safe tags, at most one MiB."""
    try:
        size_bytes = Path(path).stat().st_size
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", remedy="check the path") from error
    if size_bytes > MAX_YAML_BYTES:
        raise ConfigError(
            f"{path} has {size_bytes} bytes", remedy=f"keep it below {MAX_YAML_BYTES}"
        )
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        detail = " ".join(str(error).split())
        raise ConfigError(f"{path} is not YAML: {detail}", remedy="mend its syntax") from error


def load(path: str | Path) -> Config:
    """The configuration in a YAML file; an empty file is all defaults."""
    data = load_yaml(path)
    try:
        return from_mapping({} if data is None else data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", remedy=error.remedy) from error


def from_mapping(data: Any) -> Config:
    config: Config = _build(Config, data, "")
    _check_together(config)
    return config


def record(kind: Any, data: Any, path: str) -> Any:
    """Another dataclass than the configuration, from plain data and with the same checks.

    `path` begins the names in errors. A field without a default that is not given is a
    ConfigError.
    """
    return _build(kind, data, path)


def value_of(full: str, value: Any) -> Any:
    """A value for the key called `full` (such as train.momentum), with its type, or a ConfigError.

    What several keys must satisfy together is not looked at.
    """
    for name, entry, hint in _walk(Config, ""):
        if name == full and not dataclasses.is_dataclass(hint):
            return _checked(value, hint, entry.metadata, full)
    known = [name for name, _, hint in _walk(Config, "") if not dataclasses.is_dataclass(hint)]
    near = difflib.get_close_matches(full, known, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]}?" if near else "see docs/config.md"
    raise ConfigError(f"unknown key {full}", remedy=remedy)


def to_mapping(config: Any) -> dict[str, Any]:
    """Plain data that `from_mapping` turns into the same configuration."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def _build(kind: Any, data: Any, path: str) -> Any:
    where = path or "the file"
    if not isinstance(data, dict):
        raise ConfigError(
            f"{where} is {_shown(data)}, not keys with values", remedy="write key: value lines"
        )
    hints = typing.get_type_hints(kind)
    known = [entry.name for entry in dataclasses.fields(kind)]
    values = {}
    for key, value in data.items():
        full = f"{path}.{key}" if path else str(key)
        if key not in known:
            raise ConfigError(f"unknown key {full}", remedy=_nearest(str(key), known, path))
        entry = next(f for f in dataclasses.fields(kind) if f.name == key)
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            values[key] = _build(hint, {} if value is None else value, full)
        else:
            values[key] = _checked(value, hint, entry.metadata, full)
    _check_complete(kind, values, path)
    return kind(**values)


def _check_complete(kind: Any, values: dict[str, Any], path: str) -> None:
    unset = dataclasses.MISSING
    for entry in dataclasses.fields(kind):
        optional = entry.default is not unset or entry.default_factory is not unset
        if entry.name not in values and not optional:
            full = f"{path}.{entry.name}" if path else entry.name
            raise ConfigError(f"{full} is missing", remedy=f"give {entry.metadata['doc']}")


def _nearest(key: str, known: list[str], path: str) -> str:
    match = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if match:
        return f"did you mean {path + '.' if path else ''}{match[0]}?"
    everywhere = {name: full for full, name in _all_keys()}
    match = difflib.get_close_matches(key, everywhere, n=1, cutoff=0.8)
    if match:
        return f"did you mean {everywhere[match[0]]}?"
    return f"known keys here: {', '.join(known)}"


def _all_keys() -> list[tuple[str, str]]:
    return [(full, full.rpartition(".")[2]) for full, _, _ in _walk(Config, "")]


def _checked(value: Any, hint: Any, metadata: Any, path: str) -> Any:
    options = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = options[0]
    if typing.get_origin(hint) is tuple:
        items = [value] if isinstance(value, str) else value
        kind = typing.get_args(hint)[0]
        if not isinstance(items, (list, tuple)) or not items:
            raise _ill_typed(
                path, value, f"a list of at least one {'text' if kind is str else 'number'}"
            )
        inner = metadata if kind is float else {}
        return tuple(_checked(item, kind, inner, f"{path}[{n}]") for n, item in enumerate(items))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise _ill_typed(path, value, _type_name(hint))
    if hint is str and not value:
        raise ConfigError(f"{path} is empty", remedy="give it a value or leave the key out")
    _check_bounds(value, metadata, path)
    return value


def _ill_typed(path: str, value: Any, wanted: str) -> ConfigError:
    remedy = f"write {wanted}"
    if wanted == "a number" and isinstance(value, str) and "e" in value.lower():
        remedy = "write a number; YAML wants a point in it, as in 1.0e-4"
    return ConfigError(f"{path} is {_shown(value)}, not {wanted}", remedy=remedy)


def _check_bounds(value: Any, metadata: Any, path: str) -> None:
    choices = metadata.get("choices", ())
    if choices and value not in choices:
        raise ConfigError(f"{path} is {_shown(value)}", remedy=f"one of: {', '.join(choices)}")
    low, high = metadata.get("low"), metadata.get("high")
    if low is None:
        return
    if isinstance(value, float) and not math.isfinite(value) or not low <= value <= high:
        raise ConfigError(
            f"{path} is {_shown(value)}", remedy=f"from {_number(low)} to {_number(high)}"
        )


def _check_together(config: Config) -> None:
    """Conditions between several keys, and the shape of endpoints."""
    for name, endpoint in (
        *(("listen", e) for e in config.listen_endpoints),
        ("events", config.events_endpoint),
        ("run_dir", config.link_endpoint),
        ("run_dir", config.control_endpoint),
    ):
        _check_endpoint(name, endpoint)
    ingest, journal = config.ingest, config.journal
    largest, segment = ingest.max_message_bytes, journal.segment_bytes
    freezes = "all" not in config.train.trainable
    conditions = (
        (segment % 4096 == 0, "journal.segment_bytes must be a multiple of 4096"),
        (
            journal.size_bytes >= 4 * segment,
            "journal.size_bytes must hold at least 4 segments of journal.segment_bytes",
        ),
        (
            largest + RECORD_OVERHEAD_BYTES <= segment // 2,
            "ingest.max_message_bytes must fit into half of journal.segment_bytes",
        ),
        (
            ingest.window_bytes >= largest,
            "ingest.window_bytes must be at least ingest.max_message_bytes",
        ),
        (
            ingest.queue_bytes >= 2 * largest,
            "ingest.queue_bytes must be at least twice ingest.max_message_bytes",
        ),
        (
            ingest.max_producers * PRODUCER_BYTES <= segment // 4,
            f"{PRODUCER_BYTES} x ingest.max_producers must fit a quarter of journal.segment_bytes",
        ),
        (
            freezes or not config.train.latent,
            "train.latent needs train.trainable to freeze something",
        ),
        (
            config.gate.max_samples >= config.gate.min_samples,
            "gate.max_samples must be at least gate.min_samples",
        ),
    )
    for holds, condition in conditions:
        if not holds:
            raise ConfigError(condition, remedy="change one of them")
    if config.metrics.listen is not None:
        host, _, port = config.metrics.listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise ConfigError(
                f"metrics.listen is {config.metrics.listen}", remedy="write host:port or null"
            )


def _check_endpoint(name: str, endpoint: str) -> None:
    transport, separator, address = endpoint.partition("://")
    if transport == "ipc" and separator:
        if len(address.encode()) > IPC_PATH_MAX_BYTES:
            raise ConfigError(
                f"{name}: socket path {address} is longer than {IPC_PATH_MAX_BYTES} bytes",
                remedy="use a shorter run_dir",
            )
        return
    if transport != "tcp" or not separator:
        raise ConfigError(
            f"{name} is {endpoint}", remedy="write ipc://PATH or tcp://127.0.0.1:PORT"
        )
    host, _, port = address.rpartition(":")
    if not _is_loopback(host):
        raise ConfigError(
            f"{name}: {endpoint} would be open to the network without keys",
            remedy="use ipc:// or a loopback address such as tcp://127.0.0.1:5557",
        )
    if port != "*" and not (port.isdigit() and int(port) < 65536):
        raise ConfigError(f"{name}: {endpoint} has no port", remedy="write tcp://127.0.0.1:PORT")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _walk(kind: Any, path: str) -> list[tuple[str, Any, Any]]:
    """(full key, field, type) of every key, sections included, in file order."""
    hints = typing.get_type_hints(kind)
    rows = []
    for entry in dataclasses.fields(kind):
        full = f"{path}.{entry.name}" if path else entry.name
        rows.append((full, entry, hints[entry.name]))
        if dataclasses.is_dataclass(hints[entry.name]):
            rows += _walk(hints[entry.name], full)
    return rows


def reference_table() -> str:
    """The Markdown table in docs/config.md."""
    lines = ["| key | default | type and bounds | meaning |", "| --- | --- | --- | --- |"]
    for full, entry, hint in _walk(Config, ""):
        if dataclasses.is_dataclass(hint):
            lines.append(f"| **{full}** | | | {entry.metadata['doc']} |")
            continue
        bounds = _bounds_text(entry.metadata)
        kind = _type_name(hint) + (f", {bounds}" if bounds else "")
        lines.append(
            f"| `{full}` | `{_yaml_value(entry.default)}` | {kind} | {entry.metadata['doc']} |"
        )
    return "\n".join(lines) + "\n"


def default_yaml() -> str:
    """A commented file with every key at its default."""
    lines = ["# Every key of eftraind with its default. Keep only what you change."]
    for full, entry, hint in _walk(Config, ""):
        indent = "  " * full.count(".")
        lines += [""] if not indent else []
        bounds = _bounds_text(entry.metadata)
        lines.append(f"{indent}# {entry.metadata['doc']}" + (f" ({bounds})" if bounds else ""))
        value = "" if dataclasses.is_dataclass(hint) else " " + _yaml_value(entry.default)
        lines.append(f"{indent}{entry.name}:{value}")
    return "\n".join(lines) + "\n"


def _bounds_text(metadata: Any) -> str:
    if metadata.get("choices"):
        return "one of " + ", ".join(metadata["choices"])
    if metadata.get("low") is None:
        return ""
    return f"{_number(metadata['low'])} to {_number(metadata['high'])}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _yaml_value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return repr(value) if "e" not in repr(value) else f"{value:f}".rstrip("0")
    if isinstance(value, (str, tuple)):
        return json.dumps(value)
    return str(value)


def _type_name(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        return _type_name(typing.get_args(hint)[0]) + " or null"
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    if typing.get_origin(hint) is tuple:
        return "list of texts" if typing.get_args(hint)[0] is str else "list of numbers"
    return names[hint]


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
