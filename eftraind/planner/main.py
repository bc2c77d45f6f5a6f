"""`eftraind plan`: asks a cost model about a network on a board and shows what it says."""

import argparse
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from eftraind import boards
from eftraind.errors import ConfigError, GraphError
from eftraind.fsio import storage_errors
from eftraind.graph import Graph
from eftraind.plan import build
from eftraind.plan import energy as energies
from eftraind.plan.board import Board
from eftraind.planner import comparing, kernels, report, source, table
from eftraind.planner.kernels import Planned
from eftraind.planner.options import Options, check_picture, from_arguments


def run(given: argparse.Namespace) -> int:
    """The command line's entry; raises EftraindError for the command line to show."""
    return perform(from_arguments(given), sys.stdout)


def perform(options: Options, stream: TextIO) -> int:
    """One question; the exit status."""
    if options.board is None:
        return _compare(options, stream)
    kernel = kernels.find(options.kernel)
    board = boards.load(options.board)
    draw = drawing("picture") if options.plot is not None else None
    graph = source.load(options.network)
    planned = kernel.plan(graph, board, options.batch, options.objective)
    schedule = planned.schedule
    if options.build is not None and planned.build is None:
        raise ConfigError(
            f"hls lacks {'; '.join(planned.lacking)}"
            if planned.lacking
            else f"kernel {kernel.name} has no build description",
            remedy="take --kernel hls",
        )
    energy = energies.of_schedule(schedule, board.family, options.steps)
    stream.write(table.text(schedule, board, energy, kernel.title) + "\n")
    if planned.limit:
        stream.write(f"a larger array does not fit: {planned.limit}\n")
    if planned.lacking:
        stream.write(f"{_beyond(planned, graph, board, options)}\n")
    if options.json is not None:
        _write(options.json, report.mapping(planned, board, energy), stream)
    if options.build is not None and planned.build is not None:
        with storage_errors("write", options.build):
            options.build.write_text(build.to_json(planned.build), encoding="utf-8")
        stream.write(f"build description: {options.build}\n")
    if draw is not None:
        draw(options.plot, schedule, board)
        stream.write(f"picture: {options.plot}\n")
    return 0


def _beyond(planned: Planned, graph: Graph, board: Board, options: Options) -> str:
    """One line: what cannot be built today, and what can."""
    try:
        today = kernels.written(graph, board, options.batch, options.objective).schedule
        rate = f"reaches {today.gflops:.1f} GFLOPS, modelled"
    except (ConfigError, GraphError) as error:
        rate = f"is refused: {error.message}"
    lacks = "; ".join(planned.lacking)
    return f"not to be built today: hls lacks {lacks}. --kernel hls {rate}"


def _compare(options: Options, stream: TextIO) -> int:
    known = [boards.load(name) for name in options.compare or boards.names()]
    graph = source.load(options.network)
    entries = comparing.compare(
        graph,
        known,
        list(kernels.KERNELS.values()),
        options.batch,
        options.objective,
        options.steps,
    )
    stream.write(comparing.text(graph, options.batch, entries) + "\n")
    if options.json is not None:
        _write(options.json, comparing.mapping(graph, options.batch, entries), stream)
    return 0


def reproduction(plot: Path | None) -> str:
    """The page of the paper's figures; with `plot`, its picture is written, too."""
    page: Any = import_module("eftraind.planner.page")
    if plot is not None:
        check_picture(plot)
        drawing("reproduction_picture")(plot)
    text: str = page.text()
    return text


def figures(plot: Path | None) -> str:
    """The page of our kernel's figures; with `plot`, its picture is written, too."""
    page: Any = import_module("eftraind.planner.figures_page")
    if plot is not None:
        check_picture(plot)
        targets: Any = import_module("eftraind.planner.targets")
        drawing("figures_picture")(plot, list(targets.rivals()))
    text: str = page.text()
    return text


def drawing(module: str) -> Callable[..., None]:
    """The `draw` of a module that needs matplotlib. Raises ConfigError if that is missing."""
    try:
        picture: Any = import_module(f"eftraind.planner.{module}")
    except ImportError as error:
        raise ConfigError(
            f"--plot needs matplotlib: {error}", remedy="pip install 'eftraind[demo]'"
        ) from error
    draw: Callable[..., None] = picture.draw
    return draw


def _write(path: Path, facts: dict[str, Any], stream: TextIO) -> None:
    with storage_errors("write", path):
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    stream.write(f"figures: {path}\n")
