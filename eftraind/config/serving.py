"""Keys of everything around the engine: clients, journal, metrics, power, restarts, messages.

Owns their defaults, bounds, units and explanations; reads nothing.
"""

from dataclasses import dataclass

from eftraind.config.fields import option, section

MIB = 1 << 20


@dataclass(frozen=True)
class KeysConfig:
    server: str = option(
        "{credentials}/eftraind.server.key",
        "file of the daemon's key pair, made by `eftraind keygen server`",
    )
    clients: str = option(
        "{credentials}/eftraind.clients.allow",
        "file of the clients that may connect: public key, name, roles; read again on reload",
    )


@dataclass(frozen=True)
class IngestConfig:
    window_bytes: int = option(
        16 * MIB, "bytes one client may have sent that are not durable yet", low=4096, high=2**32
    )
    max_message_bytes: int = option(
        2 * MIB, "largest message body; longer ones cut the connection", low=4096, high=2**30
    )
    queue_bytes: int = option(
        64 * MIB,
        "bytes of all clients together that wait for the disk; beyond it: error `busy`",
        low=4096,
        high=2**36,
    )
    max_clients: int = option(64, "connections served at a time", low=1, high=65536)
    max_producers: int = option(
        1024,
        "producer names whose sequence numbers are remembered; a new one takes the place of the "
        "one silent longest",
        low=1,
        high=65536,
    )


@dataclass(frozen=True)
class JournalConfig:
    size_bytes: int = option(
        256 * MIB,
        "size of the ring on disk, written in full at first start",
        low=131072,
        high=2**40,
    )
    segment_bytes: int = option(
        16 * MIB, "size of one file of the ring, a multiple of 4096", low=32768, high=2**30
    )
    commit_records: int = option(
        16, "flush to the device when this many messages wait", low=1, high=65536
    )
    commit_s: float = option(
        0.05, "flush when the oldest waiting message is this old, in seconds", low=0.0, high=60.0
    )


@dataclass(frozen=True)
class MetricsConfig:
    listen: str | None = option(
        "127.0.0.1:9464",
        "host:port of the live page and of what Prometheus reads; port 0 takes a free one, null "
        "switches both off",
    )


@dataclass(frozen=True)
class PowerConfig:
    sysfs_root: str = option("/sys", "where the sensors of hwmon and IIO are looked for")
    board: str | None = option(
        None, "take only the sensors that this board's file names (eftraind/boards); null: take all"
    )
    interval_s: float = option(0.1, "seconds between two readings", low=0.01, high=60.0)
    budget_watts: float | None = option(
        None,
        "watts of all rails together above which the shipped Prometheus rule alerts; nothing is "
        "throttled",
        low=0.001,
        high=100000.0,
    )


@dataclass(frozen=True)
class SuperviseConfig:
    engine_deadline_s: float = option(
        10.0,
        "a process that shows no progress for this many seconds is killed and restarted",
        low=0.2,
        high=3600.0,
    )
    restart_delay_s: float = option(
        1.0, "seconds between the end of a process and its restart", low=0.0, high=3600.0
    )
    restart_burst: int = option(
        10,
        "an engine that ends of itself this often within `restart_interval_s` is replaced by one "
        "that only answers predictions",
        low=1,
        high=10_000,
    )
    restart_interval_s: float = option(
        300.0, "seconds over which ends of a process are counted", low=1.0, high=1e6
    )


LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class LogLevels:
    service: str | None = option(None, "sockets, clients, supervision", choices=LEVELS)
    engine: str | None = option(None, "training, gate, swaps", choices=LEVELS)
    store: str | None = option(None, "journal and checkpoints", choices=LEVELS)
    accel: str | None = option(None, "devices", choices=LEVELS)


@dataclass(frozen=True)
class LogConfig:
    level: str = option("info", "least severe messages shown", choices=LEVELS)
    format: str = option(
        "auto",
        "journal: systemd's protocol with fields; json: one object per line on standard error; "
        "auto: journal where standard error goes to it, else text",
        choices=("auto", "journal", "text", "json"),
    )
    levels: LogLevels = section(LogLevels, "Other levels for parts; null: as `log.level`.")
