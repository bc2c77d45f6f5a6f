"""Weights as safetensors bytes, with every limit checked before anything is parsed.

Owns the one way weights enter from a file: size, header length, types. Never unpickles, never
judges values: NaN loads happily here, and params.check refuses it.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from eftraind.errors import CheckpointDamaged, StorageError
from eftraind.fsio import FileOps, read_file
from eftraind.params import F32

LIMIT_BYTES = 1 << 30
HEADER_LIMIT_BYTES = 256 << 10  # about 2,500 tensors; a huge header is slow and large to parse


def encode_weights(tensors: Mapping[str, F32], limit_bytes: int = LIMIT_BYTES) -> bytes:
    """The safetensors file of float32 tensors; refuses what `decode_weights` would refuse."""
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32:
            message = f"tensor {name} is {tensor.dtype}, checkpoints hold float32"
            raise StorageError(message, remedy="convert the weights first", code="weights")
    # The library stores the memory as it lies, so it must lie in C order.
    data = safetensors.numpy.save({k: np.asarray(v, order="C") for k, v in tensors.items()})
    header_bytes = int.from_bytes(data[:8], "little")
    if len(data) > limit_bytes or header_bytes > HEADER_LIMIT_BYTES:
        message = f"the checkpoint has {len(data)} bytes, {header_bytes} of them names and shapes"
        remedy = f"{limit_bytes} and {HEADER_LIMIT_BYTES} are allowed: use a smaller network"
        raise StorageError(message, remedy=remedy, code="checkpoint_too_large")
    return data


def decode_weights(data: bytes, path: Path) -> dict[str, F32]:
    """The tensors of a safetensors file; CheckpointDamaged, naming `path`, if it is not one."""
    header_bytes = int.from_bytes(data[:8], "little")
    if len(data) < 8 or header_bytes > min(HEADER_LIMIT_BYTES, len(data) - 8):
        raise damaged(path, f"its header would have {header_bytes} bytes")
    try:
        tensors = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as exc:
        raise damaged(path, str(exc)) from exc
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32:
            raise damaged(path, f"tensor {name} is {tensor.dtype}, not float32")
    return tensors


def read_weights(ops: FileOps, path: Path, limit_bytes: int = LIMIT_BYTES) -> dict[str, F32]:
    """The tensors of a file an operator names."""
    return decode_weights(read_file(ops, path, limit_bytes), path)


def damaged(path: Path, reason: str) -> CheckpointDamaged:
    return CheckpointDamaged(
        f"weights file {path} is damaged: {reason}",
        remedy="use an older one, and check the disk it is on",
    )
