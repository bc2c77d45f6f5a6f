"""Named weights of a network: shapes, seeded initial values, checks and hash. No layout, no files.

Names and shapes are PyTorch's: `conv1.weight` [m, n of a group, kernel rows, kernel cols],
`conv1.bias` [m], `fc.weight` [m, channels*rows*cols]; of batch normalisation `bn.weight` (gamma),
`bn.bias` (beta), `bn.running_mean` and `bn.running_var`.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from eftraind.errors import WeightsError
from eftraind.graph import Graph, Layer

F32 = npt.NDArray[np.float32]
Params = Mapping[str, F32]

STATISTICS = ("running_mean", "running_var")
"""Follow the data, not the gradient."""


def _layer_shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    if layer.kind == "batchnorm":
        channels = (layer.output_shape[0],)
        return dict.fromkeys(("weight", "bias", *STATISTICS), channels)
    m, n, rows, cols = layer.weight_shape
    out: dict[str, tuple[int, ...]] = {
        "weight": (m, n * rows * cols) if layer.kind == "linear" else layer.weight_shape
    }
    return out | ({"bias": (m,)} if layer.bias else {})


def shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor, in graph order."""
    return {
        f"{layer.name}.{part}": shape
        for layer in graph.layers
        if layer.has_weights
        for part, shape in _layer_shapes(layer).items()
    }


def initial(graph: Graph, rng: np.random.Generator) -> dict[str, F32]:
    """He-normal weights (He et al. 2015, fan-in), zero biases, batch normalisation as identity."""
    out: dict[str, F32] = {}
    for name, shape in shapes(graph).items():
        part = name.rpartition(".")[2]
        if part == "weight" and len(shape) > 1:
            deviation = np.sqrt(2.0 / np.prod(shape[1:]))
            out[name] = (rng.standard_normal(shape) * deviation).astype(np.float32)
        else:
            one = part in ("weight", "running_var")
            out[name] = np.full(shape, float(one), dtype=np.float32)
    return out


def check(graph: Graph, tensors: Params) -> None:
    """Raise WeightsError unless the tensors are exactly this network's, float32 and finite."""
    expected = shapes(graph)
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    if missing or extra:
        raise WeightsError(
            f"weights do not belong to network {graph.name}: missing {missing}, unknown {extra}",
            remedy="use weights trained for this network",
        )
    for name, shape in expected.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != np.float32:
            raise WeightsError(
                f"{name} is {tensor.dtype}{tensor.shape}, network {graph.name} has float32{shape}",
                remedy="use weights trained for this network",
            )
        if not np.isfinite(tensor).all():
            raise WeightsError(f"{name} holds NaN or Inf", remedy="use an earlier checkpoint")
        if name.endswith("running_var") and (tensor < 0).any():
            raise WeightsError(f"{name} is negative", remedy="use an earlier checkpoint")


def weights_hash(tensors: Params) -> bytes:
    """16 bytes of BLAKE2b over name, shape and little-endian float32 data, in name order."""
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name], dtype="<f4")
        state.update(f"{name}{tensor.shape}".encode())
        state.update(tensor.tobytes())
    return state.digest()
