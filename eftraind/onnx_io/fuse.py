"""Activations and biases that ONNX has as nodes become parts of the layers before them.

An activation may move up through maxpool, concat and dropout where that changes nothing, as long
as nobody else reads what lies between.
"""

from collections.abc import Sequence

from eftraind.errors import GraphError
from eftraind.graph import INPUT
from eftraind.onnx_io.draft import Draft

CARRIERS = ("conv", "linear", "batchnorm", "add")
_MERGED = {  # (there already, now applied to it) -> what both make together
    ("relu", "relu"): "relu",
    ("relu6", "relu"): "relu6",
    ("relu", "relu6"): "relu6",
    ("relu6", "relu6"): "relu6",
    ("leaky", "relu"): "relu",
    ("leaky", "relu6"): "relu6",
}
_OUTPUT = -2
"""Stands for the network output among readers."""


def fused(drafts: Sequence[Draft], output: int) -> tuple[list[Draft], int]:
    """The layers that remain, renumbered, and the index of the one that gives the output."""
    fusion = _Fusion(drafts, output)
    for index, draft in enumerate(drafts):
        if draft.kind in ("act", "bias"):
            for target, activation in fusion.plan(index).items():
                _apply(drafts[target], draft, activation)
            fusion.remove(index)
    kept = [n for n, draft in enumerate(drafts) if draft.kind not in ("act", "bias")]
    place = {INPUT: INPUT} | {old: new for new, old in enumerate(kept)}
    for n in kept:
        drafts[n].reads = tuple(place[read] for read in drafts[n].reads)
    return [drafts[n] for n in kept], place[fusion.output]


class _Fusion:
    """Drafts with their readers, kept right while some are removed."""

    def __init__(self, drafts: Sequence[Draft], output: int) -> None:
        self._drafts = drafts
        self.output = output
        self._readers: dict[int, set[int]] = {n: set() for n in range(INPUT, len(drafts))}
        for index, draft in enumerate(drafts):
            for read in draft.reads:
                self._readers[read].add(index)
        self._readers[output].add(_OUTPUT)

    def remove(self, index: int) -> None:
        """Let the readers of a fused draft read what it read."""
        source = self._drafts[index].reads[0]
        for reader in self._readers[index] - {_OUTPUT}:
            draft = self._drafts[reader]
            draft.reads = tuple(source if read == index else read for read in draft.reads)
        if self.output == index:
            self.output = source
        self._readers[source] = self._readers[source] - {index} | self._readers[index]

    def plan(self, index: int) -> dict[int, str]:
        """The layers that take the draft at `index`, each with its activation then. Or raises."""
        draft = self._drafts[index]
        kind = draft.given.get("activation", "")
        plans: dict[int, str] = {}
        seen: set[int] = set()
        waiting = [(draft.reads[0], index)]
        while waiting:
            target, reader = waiting.pop()
            if target in seen:
                continue
            seen.add(target)
            if target == INPUT:
                raise _cannot(draft, "the network input", "begin with a convolution")
            layer = self._drafts[target]
            there = layer.given.get("activation", "")
            merged = _MERGED.get((there, kind), kind)
            if there and merged == there and kind != "leaky":
                continue  # applied twice, it is the same
            self._check_alone(draft, target, reader)
            if draft.kind == "act" and _passes(layer, kind):
                waiting += [(read, target) for read in layer.reads]
            else:
                _check_carrier(layer, draft)
                plans[target] = merged
        return plans

    def _check_alone(self, draft: Draft, target: int, reader: int) -> None:
        others = sorted(self._readers[target] - {reader})
        if others:
            who = self._drafts[others[0]].node.where if others[0] >= 0 else "the network output"
            raise draft.node.error(
                f"it cannot be fused, because {who} also reads what is before it",
                "let both read the result, or give this a batch normalisation of its own",
            )


def _passes(layer: Draft, kind: str) -> bool:
    """Whether an activation after the layer is the same before it. Dropout scales what it keeps;
    relu6 would then cut elsewhere."""
    return layer.kind in ("maxpool", "concat") or (
        layer.kind == "dropout" and kind in ("relu", "leaky")
    )


def _check_carrier(layer: Draft, draft: Draft) -> None:
    there = layer.given.get("activation")
    if draft.kind == "bias":
        if layer.kind not in ("conv", "linear") or "bias" in layer.weights or there:
            raise _cannot(draft, layer.node.where, "add constants only to a MatMul or Conv")
    elif layer.kind not in CARRIERS:
        raise _cannot(draft, layer.node.where, f"put it after one of: {', '.join(CARRIERS)}")
    elif there and (there, draft.given["activation"]) not in _MERGED:
        raise _cannot(draft, layer.node.where, "use one activation a layer")


def _cannot(draft: Draft, where: str, remedy: str) -> GraphError:
    return draft.node.error(f"it cannot become part of {where}", remedy)


def _apply(layer: Draft, draft: Draft, activation: str) -> None:
    if draft.kind == "bias":
        layer.weights |= draft.weights
        return
    layer.given.pop("slope", None)
    layer.given["activation"] = activation
    if activation == "leaky":
        layer.given["slope"] = draft.given["slope"]
