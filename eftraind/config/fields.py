"""Keys and records: dataclass fields that know their bounds, and plain data checked against them.

Owns how a key is declared and every check of one value: unknown key, type, bounds, choices. Each
fault is a ConfigError that names the key's full path. It knows no key itself and reads no files.
"""

import dataclasses
import difflib
import json
import math
import types
import typing
from dataclasses import field
from typing import Any

from eftraind.errors import ConfigError

AUTO = "auto"


def option(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    auto: bool = False,
) -> Any:
    """A key with its default, what it means, and what it may be. `auto`: null, written `auto`,
    leaves it to the planner."""
    metadata = {"doc": doc, "low": low, "high": high, "choices": choices, "auto": auto}
    return field(default=default, metadata=metadata)


def required(doc: str, low: float | None = None, high: float | None = None) -> Any:
    """A field of a `record` that has no default."""
    return field(metadata={"doc": doc, "low": low, "high": high, "choices": ()})


def optional(default: Any, doc: str, low: float, high: float) -> Any:
    """A field of a `record` that may be left out."""
    return option(default, doc, low=low, high=high)


def section(kind: type, doc: str) -> Any:
    """A key that holds keys."""
    return field(default_factory=kind, metadata={"doc": doc})


def walk(kind: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """(full key, field, type) of every key, sections included, in file order."""
    hints = typing.get_type_hints(kind)
    rows = []
    for entry in dataclasses.fields(kind):
        full = f"{path}.{entry.name}" if path else entry.name
        rows.append((full, entry, hints[entry.name]))
        if dataclasses.is_dataclass(hints[entry.name]):
            rows += walk(hints[entry.name], full)
    return rows


def record(kind: Any, data: Any, path: str = "", root: Any = None) -> Any:
    """A dataclass of the fields above, from plain data, each value checked.

    `path` begins the names in errors; a misspelt key is looked for in all of `root`. A field
    without a default that is not given is a ConfigError.
    """
    root = root or kind
    where = path or "the file"
    if not isinstance(data, dict):
        raise ConfigError(
            f"{where} is {shown(data)}, not keys with values", remedy="write key: value lines"
        )
    hints = typing.get_type_hints(kind)
    known = [entry.name for entry in dataclasses.fields(kind)]
    values = {}
    for key, value in data.items():
        full = f"{path}.{key}" if path else str(key)
        if key not in known:
            raise ConfigError(f"unknown key {full}", remedy=_nearest(str(key), known, path, root))
        entry = next(f for f in dataclasses.fields(kind) if f.name == key)
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            values[key] = record(hint, {} if value is None else value, full, root)
        else:
            values[key] = checked(value, hint, entry.metadata, full)
    _check_complete(kind, values, path)
    return kind(**values)


def _check_complete(kind: Any, values: dict[str, Any], path: str) -> None:
    unset = dataclasses.MISSING
    for entry in dataclasses.fields(kind):
        optional = entry.default is not unset or entry.default_factory is not unset
        if entry.name not in values and not optional:
            full = f"{path}.{entry.name}" if path else entry.name
            raise ConfigError(f"{full} is missing", remedy=f"give {entry.metadata['doc']}")


def _nearest(key: str, known: list[str], path: str, root: Any) -> str:
    match = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if match:
        return f"did you mean {path + '.' if path else ''}{match[0]}?"
    everywhere = {full.rpartition(".")[2]: full for full, _, _ in walk(root)}
    match = difflib.get_close_matches(key, everywhere, n=1, cutoff=0.8)
    if match:
        return f"did you mean {everywhere[match[0]]}?"
    return f"known keys here: {', '.join(known)}"


def checked(value: Any, hint: Any, metadata: Any, path: str) -> Any:
    """The value as `hint` says, within the bounds of its field's metadata, or a ConfigError."""
    options = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        if value is None or (value == AUTO and metadata.get("auto")):
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
        return tuple(checked(item, kind, inner, f"{path}[{n}]") for n, item in enumerate(items))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise _ill_typed(path, value, type_name(hint))
    if hint is str and not value:
        raise ConfigError(f"{path} is empty", remedy="give it a value or leave the key out")
    _check_bounds(value, metadata, path)
    return value


def _ill_typed(path: str, value: Any, wanted: str) -> ConfigError:
    remedy = f"write {wanted}"
    if wanted == "a number" and isinstance(value, str) and "e" in value.lower():
        remedy = "write a number; YAML wants a point in it, as in 1.0e-4"
    return ConfigError(f"{path} is {shown(value)}, not {wanted}", remedy=remedy)


def _check_bounds(value: Any, metadata: Any, path: str) -> None:
    choices = metadata.get("choices", ())
    if choices and value not in choices:
        raise ConfigError(f"{path} is {shown(value)}", remedy=f"one of: {', '.join(choices)}")
    low, high = metadata.get("low"), metadata.get("high")
    if low is None:
        return
    if isinstance(value, float) and not math.isfinite(value) or not low <= value <= high:
        raise ConfigError(
            f"{path} is {shown(value)}", remedy=f"from {number(low)} to {number(high)}"
        )


def number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def type_name(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        return type_name(typing.get_args(hint)[0]) + " or null"
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    if typing.get_origin(hint) is tuple:
        return "list of texts" if typing.get_args(hint)[0] is str else "list of numbers"
    return names[hint]


def shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
