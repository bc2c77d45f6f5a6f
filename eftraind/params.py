"""Named weights of a network: shapes, seeded initial values, checks and hash. No layout, no files.

Names and shapes are PyTorch's: `conv1.weight` [m, n, kernel rows, kernel cols], `conv1.bias` [m],
`fc.weight` [m, channels*rows*cols].
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from eftraind.errors import WeightsError
from eftraind.graph import Graph

F32 = npt.NDArray[np.float32]
Params = Mapping[str, F32]


def shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor, in graph order."""
    out: dict[str, tuple[int, ...]] = {}
    for layer in graph.layers:
        if not layer.has_weights:
            continue
        m, n, rows, cols = layer.weight_shape
        flat = layer.kind == "linear"
        out[f"{layer.name}.weight"] = (m, n * rows * cols) if flat else layer.weight_shape
        if layer.bias:
            out[f"{layer.name}.bias"] = (m,)
    return out


def initial(graph: Graph, rng: np.random.Generator) -> dict[str, F32]:
    """He-normal weights and zero biases (He et al. 2015, fan-in)."""
    out: dict[str, F32] = {}
    for name, shape in shapes(graph).items():
        if name.endswith(".bias"):
            out[name] = np.zeros(shape, dtype=np.float32)
        else:
            deviation = np.sqrt(2.0 / np.prod(shape[1:]))
            out[name] = (rng.standard_normal(shape) * deviation).astype(np.float32)
    return out


def check(graph: Graph, tensors: Params) -> None:
    """Raise WeightsError unless the tensors are exactly this network's, float32 and finite."""
    expected = shapes(graph)
    missing, extra = (
        sorted(expected.keys() - tensors.keys()),
        sorted(tensors.keys() - expected.keys()),
    )
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


def weights_hash(tensors: Params) -> bytes:
    """16 bytes of BLAKE2b over name, shape and little-endian float32 data, in name order."""
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name], dtype="<f4")
        state.update(f"{name}{tensor.shape}".encode())
        state.update(tensor.tobytes())
    return state.digest()
