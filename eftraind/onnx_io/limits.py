"""What a model file may cost, checked before anything is parsed. Knows protobuf, not ONNX.

A few bytes of protobuf can become hundreds in memory: an empty message is two bytes in the file.
So the file is walked first, by the message types of the parser itself, and its fields are counted.
"""

from typing import Any

from eftraind.errors import GraphError

FILE_LIMIT_BYTES = 1 << 30
FIELD_LIMIT = 500_000  # ResNet-50 as torch exports it has about 8,000
DEPTH_LIMIT = 16
NODE_LIMIT = 10_000
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


def not_onnx(label: str, reason: str) -> GraphError:
    return GraphError(
        f"{label} is not an ONNX model: {reason}",
        remedy="export it again, or copy it again if the copy was cut short",
    )


def check(descriptor: Any, data: bytes, label: str) -> None:
    """Raise GraphError unless `data` is sound protobuf of `descriptor` with bearable cost."""
    if len(data) > FILE_LIMIT_BYTES:
        raise GraphError(
            f"{label} has {len(data)} bytes", remedy=f"at most {FILE_LIMIT_BYTES} are read"
        )
    if not data:
        raise not_onnx(label, "it is empty")
    _Walk(data, label).message(descriptor, 0, len(data), 0)


class _Walk:
    """One pass over a file."""

    def __init__(self, data: bytes, label: str) -> None:
        self._data = data
        self._label = label
        self._fields = 0

    def message(self, descriptor: Any, start: int, end: int, depth: int) -> None:
        if depth > DEPTH_LIMIT:
            raise GraphError(
                f"{self._label}: messages are nested over {DEPTH_LIMIT} deep",
                remedy="models with subgraphs (If, Loop, Scan) are not read",
            )
        at = start
        while at < end:
            key, at = self._varint(at, end)
            self._count(1)
            field = descriptor.fields_by_number.get(key >> 3)
            kind = key & 7
            if kind == _VARINT:
                _, at = self._varint(at, end)
            elif kind in (_EIGHT, _FOUR):
                at += 8 if kind == _EIGHT else 4
            elif kind == _BYTES:
                size, at = self._varint(at, end)
                if at + size <= end:
                    self._content(field, at, at + size, depth)
                at += size
            else:
                raise not_onnx(self._label, f"a field of unknown type {kind} at byte {at}")
            if at > end:
                raise not_onnx(self._label, f"a field at byte {at} is cut off")

    def _content(self, field: Any, start: int, end: int, depth: int) -> None:
        if field is None:
            return
        if field.message_type is not None:
            self.message(field.message_type, start, end, depth + 1)
        elif field.cpp_type not in (field.CPPTYPE_STRING, field.CPPTYPE_FLOAT):
            self._count(end - start)  # packed integers, up to eight bytes of memory for each byte

    def _count(self, fields: int) -> None:
        self._fields += fields
        if self._fields > FIELD_LIMIT:
            raise GraphError(
                f"{self._label} has over {FIELD_LIMIT} fields that are not weights",
                remedy="export one classifier, with weights stored as raw float32",
            )

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise not_onnx(self._label, f"it ends within a field, at byte {at}")
            byte = self._data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
        raise not_onnx(self._label, f"a number without end at byte {at}")
