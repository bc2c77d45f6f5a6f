"""`eftraind import`: an ONNX classifier becomes a network description and its weights.

Owns the way from a file to three new files, all or none. The copy of the original that it leaves
beside them is what `eftraind export --like` needs later; no other mapping is kept, because reading
the same file again finds the same places.
"""

import argparse
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eftraind import graph_build, params
from eftraind.errors import ConfigError, EftraindError, GraphError
from eftraind.fsio import FileOps, atomic_write, discard, read_file, storage_errors
from eftraind.graph import INPUT, Graph, Layer
from eftraind.onnx_io import describe, limits, reading, translate
from eftraind.onnx_io.draft import F32, Draft, Origin
from eftraind.onnx_io.fuse import fused
from eftraind.store import weights


@dataclass(frozen=True)
class Imported:
    """A network with its weights, and where in the ONNX file each tensor came from."""

    graph: Graph
    params: Mapping[str, F32]
    origins: Mapping[str, Origin]
    nodes: tuple[str, ...]
    """Of each layer, the node it came from."""
    notes: tuple[str, ...]
    """What the user should know."""


def read_model(data: bytes, label: str, name: str, samples: Mapping[str, Any]) -> Imported:
    """The network in an ONNX file's bytes. Raises GraphError, WeightsError.

    `samples` are the keys of the description's input section beside its shape: what a sample is,
    and how it becomes the float image that the ONNX model takes.
    """
    return from_proto(reading.parse(data, label), label, name, samples)


def from_proto(proto: Any, label: str, name: str, samples: Mapping[str, Any]) -> Imported:
    """As `read_model`, from the parsed message."""
    model = reading.model(proto, label)
    try:
        drafts, output, softmax = translate.translate(model)
        drafts, output = fused(drafts, output)
        graph = _graph(model, drafts, output, name, samples)
        tensors = {
            f"{draft.name}.{part}": weight
            for draft in drafts
            for part, weight in draft.weights.items()
        }
        _check_size(sum(weight.values.nbytes for weight in tensors.values()))
        values = {key: tensors[key].values for key in params.shapes(graph)}
        params.check(graph, values)
    except EftraindError as error:
        message = f"{label}: {error.message}"
        raise type(error)(message, remedy=error.remedy, code=error.code) from error
    notes = _notes(drafts, softmax)
    origins = {key: tensors[key].origin for key in values}
    return Imported(
        graph, values, origins, tuple(d.node.where.removeprefix("node ") for d in drafts), notes
    )


def _check_size(size_bytes: int) -> None:
    """Small files can name one large tensor many times."""
    if size_bytes > weights.LIMIT_BYTES:
        raise GraphError(
            f"its weights need {size_bytes} bytes", remedy=f"at most {weights.LIMIT_BYTES} fit"
        )


def _graph(
    model: reading.Model,
    drafts: Sequence[Draft],
    output: int,
    name: str,
    samples: Mapping[str, Any],
) -> Graph:
    """The checked graph of the drafts; errors name the node as well as the layer."""
    if output != len(drafts) - 1:
        raise drafts[-1].node.error("nobody reads its result", "export only the classifier")
    names = {INPUT: "input"} | {n: draft.name for n, draft in enumerate(drafts)}
    channels, rows, cols = model.shape
    given = {
        "name": name,
        "input": {"shape": [rows, cols, channels], **samples},
        "classes": drafts[output].shape[0],
        "layers": [_described(draft, names) for draft in drafts],
    }
    try:
        return graph_build.from_mapping(given)
    except GraphError as error:
        culprit = re.match(r"layer ([\w-]+)", error.message)
        nodes = [d.node.where for d in drafts if culprit and d.name == culprit[1]]
        where = f"{nodes[0]}: " if nodes else ""
        raise GraphError(f"{where}{error.message}", remedy=error.remedy) from error


def _described(draft: Draft, names: Mapping[int, str]) -> dict[str, Any]:
    reads = [names[read] for read in draft.reads]
    out: dict[str, Any] = {"name": draft.name, "kind": draft.kind, "from": reads, **draft.given}
    if draft.kind in ("conv", "linear"):
        out |= {"channels": draft.shape[0], "bias": "bias" in draft.weights}
    return out


def _notes(drafts: Sequence[Draft], softmax: reading.Node | None) -> tuple[str, ...]:
    notes = []
    if softmax is not None:
        notes.append(f"{softmax.where} at the end is dropped: the network gives logits")
    uses = Counter(w.root for d in drafts for w in d.weights.values() if w.root)
    shared = sorted(root for root, count in uses.items() if count > 1)
    if shared:
        names = ", ".join(reading.shown(root) for root in shared[:8])
        more = f" and {len(shared) - 8} more" if len(shared) > 8 else ""
        notes.append(f"each layer that shares {names}{more} gets a copy of its own")
    return tuple(notes)


def load(path: Path) -> bytes:
    """The bytes of a model file of bearable size."""
    with storage_errors("read", path):
        size = os.stat(path).st_size
    if size > limits.FILE_LIMIT_BYTES:
        raise GraphError(
            f"{path} has {size} bytes", remedy=f"at most {limits.FILE_LIMIT_BYTES} are read"
        )
    return read_file(FileOps(), path, limits.FILE_LIMIT_BYTES)


# The command


def run(given: argparse.Namespace) -> str:
    """`eftraind import MODEL.onnx --output PREFIX`; the table of what it made."""
    source = Path(given.model)
    prefix = _prefix(given.output, source)
    targets = [prefix.with_name(prefix.name + end) for end in (".safetensors", ".onnx", ".yaml")]
    _check_targets(targets, source, force=given.force)
    data = load(source)
    samples = _sample_keys(given)
    imported = read_model(data, source.name, prefix.name, samples)
    heading = f"Imported from {ascii(source.name)[1:-1]} by eftraind import."
    contents = [
        weights.encode_weights(imported.params),
        data,
        describe.yaml_text(imported.graph, heading).encode(),
    ]
    written = write_all(dict(zip(targets, contents, strict=True)), source)
    lines = [*table(imported), f"wrote {', '.join(str(path) for path in written)}"]
    return "\n".join(lines)


def _sample_keys(given: argparse.Namespace) -> dict[str, Any]:
    """What the flags say of a sample; one number stands for every channel."""
    out: dict[str, Any] = {"dtype": given.dtype}
    if given.scale is not None:
        out["scale"] = given.scale
    for key in ("mean", "std"):
        values = getattr(given, key)
        if values is not None:
            out[key] = values if len(values) > 1 else values[0]
    return out


def _prefix(output: str, source: Path) -> Path:
    """Where the new files go, without their endings."""
    path = Path(output)
    if output.endswith(os.sep) or path.is_dir():
        path = path / source.stem
    if not re.fullmatch(r"[\w. -]+", path.name) or path.name.startswith("."):
        raise ConfigError(f"--output {output!r} names no file", remedy="give a folder or a prefix")
    return path


def _check_targets(targets: Sequence[Path], source: Path, *, force: bool) -> None:
    for target in targets:
        if target.exists() and not force and not _same(target, source):
            raise ConfigError(f"{target} exists", remedy="choose another --output, or give --force")


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def write_all(contents: Mapping[Path, bytes], source: Path) -> list[Path]:
    """Write every file, or none of those that were not there before. `source` is left alone."""
    ops = FileOps()
    written: list[Path] = []
    fresh: list[Path] = []
    try:
        for path, data in contents.items():
            if _same(path, source):
                continue
            is_new = not path.exists()
            with storage_errors("make the folder", path.parent):
                ops.mkdir(path.parent)
            atomic_write(ops, path, [data])
            written.append(path)
            fresh += [path] if is_new else []
    except EftraindError:
        for path in fresh:
            discard(ops, path)
        raise
    return written


def table(imported: Imported) -> Iterator[str]:
    """The layers, their totals and the notes, as lines of text."""
    graph = imported.graph
    rows = [("layer", "kind", "reads", "output", "window", "activation", "values", "from")]
    sizes = Counter[str]()
    for key, values in imported.params.items():
        sizes[key.rpartition(".")[0]] += values.size
    for layer, node in zip(graph.layers, imported.nodes, strict=True):
        reads = ",".join("input" if n == INPUT else graph.layers[n].name for n in layer.inputs)
        output = "x".join(str(side) for side in layer.output_shape)
        count = f"{sizes[layer.name]}" if sizes[layer.name] else ""
        activation = layer.activation.kind if layer.activation else ""
        rows.append(
            (layer.name, layer.kind, reads, output, _window(layer), activation, count, node)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
    total = sum(int(np.prod(values.shape)) for values in imported.params.values())
    yield f"{len(graph.layers)} layers, {total} values, {graph.macs} multiply-adds an image"
    for note in imported.notes:
        yield f"note: {note}"


def _window(layer: Layer) -> str:
    """Kernel, stride and padding: `3x3/2 pad 1,1,0,0`."""
    if layer.kind not in ("conv", "maxpool", "avgpool"):
        return ""
    if describe.is_global_pool(layer):
        return "all"
    stride = layer.stride[0] if layer.stride[0] == layer.stride[1] else layer.stride
    sides = describe.padding(layer)
    pad = f" pad {','.join(str(side) for side in sides)}" if any(sides) else ""
    groups = f" x{layer.groups}" if layer.groups > 1 else ""
    return f"{layer.kernel[0]}x{layer.kernel[1]}/{stride}{groups}{pad}"
