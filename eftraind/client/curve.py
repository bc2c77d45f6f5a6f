"""A client's keys: where they come from, how they get into a socket, what a failure means.

Owns the environment variable and the words for failed handshakes. A key never appears in an error.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zmq

from eftraind.errors import ClientError, ConfigError, Disconnected, Refused
from eftraind.keys import KeyFile, is_key, read_key_file

VARIABLE = "EFTRAIND_KEYS"
Keys = KeyFile | str | os.PathLike[str]
FAILURES = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
NOT_LISTED = 400  # of ZAP, RFC 27


def new_pair() -> KeyFile:
    """A fresh key pair of libzmq's."""
    public, secret = zmq.curve_keypair()
    return KeyFile(secret.decode(), public.decode())


def find(given: Keys | None, endpoint: str, environ: Mapping[str, str]) -> KeyFile | None:
    """The keys for this endpoint; None means none. Raises ClientError with code `keys`."""
    if given is None:
        if not endpoint.startswith("tcp://") or not environ.get(VARIABLE):
            return None
        given = environ[VARIABLE]
    if not isinstance(given, KeyFile):
        try:
            found = read_key_file(Path(given))
        except ConfigError as error:
            raise ClientError(error.message, remedy=error.remedy, code="keys") from error
        if found is None:
            raise ClientError(f"{given} is empty", remedy="eftraind keygen client", code="keys")
        given = found
    if not given.server:
        raise ClientError(
            "the keys lack the daemon's public key",
            remedy="make them with eftraind keygen client --server KEY",
            code="keys",
        )
    for key in (given.server, given.public, given.secret):
        if not is_key(key):
            raise ClientError(
                f"a key of {len(key)} characters is no CURVE key",
                remedy="a key is 40 characters of Z85, as eftraind keygen prints it",
                code="keys",
            )
    return given


def use(socket: Any, keys: KeyFile | None) -> None:
    """Encrypt what this socket connects to from now on."""
    if keys is not None:
        socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())


def explain(event: int, value: int, keys: KeyFile | None) -> tuple[ClientError, bool]:
    """What a monitor's event says, and whether trying again cannot help."""
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        refused = Refused(
            "the daemon does not list this client's key",
            remedy="give its public key to the daemon's operator, or use the right file",
            code="key_not_listed",
        )
        return refused, value == NOT_LISTED
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and keys is None:
        missing = Refused(
            "the daemon wants keys at this endpoint",
            remedy=f"pass keys=FILE, or set {VARIABLE}",
            code="keys_wanted",
        )
        return missing, True
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
        plain = Refused(
            "the other end speaks without keys, or is no eftraind",
            remedy="check the endpoint; nothing was sent",
            code="keys_not_wanted",
        )
        return plain, True
    # libzmq's server just hangs up on a client that has another key of it than its own.
    hung_up = Disconnected(
        "the daemon hung up during the handshake",
        remedy="most likely the server key in the client's file is not this daemon's",
        code="handshake",
    )
    return hung_up, False
