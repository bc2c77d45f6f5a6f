"""Boards by name: those shipped beside this file, or any YAML file. Owns the search only."""

import difflib
from pathlib import Path

from eftraind.config import load_yaml
from eftraind.errors import ConfigError
from eftraind.plan import board as boards
from eftraind.plan.board import Board

SHIPPED = Path(__file__).parent


def names() -> list[str]:
    """The boards that ship with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load(name: str) -> Board:
    """A shipped board by name, or the file at a path ending in .yaml or .yml.

    Raises ConfigError: no such board, not YAML, an unknown or missing key, a value out of bounds.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
    else:
        path = SHIPPED / f"{name}.yaml"
        if name not in names():
            near = difflib.get_close_matches(name, names(), n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(
                f"no board {name!r}",
                remedy=f"{hint}shipped: {', '.join(names())}, or give a .yaml path",
            )
    try:
        board = boards.from_mapping(load_yaml(path))
    except ConfigError as error:
        raise ConfigError(f"board {path}: {error.message}", remedy=error.remedy) from error
    if board.name != path.stem:
        raise ConfigError(
            f"board {path}: name is {board.name!r}", remedy=f"call it {path.stem!r}, as its file"
        )
    return board
