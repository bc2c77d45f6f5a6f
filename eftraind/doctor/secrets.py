"""What must not leave the machine: found by name in the configuration, and by place on the disk.

Owns which names are secret, and taking known secrets out of any text. It keeps no copy.
"""

import re
from collections.abc import Iterator
from typing import Any

from eftraind.doctor.findings import Machine
from eftraind.doctor.service import CREDENTIALS

REMOVED = "(removed)"
NAMED_SECRET = re.compile(r"key|secret|passw|token|credential", re.IGNORECASE)
SPOKEN_SECRET = re.compile(
    r"((?:key|secret|password|passwd|token)[\w.-]*[\"']?\s*[:=]\s*[\"']?)([^\s\"',{}\[\]]+)",
    re.IGNORECASE,
)
SHORTEST = 6  # characters; shorter texts are in half of all words
SHORTEST_WORD = 16  # of a line of several: `server`, `public` and the like are no secrets


def without_secrets(plain: Any) -> Any:
    """Plain data with the values of secret names replaced, however deep."""
    if isinstance(plain, dict):
        return {
            name: REMOVED if _is_secret(name, value) else without_secrets(value)
            for name, value in plain.items()
        }
    return [without_secrets(item) for item in plain] if isinstance(plain, list) else plain


def known(plain: Any, machine: Machine) -> set[str]:
    """Secret texts: what secret names hold, the content of files they name, all credentials."""
    found = set(_values(plain))
    places = [CREDENTIALS, *(value for value in found if value.startswith("/"))]
    inside = [f"{place}/{name}" for place in places for name in machine.names(place)]
    for path in (*places, *inside):
        text = machine.text(path) or ""
        words = re.findall(r"[^\s\"'=]+", text)
        found |= {text, *text.splitlines(), *(w for w in words if len(w) >= SHORTEST_WORD)}
    return {text for text in found if len(text) >= SHORTEST and not text.startswith("/")}


def scrub(text: str, secrets: set[str]) -> str:
    """The text without known secrets and without what stands after `password=` and the like."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REMOVED)
    return SPOKEN_SECRET.sub(rf"\1{REMOVED}", text)


def _values(plain: Any, secret: bool = False) -> Iterator[str]:
    if isinstance(plain, dict):
        for name, value in plain.items():
            yield from _values(value, secret or bool(NAMED_SECRET.search(str(name))))
    elif isinstance(plain, (list, tuple)):
        for item in plain:
            yield from _values(item, secret)
    elif secret and isinstance(plain, (str, int)) and not isinstance(plain, bool):
        yield str(plain)


def _is_secret(name: Any, value: Any) -> bool:
    return bool(NAMED_SECRET.search(str(name))) and not isinstance(value, (dict, bool, float))
