"""The whole configuration: its sections, the top keys, and what follows from them.

Owns `Config`. What several keys must satisfy together is in `rules`; nothing here reads a file,
opens a socket or creates a directory.
"""

from dataclasses import dataclass

from eftraind.config.fields import option, section
from eftraind.config.learning import (
    CheckpointConfig,
    DeviceConfig,
    GateConfig,
    ModelConfig,
    ReplayConfig,
    TrainConfig,
)
from eftraind.config.serving import (
    IngestConfig,
    JournalConfig,
    KeysConfig,
    LogConfig,
    MetricsConfig,
    PowerConfig,
    SuperviseConfig,
)


@dataclass(frozen=True)
class Config:
    """Everything the daemon can be told. Sections hold related keys."""

    state_dir: str = option("/var/lib/eftraind", "journal, checkpoints and the lock file")
    run_dir: str = option("/run/eftraind", "sockets")
    listen: tuple[str, ...] = option(
        ("ipc://{run_dir}/eft.sock",), "endpoints for clients: ipc, or tcp with keys"
    )
    events: tuple[str, ...] = option(
        ("ipc://{run_dir}/events.sock",), "endpoints of the event publisher: ipc, or tcp with keys"
    )
    admin: str | None = option(
        None, "tcp endpoint for commands of clients whose key has the role admin; null: none"
    )
    keys: KeysConfig = section(
        KeysConfig, "Who may connect over tcp; `{credentials}` is systemd's directory of them."
    )
    model: ModelConfig = section(ModelConfig, "What is served and trained.")
    device: DeviceConfig = section(DeviceConfig, "What computes.")
    ingest: IngestConfig = section(IngestConfig, "Bounds on what clients may use.")
    journal: JournalConfig = section(JournalConfig, "The samples' ring on disk.")
    replay: ReplayConfig = section(ReplayConfig, "The memory of past samples.")
    train: TrainConfig = section(TrainConfig, "How training steps are made.")
    gate: GateConfig = section(GateConfig, "When trained weights may serve.")
    checkpoint: CheckpointConfig = section(CheckpointConfig, "Weights on disk.")
    metrics: MetricsConfig = section(MetricsConfig, "The Prometheus endpoint.")
    power: PowerConfig = section(PowerConfig, "Power sensors.")
    supervise: SuperviseConfig = section(SuperviseConfig, "Restarting failed processes.")
    log: LogConfig = section(LogConfig, "Messages about what happens.")

    @property
    def listen_endpoints(self) -> tuple[str, ...]:
        return tuple(self._placed(endpoint) for endpoint in self.listen)

    @property
    def events_endpoint(self) -> str:
        """The one to listen at on this machine."""
        return self.events_endpoints[0]

    @property
    def events_endpoints(self) -> tuple[str, ...]:
        return tuple(self._placed(endpoint) for endpoint in self.events)

    @property
    def client_endpoints(self) -> tuple[str, ...]:
        """Everything that a client, an operator or a listener can connect to."""
        return (*self.listen_endpoints, *self.events_endpoints, *self.control_endpoints)

    @property
    def control_endpoints(self) -> tuple[str, ...]:
        return (self.control_endpoint, *([self.admin] if self.admin is not None else []))

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
