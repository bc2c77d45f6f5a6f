"""The written forms of all keys: the table in docs/config.md and the commented default file.

Owns how a key is shown; both pages come from the fields themselves, so they cannot drift apart.
"""

import dataclasses
import json
from typing import Any

from eftraind.config.fields import AUTO, number, type_name, walk
from eftraind.config.tree import Config


def reference_table() -> str:
    """The Markdown table in docs/config.md."""
    lines = ["| key | default | type and bounds | meaning |", "| --- | --- | --- | --- |"]
    for full, entry, hint in walk(Config):
        if dataclasses.is_dataclass(hint):
            lines.append(f"| **{full}** | | | {entry.metadata['doc']} |")
            continue
        bounds = _bounds_text(entry.metadata)
        kind = _kind(hint, entry) + (f", {bounds}" if bounds else "")
        lines.append(f"| `{full}` | `{_default(entry)}` | {kind} | {entry.metadata['doc']} |")
    return "\n".join(lines) + "\n"


def default_yaml() -> str:
    """A commented file with every key at its default."""
    lines = ["# Every key of eftraind with its default. Keep only what you change."]
    for full, entry, hint in walk(Config):
        indent = "  " * full.count(".")
        lines += [""] if not indent else []
        bounds = _bounds_text(entry.metadata)
        lines.append(f"{indent}# {entry.metadata['doc']}" + (f" ({bounds})" if bounds else ""))
        value = "" if dataclasses.is_dataclass(hint) else " " + _default(entry)
        lines.append(f"{indent}{entry.name}:{value}")
    return "\n".join(lines) + "\n"


def _kind(hint: Any, entry: Any) -> str:
    name = type_name(hint)
    return name.replace("null", AUTO) if entry.metadata["auto"] else name


def _default(entry: Any) -> str:
    left_open = entry.default is None and entry.metadata["auto"]
    return AUTO if left_open else _yaml_value(entry.default)


def _bounds_text(metadata: Any) -> str:
    if metadata.get("choices"):
        return "one of " + ", ".join(metadata["choices"])
    if metadata.get("low") is None:
        return ""
    return f"{number(metadata['low'])} to {number(metadata['high'])}"


def _yaml_value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return repr(value) if "e" not in repr(value) else f"{value:f}".rstrip("0")
    if isinstance(value, (str, tuple)):
        return json.dumps(value)
    return str(value)
