"""Networks by name: those shipped beside this file, or any YAML file. Owns the search only."""

import difflib
from pathlib import Path

from eftraind import graph_build
from eftraind.config import load_yaml
from eftraind.errors import GraphError
from eftraind.graph import Graph

SHIPPED = Path(__file__).parent


def names() -> list[str]:
    """The networks that ship with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load(name: str) -> Graph:
    """A shipped network by name, or the file at a path ending in .yaml or .yml.

    Raises GraphError (no such network, impossible layers) or ConfigError (not YAML).
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
    else:
        path = SHIPPED / f"{name}.yaml"
        if name not in names():
            near = difflib.get_close_matches(name, names(), n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise GraphError(
                f"no network {name!r}",
                remedy=f"{hint}shipped: {', '.join(names())}, or give a .yaml path",
            )
    return graph_build.from_mapping(load_yaml(path))
