"""`eftraind keygen`: key pairs for a daemon and for its clients.

Owns where the files go and what is told. Only the owner can read what is written, and it replaces
nothing but an empty file: the installation makes one.
"""

import argparse
from pathlib import Path

from eftraind.client.curve import new_pair
from eftraind.errors import ConfigError, StorageError
from eftraind.fsio import FileOps, create_once, fill_empty
from eftraind.keys import NAME, ROLES, KeyFile, Peer, allowed_line, is_key, read_key_file

SERVER_FILE = "eftraind.server.key"


def add_keygen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="`server`, or what the list of clients calls the client")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--server", metavar="KEY", help="for a client: the daemon's public key, or its key file"
    )
    parser.add_argument(
        "--roles", default="ingest,infer", metavar="ROLES", help=f"of {','.join(ROLES)}"
    )


def keygen(given: argparse.Namespace) -> str:
    """Write one pair; what to do next."""
    pair, ops = new_pair(), FileOps()
    if given.name == "server":
        path = given.out or Path(SERVER_FILE)
        _write(ops, path, pair.text("the daemon's keys; keep secret").encode())
        return (
            f"wrote {path}\npublic key: {pair.public}\n"
            "next: name the file as keys.server, and make a key for each client:\n"
            f"eftraind keygen NAME --server {path}"
        )
    if not NAME.fullmatch(given.name):
        raise ConfigError(f"name {given.name!r:.80}", remedy="1 to 64 of A-Z a-z 0-9 . _ -")
    roles = frozenset(given.roles.split(","))
    if not roles <= set(ROLES):
        raise ConfigError(f"roles {given.roles!r:.80}", remedy=f"some of {','.join(ROLES)}")
    pair = KeyFile(pair.secret, pair.public, _server(given.server))
    path = given.out or Path(f"{given.name}.key")
    _write(ops, path, pair.text(f"keys of {given.name}; keep secret").encode())
    return (
        f"wrote {path}\npublic key: {pair.public}\n"
        "next: move the file to the client, add this line to the file that keys.clients names, "
        "and eftraind reload:\n" + allowed_line(pair.public, Peer(given.name, roles))
    )


def _write(ops: FileOps, path: Path, data: bytes) -> None:
    try:
        create_once(ops, path, data, 0o600)
    except StorageError as error:
        if error.code != "exists":
            raise
        fill_empty(ops, path, data, 0o600)


def _server(given: str | None) -> str:
    if given is None:
        raise ConfigError("a client needs the daemon's key", remedy="--server KEY, or its file")
    if is_key(given):
        return given
    pair = read_key_file(Path(given))
    if pair is None:
        raise ConfigError(f"{given} is empty", remedy="eftraind keygen server")
    return pair.public
