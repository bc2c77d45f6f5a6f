"""Which tensors learn: from what a user writes (`all`, `last-2`, names) to the names of tensors.

Also finds the freeze point behind which training begins. Compiles nothing.
"""

import difflib
from collections.abc import Iterable, Sequence

from eftraind import params
from eftraind.errors import ConfigError
from eftraind.graph import Graph

ALL = "all"
NORMS_AND_BIASES = "norms-and-biases"
_LAST = "last-"
_HINT = f"give {ALL}, {_LAST}K, {NORMS_AND_BIASES}, or names of layers or tensors"


def learnable(graph: Graph) -> list[str]:
    """Every tensor that a gradient reaches, in graph order."""
    return [n for n in params.shapes(graph) if n.rpartition(".")[2] not in params.STATISTICS]


def resolve(graph: Graph, choice: Sequence[str]) -> frozenset[str] | None:
    """Names of the tensors that learn; None stands for all. Raises ConfigError."""
    if ALL in choice:
        return None
    chosen = {name for item in choice for name in _one(graph, item)}
    if not chosen:
        raise ConfigError(f"train.trainable {list(choice)} is no tensor at all", remedy=_HINT)
    return None if len(chosen) == len(learnable(graph)) else frozenset(chosen)


def _one(graph: Graph, item: str) -> Iterable[str]:
    names = learnable(graph)
    layers = {name.rpartition(".")[0] for name in names}
    if item in layers:
        return [name for name in names if name.rpartition(".")[0] == item]
    if item in names:
        return [item]
    if item == NORMS_AND_BIASES:
        norms = {layer.name for layer in graph.layers if layer.kind == "batchnorm"}
        return [n for n in names if n.endswith(".bias") or n.rpartition(".")[0] in norms]
    if item.startswith(_LAST):
        return _last(graph, item)
    raise _unknown(graph, item, [*names, *sorted(layers)])


def _last(graph: Graph, item: str) -> Iterable[str]:
    """The last convolutions and linear layers, and the normalisations among them."""
    convolving = [index for index, layer in enumerate(graph.layers) if layer.convolves]
    text = item.removeprefix(_LAST)
    if not text.isdigit() or not 1 <= int(text) <= len(convolving):
        raise ConfigError(
            f"train.trainable: {item}, network {graph.name} has {len(convolving)} convolutions "
            "and linear layers",
            remedy=f"give {_LAST}1 to {_LAST}{len(convolving)}",
        )
    learning = {layer.name for layer in graph.layers[convolving[-int(text)] :]}
    return [name for name in learnable(graph) if name.rpartition(".")[0] in learning]


def _unknown(graph: Graph, item: str, known: Sequence[str]) -> ConfigError:
    cause = f"train.trainable: network {graph.name} has no layer or tensor {item!r}"
    if item in [layer.name for layer in graph.layers]:
        return ConfigError(f"train.trainable: layer {item} has no weights", remedy=_HINT)
    if item.rpartition(".")[2] in params.STATISTICS:
        return ConfigError(
            f"train.trainable: {item} follows the data, no gradient reaches it",
            remedy="name the layer, its weight or its bias; see also train.norm_share",
        )
    near = difflib.get_close_matches(item, [*known, ALL, NORMS_AND_BIASES], n=1)
    return ConfigError(cause, remedy=f"did you mean {near[0]}?" if near else _HINT)


def freeze_point(graph: Graph, trainable: frozenset[str] | None) -> int:
    """The last layer whose output is all that the learning layers need of those before it.

    Dropout stays behind it: what is kept must not have been dropped from. Raises ConfigError if
    there is no such layer.
    """
    owners = {name.rpartition(".")[0] for name in trainable or learnable(graph)}
    first = min(index for index, layer in enumerate(graph.layers) if layer.name in owners)
    for cut in range(first - 1, -1, -1):
        behind = graph.layers[cut + 1 :]
        whole = all(source >= cut for layer in behind for source in layer.inputs)
        if whole and graph.layers[cut].kind != "dropout":
            return cut
    raise ConfigError(
        f"train.latent: no layer of network {graph.name} separates what is frozen from what "
        f"learns (first: {graph.layers[first].name})",
        remedy="set train.trainable to later layers, for example last-1, or train.latent to false",
    )
