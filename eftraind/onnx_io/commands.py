"""What `eftraind import` and `eftraind export` run: the check for onnx, then the work.

Owns the order of the two, because the modules that do the work import onnx as they load.
"""

import argparse
from importlib import import_module
from typing import Any

from eftraind.onnx_io import options


def bring(given: argparse.Namespace) -> str:
    """Import a model; what was made of it."""
    options.need_onnx()
    importing: Any = import_module("eftraind.onnx_io.importing")
    return str(importing.run(given))


def take(given: argparse.Namespace) -> str:
    """Export weights; what was written."""
    options.need_onnx()
    exporting: Any = import_module("eftraind.onnx_io.exporting")
    return str(exporting.run(given))
