"""Checks of single values of a network description: each returns it with its type, or refuses.

Every refusal is a GraphError that names the place, the value and what to write instead. Knows no
layer.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from eftraind.errors import GraphError

MAX_CHANNELS = 16_383
MAX_SIDE = 4_096
MAX_NUMBER = 1e30
"""Far inside float32."""


def check_keys(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), sorted(known), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
            raise GraphError(f"{where}: unknown key {key!r}", remedy=hint)


def integer(where: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise GraphError(
            f"{where} is {value!r}", remedy=f"give a whole number from {low} to {high}"
        )
    return value


def real(where: str, value: Any, low: float, high: float) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not low <= value < high:
        raise GraphError(f"{where} is {value!r}", remedy=f"give a number from {low} to {high}")
    return float(value)


def flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise GraphError(f"{where} is {value!r}", remedy="give true or false")
    return value


def pair(where: str, value: Any, low: int, high: int) -> tuple[int, int]:
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value] * 2
    if len(values) != 2:
        raise GraphError(f"{where} is {value!r}", remedy="give one number or [rows, cols]")
    return integer(where, values[0], low, high), integer(where, values[1], low, high)


def sides(where: str, value: Any) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) from one number, [rows, cols] or all four."""
    if isinstance(value, list) and len(value) == 4:
        top, left, bottom, right = (integer(where, v, 0, 255) for v in value)
        return top, left, bottom, right
    rows, cols = pair(where, value, 0, 255)
    return rows, cols, rows, cols


def floats(where: str, value: Any, channels: int) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value] * channels
    good = all(isinstance(v, (int, float)) and abs(v) < MAX_NUMBER for v in values)
    if len(values) != channels or not good:
        raise GraphError(f"{where} is {value!r}", remedy=f"give {channels} finite number(s)")
    return tuple(float(v) for v in values)
