"""`eftraind reference` and `version`: pages made from the code that they describe.

Owns which page comes from where; each is written by the package it describes.
"""

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

from eftraind import config as configuration
from eftraind.errors import ConfigError

PAGES = ("config", "metrics", "defaults", "reproduction", "figures")


def add_reference(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("page", choices=PAGES)
    parser.add_argument(
        "--plot", type=Path, metavar="OUT", help="picture of reproduction or figures"
    )


def reference(given: argparse.Namespace) -> str:
    """One page as Markdown, or as YAML for `defaults`."""
    if given.plot is not None and given.page not in ("reproduction", "figures"):
        raise ConfigError(f"page {given.page} has no picture", remedy="leave --plot out")
    return _page(given).removesuffix("\n")


def _page(given: argparse.Namespace) -> str:
    if given.page == "config":
        return configuration.reference_table()
    if given.page == "defaults":
        return configuration.default_yaml()
    if given.page == "metrics":
        metrics: Any = import_module("eftraind.metrics")
        return str(metrics.reference_table())
    if given.page == "figures":
        planner: Any = import_module("eftraind.planner.main")
        return str(planner.figures(given.plot))
    planner = import_module("eftraind.planner.main")
    return str(planner.reproduction(given.plot))


def version(given: argparse.Namespace) -> str:
    watch: Any = import_module("eftraind.service.watch")
    return str(watch.package_version())
