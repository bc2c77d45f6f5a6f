"""Which daemon a command is for: this machine's by its file, or another's by an endpoint and a key.

Owns the flags for that, and what they must satisfy together. It asks nothing.
"""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eftraind import config as configuration
from eftraind.client import curve
from eftraind.errors import ConfigError
from eftraind.keys import KeyFile
from eftraind.service import request

SCHEMES = ("tcp://", "ipc://")


@dataclass(frozen=True)
class Target:
    """`keys` is None for a socket of this machine."""

    endpoint: str
    keys: KeyFile | None = None

    def request(
        self, command: str, args: Mapping[str, Any] | None = None, *, timeout_s: float = 35.0
    ) -> dict[str, Any]:
        """As `eftraind.service.request.request`."""
        return request.request(self.endpoint, command, args, timeout_s=timeout_s, keys=self.keys)


def add_target(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("-c", "--config", metavar="FILE", help="the YAML file of a daemon here")
    where.add_argument(
        "--endpoint", metavar="tcp://HOST:PORT", help="what `admin` names on another machine"
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        help=f"with --endpoint: a key file with the role admin (or ${curve.VARIABLE})",
    )


def target_of(given: argparse.Namespace) -> Target:
    """Raises ConfigError for flags that do not go together, ClientError for a bad key file."""
    if given.endpoint is None:
        if given.key is not None:
            raise ConfigError(
                "--key without --endpoint", remedy="a socket of this machine has no key"
            )
        return Target(configuration.load(given.config).control_endpoint)
    if not given.endpoint.startswith(SCHEMES):
        raise ConfigError(f"--endpoint {given.endpoint!r:.80}", remedy="write tcp://HOST:PORT")
    keys = curve.find(given.key, given.endpoint, os.environ)
    if keys is None and given.endpoint.startswith("tcp://"):
        raise ConfigError(
            f"{given.endpoint} wants a key", remedy=f"--key FILE, or set {curve.VARIABLE}"
        )
    return Target(given.endpoint, keys)
