"""What a user may choose about offline training: the flags, their defaults and their checks."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from eftraind import config as configuration
from eftraind.config import TrainConfig
from eftraind.errors import ConfigError

PICTURES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Options:
    """One run, every default filled in."""

    network: str
    data: str
    epochs: int
    train: TrainConfig
    chunk: int
    seed: int
    device: str
    threads: int
    weights: Path | None
    output: Path | None
    plot: Path | None
    json: Path | None


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Flags that name keys of the `train` section, whose bounds and meaning they share."""
    add = parser.add_argument
    add("--batch", type=int, default=32, help="samples a step (32)")
    add("--optimizer", default="sgd", help="sgd, nesterov or adam (sgd)")
    add("--trainable", nargs="+", default=["all"], metavar="WHAT",
        help="all, last-K, norms-and-biases, names of layers or tensors (all)")  # fmt: skip
    add("--freeze-norms", action="store_true", help="keep running statistics as they are")
    add("--chunk", type=int, default=8, help="images that pass through the layers together (8)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `eftraind train`."""
    add = parser.add_argument
    add("--network", required=True, help="shipped network or YAML file")
    add("--data", default="digits", metavar="FILE.npz", help="uint8 images and labels (digits)")
    add("--epochs", type=int, default=10, help="passes over the training images (10)")
    add_recipe(parser)
    add("--rate", type=float, default=0.01, help="step size (0.01)")
    add("--momentum", type=float, default=0.9, help="of SGD; beta1 of Adam (0.9)")
    add("--decay", type=float, default=0.0, help="L2 penalty (0)")
    add("--clip", type=float, default=0.0, help="largest gradient norm; 0: any (0)")
    add("--smoothing", type=float, default=0.0, help="of labels (0)")
    add("--seed", type=int, default=0, help="of initial weights, order and dropout (0)")
    add("--device", choices=("cpu", "reference"), default="cpu", help="what computes (cpu)")
    add("--threads", type=int, default=0, help="0: one fewer than the machine has (0)")
    add("--weights", type=Path, metavar="FILE", help="safetensors to start from")
    add("--output", type=Path, metavar="W.safetensors", help="write the weights")
    add("--plot", type=Path, metavar="OUT", help="write the learning curve: .png, .svg or .pdf")
    add("--json", type=Path, metavar="OUT", help="write the figures")


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Those of `eftraind memory`."""
    add = parser.add_argument
    add("--network", required=True, help="shipped network or YAML file")
    add_recipe(parser)
    add("--latent", action="store_true", help="replay keeps activations of the freeze point")
    add("--replay", type=int, default=10_000, metavar="N", help="samples kept (10000)")
    add("--t", type=int, default=16, help="channel lanes of a tile on the device (16)")
    add("--memory-bytes", type=int, default=0, metavar="N",
        help="device.memory_bytes: all that buffers may take (no limit)")  # fmt: skip
    add("--json", action="store_true", help="as one JSON object, in bytes")


def recipe_of(given: argparse.Namespace, **more: object) -> TrainConfig:
    """The flags as a checked `train` section. Raises ConfigError as a configuration would."""
    section = {
        "batch": given.batch,
        "optimizer": given.optimizer,
        "trainable": given.trainable,
        "freeze_norms": given.freeze_norms,
        **more,
    }
    return configuration.from_mapping({"train": section}).train


def from_arguments(given: argparse.Namespace) -> Options:
    """Checked; ConfigError on nonsense."""
    train = recipe_of(
        given,
        learning_rate=given.rate,
        momentum=given.momentum,
        weight_decay=given.decay,
        clip_norm=given.clip,
        label_smoothing=given.smoothing,
    )
    options = Options(
        network=given.network,
        data=given.data,
        epochs=given.epochs,
        train=train,
        chunk=given.chunk,
        seed=given.seed,
        device=given.device,
        threads=given.threads,
        weights=given.weights,
        output=given.output,
        plot=given.plot,
        json=given.json,
    )
    _check(options)
    return options


def _check(options: Options) -> None:
    """Complain before the run, not after it."""
    conditions = {
        "--epochs must be at least 1": options.epochs >= 1,
        "--chunk must be at least 1": options.chunk >= 1,
        "--seed must not be negative": options.seed >= 0,
        "--threads must be from 0 to 1024": 0 <= options.threads <= 1024,
        f"--plot must end in {', '.join(PICTURES)}": options.plot is None
        or options.plot.suffix.lower() in PICTURES,
    }
    for flag in ("output", "plot", "json"):
        path: Path | None = getattr(options, flag)
        exists = path is None or path.resolve().parent.is_dir()
        conditions[f"the directory of --{flag} must exist"] = exists
    for condition, holds in conditions.items():
        if not holds:
            raise ConfigError(condition, remedy="change it; eftraind train --help lists all flags")
