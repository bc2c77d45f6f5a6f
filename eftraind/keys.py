"""Keys as text: the key file of a server or client, and the list of clients that are allowed.

Owns both formats and every check of them; each fault names the file and the line. It makes no
keys, opens no sockets and decides nothing about a message. docs/security.md shows the files.
"""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from eftraind.errors import ConfigError

ROLES = ("ingest", "infer", "admin")
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
DIGITS = {letter: digit for digit, letter in enumerate(LETTERS)}  # of Z85 (ZeroMQ RFC 32)
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class KeyFile:
    """One key pair; a client's also holds the public key of its daemon."""

    secret: str
    public: str
    server: str = ""

    def __repr__(self) -> str:
        return f"KeyFile(public={self.public!r}, server={self.server!r})"  # never the secret

    def text(self, comment: str) -> str:
        lines = [f"# {comment}", f"secret {self.secret}", f"public {self.public}"]
        return "\n".join([*lines, *([f"server {self.server}"] if self.server else [])]) + "\n"


@dataclass(frozen=True)
class Peer:
    """A client that is allowed: what the operator calls it, and what it may do."""

    name: str
    roles: frozenset[str]


def read_key_file(path: Path, *, private: bool = True) -> KeyFile | None:
    """The keys in a file, None if it is empty. Raises ConfigError; with `private` also if others
    than the owner can read it."""
    lines = _read(path, forbidden=0o077 if private else 0, wanted="600")
    found: dict[str, str] = {}
    for number, words in lines:
        where = f"{path}, line {number}"
        if len(words) != 2 or words[0] not in ("secret", "public", "server") or words[0] in found:
            raise ConfigError(
                f"{where}: not a line of a key file",
                remedy="one line each of `secret KEY`, `public KEY`, and for a client `server KEY`",
            )
        found[words[0]] = _key(words[1], where)
    if not found:
        return None
    for name in ("secret", "public"):
        if name not in found:
            raise ConfigError(f"{path} has no {name} key", remedy="make it with eftraind keygen")
    return KeyFile(found["secret"], found["public"], found.get("server", ""))


def read_allowed(path: Path, *, private: bool = True) -> dict[str, Peer]:
    """Public key -> who that is. Raises ConfigError; with `private` also if others can write."""
    allowed: dict[str, Peer] = {}
    for number, words in _read(path, forbidden=0o022 if private else 0, wanted="640"):
        where = f"{path}, line {number}"
        if len(words) != 3:
            raise ConfigError(
                f"{where}: {len(words)} words",
                remedy="write KEY NAME ROLE,ROLE with spaces between",
            )
        key, name, roles = _key(words[0], where), words[1], words[2].split(",")
        if not NAME.fullmatch(name):
            raise ConfigError(f"{where}: name {name!r:.80}", remedy="1 to 64 of A-Z a-z 0-9 . _ -")
        unknown = [role for role in roles if role not in ROLES]
        if unknown:
            raise ConfigError(
                f"{where}: role {unknown[0]!r:.40} is unknown", remedy=f"of {', '.join(ROLES)}"
            )
        if key in allowed or name in (peer.name for peer in allowed.values()):
            raise ConfigError(
                f"{where}: {name} or its key is listed before", remedy="list each client once"
            )
        allowed[key] = Peer(name, frozenset(roles))
    return allowed


def allowed_line(public: str, peer: Peer) -> str:
    return f"{public} {peer.name} {','.join(r for r in ROLES if r in peer.roles)}"


def is_key(word: str) -> bool:
    """40 letters of Z85 that are 32 bytes, 5 letters 4 bytes; not all letters are."""
    if len(word) != 40 or not DIGITS.keys() >= set(word):
        return False
    groups = (word[start : start + 5] for start in range(0, 40, 5))
    return all(sum(DIGITS[c] * 85**n for n, c in enumerate(reversed(g))) < 2**32 for g in groups)


def _key(word: str, where: str) -> str:
    if not is_key(word):
        raise ConfigError(
            f"{where}: {len(word)} characters that are no key",
            remedy="a key has 40 characters, as eftraind keygen prints it",
        )
    return word


def _read(path: Path, *, forbidden: int, wanted: str) -> list[tuple[int, list[str]]]:
    """(line number, words) of each line that says something. No key has a group of letters that
    begins with #, which is beyond 32 bits: a word that does begins a comment."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", remedy="check the path and who owns the file"
        ) from error
    if stat.S_IMODE(mode) & forbidden:
        raise ConfigError(
            f"{path} has mode {stat.S_IMODE(mode):o}, so other users can "
            + ("read" if forbidden & 0o044 else "change")
            + " it",
            remedy=f"chmod {wanted} {path}",
        )
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path} is no file of keys", remedy=f"keep it below {MAX_BYTES} bytes")
    lines = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        words = list(takewhile(lambda word: not word.startswith("#"), line.split()))
        if words:
            lines.append((number, words))
    return lines


def contents(allowed: Mapping[str, Peer]) -> str:
    """How many there are, for the log."""
    return f"{len(allowed)} client key" + ("" if len(allowed) == 1 else "s")
