"""Who may connect and what each key may do: libzmq asks here at every handshake.

Owns the daemon's secret key, the list of allowed clients, its renewal, and the one handler of
ZeroMQ's authentication protocol (ZAP, RFC 27) in the process. A user is a public key in Z85, or
LOCAL for a Unix socket, whose users file permissions have let in and who may do everything.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
from zmq.utils import z85

from eftraind import keys
from eftraind.config import Config
from eftraind.errors import ConfigError, WireError
from eftraind.metrics import Metrics
from eftraind.service.sockets import LOCAL, Context, is_local

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
PLACE = "{credentials}"
REQUESTS_PER_TURN = 16
LOG_S = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """What was read of the configuration's keys, and where the list is; `copied` by systemd."""

    pair: keys.KeyFile
    allowed: dict[str, keys.Peer]
    list: Path
    copied: bool


def read(config: Config, environ: Mapping[str, str]) -> Files | None:
    """The keys of a configuration; None without a network endpoint. Raises ConfigError."""
    network = [endpoint for endpoint in config.client_endpoints if not is_local(endpoint)]
    if not network:
        return None
    file, copied = _place(config.keys.server, environ)
    pair = keys.read_key_file(file, private=not copied) if file is not None else None
    if pair is None:
        raise ConfigError(
            f"{network[0]} needs keys, and there is no server key",
            remedy="eftraind keygen server, then name its file as keys.server; or use ipc://",
        )
    if zmq.curve_public(pair.secret.encode()).decode() != pair.public:
        raise ConfigError(
            f"{file}: its public key is not that of its secret key", remedy="make a new pair"
        )
    place, copied = _place(config.keys.clients, environ)
    if place is None:
        raise ConfigError(
            f"{network[0]} needs a list of clients, and there is none",
            remedy="name it as keys.clients; eftraind keygen client prints its lines",
        )
    return Files(pair, keys.read_allowed(place, private=not copied), place, copied)


class Guard:
    """With no network endpoint it holds no key, reads no file and needs no handler."""

    def __init__(self, config: Config, environ: Mapping[str, str], metrics: Metrics) -> None:
        self.secret: str | None = None
        self.allowed: dict[str, keys.Peer] = {}
        self.socket: Any = None
        self._list: Path | None = None
        self._copied = False
        self._refused = metrics.counter("handshakes_refused_total")
        self._log_at_s = 0.0
        files = read(config, environ)
        if files is not None:
            self._list, self._copied = files.list, files.copied
            self.secret, self.allowed = files.pair.secret, files.allowed
            told = f"public key {files.pair.public}; {keys.contents(files.allowed)}"
            log.info("%s in %s", told, files.list)

    def open(self, context: Context) -> None:
        """Answer handshakes from now on; before the first network endpoint is bound."""
        if self.secret is not None:
            self.socket = context.socket(zmq.REP)
            self.socket.setsockopt(zmq.LINGER, 0)
            self.socket.bind(ZAP_ENDPOINT)

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()

    def answer(self, now_s: float) -> None:
        """A bounded number of the handshakes that wait."""
        for _ in range(REQUESTS_PER_TURN):
            try:
                request = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self.socket.send_multipart(self._judge(request, now_s))

    def _judge(self, request: list[bytes], now_s: float) -> list[bytes]:
        """version, request id, domain, address, routing id, mechanism, the client's key."""
        ask = b"" if len(request) < 2 else request[1]
        if len(request) == 7 and request[5] == b"CURVE" and len(request[6]) == 32:
            user = z85.encode(request[6])
            if user.decode() in self.allowed:
                return [b"1.0", ask, b"200", b"OK", user, b""]
            self._refused.inc()
            if now_s >= self._log_at_s:
                self._log_at_s = now_s + LOG_S
                address = request[3].decode("ascii", "replace")
                log.warning("a key that is not listed, from %s: %s", address, user.decode())
        return [b"1.0", ask, b"400", b"this key is not listed", b"", b""]

    # roles

    def may(self, user: str, role: str) -> bool:
        if user == LOCAL:
            return True
        peer = self.allowed.get(user)
        return peer is not None and role in peer.roles

    def require(self, user: str, role: str) -> None:
        """Raises WireError `forbidden`."""
        self.admit(user)
        if not self.may(user, role):
            raise WireError(
                f"the key of {self.allowed[user].name} does not have the role {role}",
                remedy="ask the daemon's operator to change the list of clients",
                code="forbidden",
            )

    def admit(self, user: str) -> None:
        """Raises WireError `forbidden` for a key that is listed no longer."""
        if user != LOCAL and user not in self.allowed:
            raise WireError(
                "this key is not listed any more",
                remedy="ask the daemon's operator to change the list of clients",
                code="forbidden",
            )

    # renewal

    def read_again(self) -> dict[str, keys.Peer] | None:
        """The list as it is now, to be given to `renew`; None if there is none. Raises
        ConfigError."""
        if self._list is None:
            return None
        if self._copied:
            log.warning("%s is systemd's copy, which a restart renews, not a reload", self._list)
        return keys.read_allowed(self._list, private=not self._copied)

    def renew(self, allowed: dict[str, keys.Peer]) -> tuple[set[str], set[str]]:
        """Take the new list: (keys that are gone, keys whose roles are others)."""
        old, self.allowed = self.allowed, allowed
        gone = {key for key in old if key not in allowed}
        changed = {k for k in old if k in allowed and old[k].roles != allowed[k].roles}
        return gone, changed


def _place(path: str, environ: Mapping[str, str]) -> tuple[Path | None, bool]:
    """Where the file is, and whether systemd put it there; None where {credentials} is nowhere."""
    if not path.startswith(PLACE):
        return Path(path), False
    directory = environ.get(CREDENTIALS)
    if not directory:
        return None, True
    file = Path(directory + path.removeprefix(PLACE))
    try:
        return (file if file.exists() else None), True
    except OSError as error:
        raise ConfigError(
            f"cannot look at {file}: {error.strerror}", remedy="ask as root, or as the service"
        ) from error
