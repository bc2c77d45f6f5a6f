"""Damaged files: an import that succeeds, or one of our errors; never another exception."""

from collections.abc import Callable
from typing import Any

import need_onnx  # noqa: F401
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_rig import assert_close, images, judge, read, run

from eftraind.errors import EftraindError
from eftraind.onnx_io.importing import Imported

Exported = Callable[[str, str], bytes]
FUZZ = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MODELS = ("inception", "mobilenet", "resnet")


def survive(data: bytes) -> Imported | None:
    """What was imported. Every error has a cause and a remedy."""
    try:
        return read(data)
    except EftraindError as error:
        assert error.message and error.remedy and len(str(error)) < 1000
        assert str(error).isprintable()
        return None


@FUZZ
@given(data=st.data())
def test_truncated(exported: Exported, data: st.DataObject) -> None:
    whole = exported(data.draw(st.sampled_from(MODELS)), "kept")
    assert not survive(whole[: data.draw(st.integers(0, len(whole) - 1))])


def structure(whole: bytes) -> np.ndarray:
    """Offsets of the bytes that are not weights: their damage matters most."""
    weights = np.zeros(len(whole), bool)
    for tensor in onnx.load_model_from_string(whole).graph.initializer:
        if len(tensor.raw_data) > 16:
            start = whole.find(tensor.raw_data)
            weights[start : start + len(tensor.raw_data)] = True
    return np.flatnonzero(~weights)


@FUZZ
@given(data=st.data())
def test_flipped_bits(exported: Exported, data: st.DataObject) -> None:
    whole = exported(data.draw(st.sampled_from(MODELS)), "kept")
    places = structure(whole)
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        offset = int(places[data.draw(st.integers(0, len(places) - 1))])
        damaged[offset] ^= 1 << data.draw(st.integers(0, 7))
    survive(bytes(damaged))


@FUZZ
@given(data=st.data())
def test_spliced(exported: Exported, data: st.DataObject) -> None:
    """Pieces of the file removed, repeated or moved."""
    whole = exported(data.draw(st.sampled_from(MODELS)), "kept")
    cuts = sorted(data.draw(st.integers(0, len(whole))) for _ in range(3))
    parts = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    order = data.draw(st.lists(st.sampled_from(parts), min_size=1, max_size=5))
    survive(b"".join(order))


@FUZZ
@given(data=st.data())
def test_changed_fields(exported: Exported, data: st.DataObject) -> None:
    """Sound protobuf with nodes and attributes changed: what flipped bits seldom reach."""
    proto = onnx.load_model_from_string(exported(data.draw(st.sampled_from(MODELS)), "kept"))
    nodes = proto.graph.node
    names = [name for node in nodes for name in (*node.input, *node.output)]
    for _ in range(data.draw(st.integers(1, 3))):
        node = data.draw(st.sampled_from(list(nodes)))
        kind = data.draw(st.integers(0, 4))
        if kind == 0 and node.input:
            slot = data.draw(st.integers(0, len(node.input) - 1))
            node.input[slot] = data.draw(st.sampled_from(names))
        elif kind == 1 and node.attribute:
            attribute = data.draw(st.sampled_from(list(node.attribute)))
            values = data.draw(st.lists(st.integers(-2, 9), max_size=5))
            if attribute.ints:
                attribute.ints[:] = values
            attribute.i = data.draw(st.integers(-(2**63), 2**63 - 1))
            attribute.f = data.draw(st.floats(width=32))
        elif kind == 2:
            node.op_type = data.draw(st.sampled_from([other.op_type for other in nodes]))
        elif kind == 3:
            nodes.remove(node)
            if not nodes:
                break
        elif proto.graph.initializer:
            tensor = data.draw(st.sampled_from(list(proto.graph.initializer)))
            tensor.dims[:] = data.draw(st.permutations(list(tensor.dims)))
    data_changed = proto.SerializeToString()
    found = survive(data_changed)
    if found is not None:
        compare(found, data_changed, proto)


def compare(found: Imported, data: bytes, proto: Any) -> None:
    """What was understood was understood rightly."""
    sizes = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    x = images((sizes[1], sizes[2], sizes[3]))
    try:
        expected = run(data, x).reshape(len(x), -1)
    except Exception:  # it judges more than we do, for example inputs that nobody reads
        return
    logits = judge(found.graph, found.params, x)
    dropped = [note for note in found.notes if "dropped" in note]
    assert_close(softmax(logits) if dropped else logits, expected)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("model", MODELS)
def test_the_whole_files_are_good(exported: Exported, model: str) -> None:
    assert survive(exported(model, "kept"))
