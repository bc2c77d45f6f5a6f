"""Commands to a running daemon through its control socket, and how its answers read.

Owns `status`, `set` and the engine's one-word commands. It never touches the daemon's files.
"""

import argparse
import json
from typing import Any

from eftraind.commands.target import add_target, target_of
from eftraind.errors import ConfigError
from eftraind.service.request import RequestFailed


def add_rollback(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument("--golden", action="store_true", help="to the frozen first model")


def add_set(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument("rates", nargs="+", metavar="KEY=VALUE", help="train.learning_rate=0.01")


def add_status(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def control(given: argparse.Namespace) -> str:
    """Pass the command on under its own name."""
    args = {"golden": True} if getattr(given, "golden", False) else {}
    result = target_of(given).request(given.command, args)
    shown = " ".join(
        f"{key}={value}" for key, value in result.items() if isinstance(value, (str, int, float))
    )
    return f"{given.command}: done" + (f" ({shown})" if shown else "")


def change(given: argparse.Namespace) -> str:
    """Set rates of training."""
    rates = {}
    for text in given.rates:
        key, equals, value = text.partition("=")
        try:
            rates[key] = float(value)
        except ValueError:
            cause = f"{text!r} is not KEY=NUMBER" if equals else f"{text!r} has no value"
            raise ConfigError(cause, remedy="write train.learning_rate=0.01") from None
    target_of(given).request("set", rates)
    return "set: " + ", ".join(f"{key} is {value:g}" for key, value in rates.items())


def reload(given: argparse.Namespace) -> str:
    """Have the file read again. Raises ConfigError if it changes what cannot change now."""
    try:
        changed = target_of(given).request("reload")["changed"]
    except RequestFailed as error:
        if error.code == ConfigError.code:
            raise ConfigError(error.message, remedy=error.remedy) from error
        raise
    shown = (f"{key} is {json.dumps(value)}" for key, value in sorted(changed.items()))
    return "reloaded: " + (", ".join(shown) or "nothing has changed")


def status(given: argparse.Namespace) -> str:
    """What the daemon says of itself, as JSON or as a table."""
    result = target_of(given).request("status", timeout_s=5.0)
    return json.dumps(result) if given.json else status_text(result)


def status_text(status: dict[str, Any]) -> str:
    """A table: one section per part, clients one per line."""
    clients = status.pop("clients", [])
    plain = {key: value for key, value in status.items() if not isinstance(value, dict)}
    lines = _rows("daemon", plain)
    for name, part in status.items():
        if isinstance(part, dict):
            lines += _rows(name, part)
    lines.append(f"clients ({len(clients)})")
    lines += [
        f"  {client['producer']:<24} received {client['received_seq']:<10} "
        f"durable {client['durable_seq']:<10} silent {client['silent_s']:.1f} s"
        for client in clients
    ]
    return "\n".join(lines)


def _rows(title: str, part: dict[str, Any]) -> list[str]:
    rows = [title]
    for key, value in part.items():
        if isinstance(value, dict):
            rows += [f"  {key}.{inner:<{max(1, 23 - len(key))}} {v}" for inner, v in value.items()]
        else:
            rows.append(f"  {key:<24} {_plain(value)}")
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)
