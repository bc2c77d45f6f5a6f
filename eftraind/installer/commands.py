"""`eftraind install-service` and `uninstall-service`.

Owns their flags and what they tell the operator.
"""

import argparse
import os
import sys
from pathlib import Path

from eftraind.errors import ConfigError
from eftraind.installer import units
from eftraind.installer.machine import Installer, run


def add_install(parser: argparse.ArgumentParser) -> None:
    _add_root(parser)
    parser.add_argument(
        "--python", default=sys.executable, help="the interpreter that has eftraind (this one)"
    )
    parser.add_argument(
        "-c", "--config", default=units.CONFIG, metavar="FILE", help="the daemon's YAML file"
    )
    parser.add_argument("--render", type=Path, metavar="DIR", help="only write the units to DIR")


def add_uninstall(parser: argparse.ArgumentParser) -> None:
    _add_root(parser)
    parser.add_argument(
        "--purge", action="store_true", help="also remove configuration, keys and all it learnt"
    )


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="stage below DIR (/)"
    )
    parser.add_argument(
        "--vendor", action="store_true", help="for packages: below /usr/lib, not enabled"
    )


def install(given: argparse.Namespace) -> str:
    """Install, or render only."""
    if given.render is not None:
        given.render.mkdir(parents=True, exist_ok=True)
        for name in units.places():
            (given.render / name).write_text(units.render(name), encoding="utf-8")
        return f"wrote {len(units.places())} files to {given.render}"
    installer = _installer(given)
    installer.python, installer.config = given.python, given.config
    installer.install()
    if installer.tell is None or not installer.done:
        return _told(installer)
    return f"{_told(installer)}\nstart it: systemctl restart eftraind.target"


def uninstall(given: argparse.Namespace) -> str:
    installer = _installer(given)
    installer.uninstall(purge=given.purge)
    kept = "" if given.purge else "\nkept: /etc/eftraind and /var/lib/eftraind (--purge removes)"
    return _told(installer) + kept


def _installer(given: argparse.Namespace) -> Installer:
    staged = given.root.resolve() != Path("/")
    if not staged and not given.vendor:
        if os.geteuid() != 0:
            raise ConfigError("installing services needs root", remedy="use sudo, or give --root")
        if not Path("/run/systemd/system").is_dir():
            raise ConfigError(
                "systemd does not run here", remedy="give --root, or start `eftraind run` yourself"
            )
    return Installer(given.root, vendor=given.vendor, tell=None if staged or given.vendor else run)


def _told(installer: Installer) -> str:
    return "\n".join(installer.done) or "nothing to do"
