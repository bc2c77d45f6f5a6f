"""What a user may ask of `eftraind plan`: the flags, their defaults and their checks."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eftraind.errors import ConfigError

PICTURES = (".png", ".svg", ".pdf")
OBJECTIVES = ("throughput", "latency", "energy")
DEFAULT_STEPS = 100


@dataclass(frozen=True)
class Options:
    """One question, every default filled in."""

    network: str
    board: str | None
    batch: int
    objective: str
    kernel: str
    steps: int
    compare: tuple[str, ...] | None
    """Boards; empty: all that ship. None: no comparison."""
    build: Path | None
    json: Path | None
    plot: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `eftraind plan`."""
    add = parser.add_argument
    add("--network", required=True, help="shipped network, YAML file or ONNX model")
    add("--board", metavar="BOARD", help="shipped board or YAML file")
    add("--batch", type=int, default=16, help="images a training step (16)")
    add("--objective", choices=OBJECTIVES, default="throughput", help="what to seek (throughput)")
    add(
        "--kernel",
        default="eftraind",
        help="eftraind: ours; hls: as written so far; ef_train: the paper's (eftraind)",
    )
    add("--steps", type=int, default=DEFAULT_STEPS, metavar="N",
        help=f"steps of one adaptation, for its energy ({DEFAULT_STEPS})")  # fmt: skip
    add("--compare", nargs="*", metavar="BOARD", help="all kernels on these boards, or on all")
    add("--build-description", type=Path, metavar="OUT",
        help="write the sizes of the bitstream, for hls/; not of kernel ef_train")  # fmt: skip
    add("--json", type=Path, metavar="OUT", help="write the figures")
    add("--plot", type=Path, metavar="OUT", help="write a picture: .png, .svg or .pdf")


def from_arguments(given: argparse.Namespace) -> Options:
    """Checked; ConfigError on nonsense."""
    options = Options(
        network=given.network,
        board=given.board,
        batch=given.batch,
        objective=given.objective,
        kernel=given.kernel,
        steps=given.steps,
        compare=None if given.compare is None else tuple(given.compare),
        build=given.build_description,
        json=given.json,
        plot=given.plot,
    )
    _check(options)
    return options


def _check(options: Options) -> None:
    """Complain before the work, not after it."""
    alone = options.compare is None
    conditions = {
        "--board must be given, or --compare": options.board is not None or not alone,
        "--board and --compare exclude each other": options.board is None or alone,
        "--plot shows one plan, not a comparison": options.plot is None or alone,
        "--build-description is of one plan, not of a comparison": options.build is None or alone,
        "--batch must be from 1 to 65536": 1 <= options.batch <= 65536,
        "--steps must be at least 1": options.steps >= 1,
    }
    _demand(conditions)
    for flag, path in (("json", options.json), ("build-description", options.build)):
        if path is not None:
            check_directory(flag, path)
    if options.plot is not None:
        check_picture(options.plot)


def check_picture(path: Path) -> None:
    """Raise ConfigError for a picture that cannot be written."""
    endings = ", ".join(PICTURES)
    _demand({f"--plot must end in {endings}": path.suffix.lower() in PICTURES})
    check_directory("plot", path)


def check_directory(flag: str, path: Path) -> None:
    _demand({f"the directory of --{flag} must exist": path.resolve().parent.is_dir()})


def _demand(conditions: Mapping[str, bool]) -> None:
    for condition, holds in conditions.items():
        if not holds:
            raise ConfigError(condition, remedy="change it; --help lists all flags")
