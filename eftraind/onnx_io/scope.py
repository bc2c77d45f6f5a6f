"""What is known while nodes are taken in order: every value, the drafts so far, their names.

Owns reading a node's inputs with their checks. Knows no operator.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from eftraind.graph import INPUT, Shape
from eftraind.onnx_io import shapes
from eftraind.onnx_io.draft import Constant, Draft, Map, Origin, Value, Weight
from eftraind.onnx_io.reading import Model, Node, shown


class Scope:
    """What is known of every value while the nodes are taken in order."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._values: dict[str, Value] = {
            name: Constant(values, name) for name, values in model.constants.items()
        }
        self._values[model.input] = Map(INPUT, model.shape, 4)
        self.drafts: list[Draft] = []
        self._names = {"input"}
        self._counts: dict[str, int] = {}
        self.dropped: Node | None = None

    @property
    def batch(self) -> int | None:
        return self._model.batch

    def let(self, node: Node, value: Value) -> None:
        """Name what a node makes."""
        name = node.outputs[0]
        if name in self._values:
            raise node.error(f"{shown(name)} is made twice", "export the model again")
        self._values[name] = value

    def finish(self) -> tuple[list[Draft], int]:
        """All drafts, and the index of the one that gives the output, a final softmax dropped."""
        value = self._values.get(self._model.output)
        if not isinstance(value, Map) or value.layer == INPUT:
            raise self._model.nodes[-1].error(
                "the output does not depend on the input", "export a classifier"
            )
        output = value.layer
        if self.drafts[output].kind == "softmax":
            self.dropped = self.drafts[output].node
            output = self.drafts.pop(output).reads[0]
        for draft in self.drafts:
            if draft.kind == "softmax":
                raise draft.node.error(
                    "it is not the last operator", "softmax is known only at the end"
                )
        if output == INPUT:
            raise self._model.nodes[-1].error("there are no layers", "export a classifier")
        return self.drafts, output

    def value(self, node: Node, slot: int) -> Value:
        name = node.inputs[slot] if slot < len(node.inputs) else ""
        if not name:
            raise node.error(f"input {slot} is missing", "export the model again")
        if name not in self._values:
            raise node.error(
                f"it reads {shown(name)}, which nothing before it makes", "export the model again"
            )
        return self._values[name]

    def given(self, node: Node, slot: int) -> bool:
        return slot < len(node.inputs) and node.inputs[slot] != ""

    def map(self, node: Node, slot: int = 0, rank: int = 0) -> Map:
        value = self.value(node, slot)
        if isinstance(value, Constant):
            raise node.error(
                f"input {slot} is a constant, not a map", "export with do_constant_folding=True"
            )
        if rank and value.rank != rank:
            hint = "flatten before it" if rank == 2 else "flatten after it"
            raise node.error(f"its input has {value.rank} dimensions, not {rank}", hint)
        return value

    def constant(self, node: Node, slot: int) -> Constant:
        value = self.value(node, slot)
        if isinstance(value, Map):
            raise node.error(
                f"input {slot} is computed, not stored",
                "only weights stored in the file can be trained",
            )
        return value

    def scalar(self, node: Node, slot: int, default: float) -> float:
        if not self.given(node, slot):
            return default
        values = self.constant(node, slot).values
        if values.size != 1 or values.dtype == object:
            raise node.error(f"input {slot} has {values.size} values", "one is expected")
        return float(str(values.reshape(())[()])) if values.dtype != bool else float(values.any())

    def integers(self, node: Node, slot: int, name: str) -> list[int] | None:
        """From an input, as newer opsets have it, or from an attribute."""
        if self.given(node, slot):
            values = self.constant(node, slot).values
            if values.dtype != np.int64 or values.size > shapes.MAX_ELEMENTS:
                raise node.error(f"{name} is not constant", "export with a fixed image size")
            return [int(value) for value in values.ravel()]
        given = node.attributes.get(name)
        return None if given is None else [int(value) for value in given]

    def weight(
        self,
        node: Node,
        slot: int,
        shape: Sequence[int],
        *,
        transposed: bool = False,
        reshaped: bool = False,
    ) -> Weight:
        """The stored float32 tensor of an input as `shape`; `reshaped` if axes of 1 may differ."""
        constant = self.constant(node, slot)
        stored = constant.values
        seen = stored.T if transposed else stored
        fits = seen.shape == (*shape,) or (reshaped and seen.size == math.prod(shape))
        if not fits or stored.dtype != np.float32:
            raise node.error(
                f"input {slot} is {stored.dtype}{list(stored.shape)}, not float32{list(shape)}",
                "the file does not fit together; export it again",
            )
        if not np.isfinite(stored).all():
            raise node.error(f"input {slot} holds NaN or Inf", "train again, or use a good file")
        origin = Origin(node.index, slot, stored.shape, transposed)
        return Weight(np.ascontiguousarray(seen).reshape(shape), origin, constant.root)

    def add(self, node: Node, kind: str, reads: Sequence[Map], shape: Shape, **given: Any) -> Draft:
        draft = Draft(node, kind, tuple(m.layer for m in reads), shape, "", given)
        self.drafts.append(draft)
        if kind not in ("act", "bias", "softmax"):
            draft.name = self._name(node, kind)
        return draft

    def _name(self, node: Node, kind: str) -> str:
        """As the module is called in torch: from its weight's name, or the node's path."""
        weight = node.inputs[1] if len(node.inputs) > 1 else ""
        path = [part for part in node.name.strip("/").split("/")[:-1] if part]
        inner = [*path[1:], ""]
        name = ".".join(a for a, b in zip(path, inner, strict=False) if not b.startswith(f"{a}."))
        if weight.endswith(".weight"):
            name = weight.removesuffix(".weight")
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[-60:].strip("_")
        if not name:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            name = f"{kind}{self._counts[kind]}"
        unique, number = name, 2
        while unique in self._names:
            unique, number = f"{name}_{number}", number + 1
        self._names.add(unique)
        return unique

    def result(self, shape: Shape, rank: int) -> Map:
        """The map that the draft added last gives."""
        return Map(len(self.drafts) - 1, shape, rank)
