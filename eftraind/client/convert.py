"""What users hand over, turned into arrays of the daemon's stream or refused on the spot.

One bad sample would make the daemon refuse the whole batch it travels in, so the daemon's checks
of content are made here first, where the caller still knows what was pushed.
"""

from typing import Any, NoReturn

import numpy as np

from eftraind.errors import Refused
from eftraind.wire import HEADER_BYTES, MAX_COUNT, NO_LABEL, Array, Stream


def one_sample(value: Any, stream: Stream) -> Array:
    """(H, W, C), or (H, W) where the stream has one channel; a view where possible."""
    array = np.asarray(value)
    if array.shape == stream.shape[:2] and stream.shape[2] == 1:
        array = array[:, :, None]
    if array.shape != stream.shape:
        _refuse("shape", f"the sample has shape {array.shape}", f"push {stream.shape} (H, W, C)")
    return _typed(array, stream)


def many_samples(value: Any, stream: Stream) -> Array:
    """(N, H, W, C), or (N, H, W) where the stream has one channel; a view where possible."""
    array = np.asarray(value)
    if array.ndim == 3 and stream.shape[2] == 1:
        array = array[:, :, :, None]
    if array.ndim != 4 or array.shape[1:] != stream.shape:
        shape = ("N", *stream.shape)
        _refuse("shape", f"the samples have shape {array.shape}", f"push {shape} (N, H, W, C)")
    if not len(array):
        _refuse("count", "the batch is empty", "push at least one sample")
    return _typed(array, stream)


def images(value: Any, stream: Stream) -> Array:
    """One sample or a batch, for `infer`, which travels in one message."""
    array = np.asarray(value)
    single = array.ndim < 3 or (array.ndim == 3 and array.shape == stream.shape)
    batch = one_sample(array, stream)[None] if single else many_samples(array, stream)
    nbytes = HEADER_BYTES + batch.nbytes
    if nbytes > stream.max_message_bytes or len(batch) > MAX_COUNT:
        limit = (stream.max_message_bytes - HEADER_BYTES) // stream.sample_bytes
        _refuse(
            *("too_large", f"{len(batch)} samples do not fit one message"),
            f"ask for at most {min(limit, MAX_COUNT)} at a time",
        )
    return batch


def one_label(value: Any, stream: Stream) -> int:
    """A class; None means that the label comes later."""
    if value is None:
        return NO_LABEL
    try:
        label = value.__index__()
    except (AttributeError, TypeError):
        _refuse("label", f"label {value!r:.80} is no integer", "labels are class numbers")
    if not 0 <= label < stream.classes:
        _refuse("label", f"label {label} is out of range", f"0 to {stream.classes - 1}")
    return int(label)


def many_labels(value: Any, count: int, stream: Stream, *, optional: bool = True) -> Array:
    """One label per sample; -1 (or None for all of them) means that a label comes later."""
    if value is None and optional:
        return np.full(count, NO_LABEL, np.int32)
    labels = np.asarray(value)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        what = f"labels are {labels.dtype} of shape {labels.shape}"
        _refuse("label", what, f"{count} integers")
    lowest = NO_LABEL if optional else 0
    if int(labels.min()) < lowest or int(labels.max()) >= stream.classes:
        _refuse("label", "a label is out of range", f"{lowest} to {stream.classes - 1}")
    return np.ascontiguousarray(labels, np.int32)


def many_targets(value: Any, next_seq: int) -> Array:
    """Sids as `push` and `push_batch` returned them."""
    targets = np.atleast_1d(np.asarray(value))
    if targets.ndim != 1 or not len(targets) or targets.dtype.kind not in "iu":
        _refuse("target", "sids are integers", "pass what push returned")
    if int(targets.min()) < 1 or int(targets.max()) >= next_seq:
        _refuse("target", "a sid was never returned by push", "pass what push returned")
    return np.ascontiguousarray(targets, np.uint64)


def _typed(array: Array, stream: Stream) -> Array:
    dtype = np.dtype(stream.dtype)
    if array.dtype != dtype:
        if not (array.dtype.kind == "f" and dtype.kind == "f"):
            what = f"samples are {array.dtype}"
            _refuse("dtype", what, f"this model takes {dtype}; convert them")
        array = array.astype(dtype)
    if dtype.kind == "f" and not np.isfinite(array).all():
        _refuse("nonfinite", "a sample holds NaN or infinity", "check the sensor's conversion")
    return np.ascontiguousarray(array)


def _refuse(code: str, message: str, remedy: str) -> NoReturn:
    raise Refused(message, remedy=remedy, code=code)
