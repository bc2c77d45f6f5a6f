"""What several keys must satisfy together, and how endpoints are written.

Owns the conditions between keys; bounds of a single key are with the keys. Whether keys for tcp
exist is seen where files are read. It opens no sockets.
"""

import ipaddress

from eftraind.config.tree import Config
from eftraind.errors import ConfigError

IPC_PATH_MAX_BYTES = 107  # sun_path of a Unix socket, without its final zero
RECORD_OVERHEAD_BYTES = 1024  # journal framing, producer name and slack around one message
PRODUCER_BYTES = 80  # one row of the producer table that opens every journal segment


def check_together(config: Config) -> None:
    """Raise ConfigError where keys contradict each other or an endpoint cannot work."""
    for name, endpoint in (
        *(("listen", e) for e in config.listen_endpoints),
        *(("events", e) for e in config.events_endpoints),
        ("run_dir", config.link_endpoint),
        ("run_dir", config.control_endpoint),
        *([("admin", config.admin)] if config.admin is not None else []),
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
            config.device.kind != "board" or config.device.overlay is None,
            "device.overlay must be null with device.kind board, which loads device.manifest's",
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
        raise ConfigError(f"{name} is {endpoint}", remedy="write ipc://PATH or tcp://ADDRESS:PORT")
    host, _, port = address.rpartition(":")
    if ":" in host and not host.startswith("["):
        raise ConfigError(f"{name}: {endpoint} is ambiguous", remedy=f"write tcp://[{host}]:{port}")
    if not _is_address(host):
        raise ConfigError(
            f"{name}: {endpoint} names no address of this machine",
            remedy="write one such as tcp://127.0.0.1:5557, or tcp://0.0.0.0:5557 for all",
        )
    if port != "*" and not (port.isdigit() and int(port) < 65536):
        raise ConfigError(f"{name}: {endpoint} has no port", remedy="write tcp://ADDRESS:PORT")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
