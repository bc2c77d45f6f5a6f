"""The network to plan for: shipped, a YAML file, or an ONNX model, read for its structure only."""

from importlib import import_module
from pathlib import Path
from typing import Any

from eftraind import networks
from eftraind.graph import Graph
from eftraind.onnx_io import options as onnx_options


def load(name: str) -> Graph:
    """Raises GraphError or ConfigError: no such network, a layer that cannot be, onnx missing."""
    if not name.lower().endswith(".onnx"):
        return networks.load(name)
    onnx_options.need_onnx()
    importing: Any = import_module("eftraind.onnx_io.importing")
    path = Path(name)
    imported = importing.read_model(
        importing.load(path), path.name, path.stem, {"dtype": "float32"}
    )
    graph: Graph = imported.graph
    return graph
