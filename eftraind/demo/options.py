"""What a user may choose about the demo: the flags, their defaults and their checks."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from eftraind.demo.data import DIGITS
from eftraind.demo.shifts import SHIFTS
from eftraind.errors import ConfigError

DIGITS_DEFAULTS = {"samples": 9000, "rate": 300.0, "learning_rate": 0.02}
OTHER_DEFAULTS = {"samples": 6000, "rate": 60.0, "learning_rate": 0.005}


@dataclass(frozen=True)
class Options:
    """One run, every default filled in."""

    shift: str
    data: str
    network: str
    device: str
    weights: Path | None
    samples: int
    shift_at: int
    rate: float
    learning_rate: float
    seed: int
    plot: Path | None
    json: Path | None
    keep_state: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--shift", choices=tuple(SHIFTS), default="rotate", help="how the world changes (rotate)")
    add("--stationary", action="store_true", help="the world stays: the same as --shift none")
    add("--data", default=DIGITS, metavar="FILE.npz", help="uint8 images and labels (digits)")
    add("--network", help="shipped network or YAML file (digits, or cifar1x for 32x32x3)")
    add("--device", choices=("cpu", "reference", "csim", "emulated-board"), default="cpu",
        help="what computes (cpu); the last wants pynq and a rate of 50 or less")  # fmt: skip
    add("--weights", type=Path, metavar="FILE", help="safetensors to start from; no pre-training")
    add("--samples", type=int, help="labelled samples in all (9000; other data 6000)")
    add("--shift-at", type=int, metavar="N", help="samples before the shift (a third)")
    add("--rate", type=float, help="samples per second (300; other data 60)")
    add("--learning-rate", type=float, help="step size (0.02; other data 0.005)")
    add("--seed", type=int, default=0, help="of everything that is drawn (0)")
    add("--plot", type=Path, metavar="OUT", help="write a picture: .png, .svg or .pdf")
    add("--json", type=Path, metavar="OUT", help="write the figures")
    add("--keep-state", type=Path, metavar="DIR", help="keep weights, journal and logs there")


def from_arguments(given: argparse.Namespace) -> Options:
    """Defaults that depend on each other, and checks; ConfigError on nonsense."""
    defaults = DIGITS_DEFAULTS if given.data == DIGITS else OTHER_DEFAULTS
    samples = int(defaults["samples"] if given.samples is None else given.samples)
    options = Options(
        shift="none" if given.stationary else given.shift,
        data=given.data,
        network=given.network or (DIGITS if given.data == DIGITS else "cifar1x"),
        device=given.device,
        weights=given.weights,
        samples=samples,
        shift_at=samples // 3 if given.shift_at is None else given.shift_at,
        rate=defaults["rate"] if given.rate is None else given.rate,
        learning_rate=(
            defaults["learning_rate"] if given.learning_rate is None else given.learning_rate
        ),
        seed=given.seed,
        plot=given.plot,
        json=given.json,
        keep_state=given.keep_state,
    )
    _check(options)
    return options


def _check(options: Options) -> None:
    conditions = {
        "--samples must be at least 1": options.samples >= 1,
        "--shift-at must lie between 0 and --samples": 0 <= options.shift_at <= options.samples,
        "--rate must be a positive number of at most 1e6": 0 < options.rate <= 1e6,
        "--learning-rate must lie between 0 and 1": 0 < options.learning_rate <= 1,
        "--seed must not be negative": options.seed >= 0,
        "the directory of --json must exist": options.json is None
        or options.json.resolve().parent.is_dir(),
    }
    for condition, holds in conditions.items():
        if not holds:
            raise ConfigError(condition, remedy="change it; eftraind demo --help lists all flags")
