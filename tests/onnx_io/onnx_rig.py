"""Exporting, running and judging: what the tests of ONNX share."""

import io
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
import torch
import torch_graph
from onnx_models import MODELS, make

from eftraind.graph import Graph
from eftraind.onnx_io import importing

EXPORTERS = ("folded", "kept", "dynamic", "oldest")
DYNAMO = ("dynamo", "dynamo_dynamic")
BATCH = 2


class Exports:
    """Every model by every exporter, each made when first asked for."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], bytes] = {}

    def get(self, model: str, exporter: str) -> bytes:
        key = (model, exporter)
        if key not in self._made:
            self._made[key] = export(make(model), MODELS[model][1], exporter)
        return self._made[key]


def export(model: torch.nn.Module, shape: tuple[int, int, int], exporter: str) -> bytes:
    x = torch.zeros(BATCH, *shape)
    options: dict[str, Any] = {"dynamo": exporter in DYNAMO, "input_names": ["image"]}
    if exporter == "kept":  # batch normalisation stays
        options |= {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    elif exporter == "oldest":
        options["opset_version"] = 13
    elif exporter == "dynamic":
        options["dynamic_axes"] = {"image": {0: "N"}}
    elif exporter == "dynamo_dynamic":
        options["dynamic_shapes"] = ({0: torch.export.Dim("N")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own deprecations
        logging.disable(logging.WARNING)
        try:
            return _export(model, x, options)
        finally:
            logging.disable(logging.NOTSET)


def _export(model: torch.nn.Module, x: torch.Tensor, options: dict[str, Any]) -> bytes:
    if not options["dynamo"]:
        file = io.BytesIO()
        torch.onnx.export(model, (x,), file, **options)
        return file.getvalue()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(model, (x,), path, external_data=False, verbose=False, **options)
        return path.read_bytes()


def read(data: bytes, **samples: Any) -> importing.Imported:
    return importing.read_model(data, "model.onnx", "model", samples)


def images(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((BATCH, *shape)).astype(np.float32)


def run(data: bytes, x: np.ndarray) -> np.ndarray:
    """What onnxruntime makes of images."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


def judge(graph: Graph, params: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """What the oracle makes of the same images: logits [N, classes]."""
    given = torch_graph.normalised(graph, x.transpose(0, 2, 3, 1))
    out = torch_graph.logits(graph, torch_graph.tensors(params), given, torch_graph.Mode())
    return out.reshape(len(x), -1).numpy()


def perturbed(params: Mapping[str, np.ndarray], seed: int = 1) -> dict[str, np.ndarray]:
    """As after some training: everything moved, variances still positive."""
    rng = np.random.default_rng(seed)
    return {
        name: (value * rng.uniform(0.8, 1.2, value.shape)).astype(np.float32)
        for name, value in params.items()
    }


def assert_close(one: np.ndarray, other: np.ndarray) -> None:
    assert one.shape == other.shape
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * float(np.abs(other).max()))
