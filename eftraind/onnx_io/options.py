"""Flags of `eftraind import` and `eftraind export`, and the check that onnx is installed.

Does not import onnx, so that `eftraind --help` works without it.
"""

import argparse
import importlib.util
from fractions import Fraction

from eftraind.errors import ConfigError


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL.onnx", help="a classifier as exported by torch, opset 13 or later")
    add("--output", required=True, metavar="PREFIX", help="a folder, or a path without ending")
    add("--dtype", choices=("uint8", "float32"), default="float32", help="of samples (float32)")
    add("--scale", type=_number, metavar="X", help="a sample is multiplied by this (1), e.g. 1/255")
    add("--mean", type=_number, nargs="+", metavar="X", help="then this is taken off, per channel")
    add("--std", type=_number, nargs="+", metavar="X", help="then it is divided by this")
    _add_force(parser)


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--network", required=True, help="shipped network, or the YAML file that import wrote")
    add("--weights", required=True, metavar="FILE", help="safetensors to export")
    add("--like", metavar="MODEL.onnx", help="the file that was imported; without it, a new model")
    add("--output", required=True, metavar="OUT.onnx", help="the file to write")
    _add_force(parser)


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")


def need_onnx() -> None:
    """Raise ConfigError, with the command that helps, unless onnx is installed."""
    if importlib.util.find_spec("onnx") is None:
        raise ConfigError("onnx is not installed", remedy="pip install 'eftraind[onnx]'")


def _number(text: str) -> float:
    """A number or a fraction.

    >>> _number("1/4"), _number("0.5")
    (0.25, 0.5)
    """
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number or fraction") from error
