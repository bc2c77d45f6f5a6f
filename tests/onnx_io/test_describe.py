"""A description made of a graph gives the same graph, through YAML and through ONNX."""

from pathlib import Path
from typing import Any

import need_onnx  # noqa: F401
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_rig import assert_close, judge, perturbed, run

from eftraind import graph_build, networks, params
from eftraind.config import load_yaml
from eftraind.graph import Graph
from eftraind.onnx_io import describe, exporting

ACTIVATIONS: list[dict[str, Any]] = [
    {},
    {"relu": True},
    {"activation": "relu6"},
    {"activation": "leaky", "slope": 0.0},
    {"activation": "leaky", "slope": 1e-05},
]
NAMES = st.text("abxyz019-_", min_size=1, max_size=6)


@st.composite
def windows(draw: st.DrawFn, rows: int, cols: int, pool: bool) -> dict[str, Any]:
    """A window, stride and padding that fit a map."""
    kernel = [draw(st.integers(1, min(4, side))) for side in (rows, cols)]
    most = [k // 2 if pool else k - 1 for k in (*kernel, *kernel)]
    sides = [draw(st.integers(0, limit)) for limit in most]
    stride = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    return {"window" if pool else "kernel": kernel, "stride": stride, "padding": sides}


def layer(draw: st.DrawFn, before: list[str], graph: Graph | None) -> dict[str, Any]:
    """A next layer; it reads the last one, and perhaps another of the same shape."""
    if graph is None:
        channels = draw(st.integers(1, 6))
        return {
            "kind": "conv",
            "channels": channels,
            "kernel": 3,
            **draw(st.sampled_from(ACTIVATIONS)),
        }
    channels, rows, cols = graph.layers[-2].output_shape
    kinds = [
        "conv",
        "depthwise",
        "maxpool",
        "avgpool",
        "batchnorm",
        "dropout",
        "globalpool",
        "linear",
    ]
    twins = [n.name for n in graph.layers[:-2] if n.output_shape == (channels, rows, cols)]
    kind = draw(st.sampled_from(kinds + ["add", "concat"] * 2 if twins else kinds))
    some = draw(st.sampled_from(ACTIVATIONS))
    if kind in ("add", "concat"):
        pair = draw(st.permutations([before[-1], draw(st.sampled_from(twins))]))
        return {"kind": kind, "from": list(pair)} | (some if kind == "add" else {})
    if kind in ("conv", "depthwise"):
        wide = (
            {"groups": channels, "channels": channels}
            if kind == "depthwise"
            else {"channels": draw(st.integers(1, 6))}
        )
        window = draw(windows(rows, cols, pool=False))
        return {"kind": "conv", **wide, **window, "bias": draw(st.booleans()), **some}
    if kind in ("maxpool", "avgpool"):
        counts = {"count_padding": draw(st.booleans())} if kind == "avgpool" else {}
        return {"kind": kind, **draw(windows(rows, cols, pool=True)), **counts}
    own: dict[str, dict[str, Any]] = {
        "batchnorm": {"epsilon": draw(st.sampled_from([1e-05, 0.001, 1e-08])), **some},
        "dropout": {"rate": draw(st.sampled_from([0.0, 0.1, 0.5]))},
        "linear": {"channels": draw(st.integers(2, 5)), "bias": draw(st.booleans()), **some},
        "globalpool": {},
    }
    return {"kind": kind, **own[kind]}


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    rows, cols, channels = (draw(st.integers(1, most)) for most in (9, 9, 3))
    given_input = {
        "shape": [rows, cols, channels],
        "dtype": draw(st.sampled_from(["uint8", "float32"])),
        "scale": draw(st.floats(1e-6, 2.0)),
        "mean": [draw(st.floats(-1, 1)) for _ in range(channels)],
        "std": [draw(st.floats(1e-3, 9)) for _ in range(channels)],
    }
    head = {"name": "head", "kind": "linear", "channels": 3}
    layers: list[dict[str, Any]] = []
    graph: Graph | None = None
    names = draw(st.lists(NAMES, min_size=1, max_size=8, unique=True))
    for name in (n for n in names if n not in ("head", "input")):
        more = {"name": name} | layer(draw, [n["name"] for n in layers], graph)
        layers.append(more)
        described = {"name": "no", "input": given_input, "classes": 3, "layers": [*layers, head]}
        graph = graph_build.from_mapping(described)
    return graph if graph is not None else networks.load("digits")


def reread(graph: Graph, folder: Path) -> Graph:
    path = folder / "network.yaml"
    path.write_text(describe.yaml_text(graph, "A heading\nof two lines."), encoding="utf-8")
    return graph_build.from_mapping(load_yaml(path))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(graph=graphs())
def test_any_graph_is_described_and_exported(
    graph: Graph, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert graph_build.from_mapping(describe.to_mapping(graph)) == graph
    assert reread(graph, tmp_path_factory.mktemp("d")) == graph
    weights = perturbed(params.initial(graph, np.random.default_rng(4)))
    rows, cols, channels = graph.input.shape
    raw = np.random.default_rng(5).uniform(0, 2, (3, channels, rows, cols)).astype(np.float32)
    spread = [np.array(v)[:, None, None] for v in (graph.input.mean, graph.input.std)]
    x = ((raw * graph.input.scale - spread[0]) / spread[1]).astype(np.float32)
    assert_close(run(exporting.fresh(graph, weights), x), judge(graph, weights, raw))


@pytest.mark.parametrize("name", networks.names())
def test_shipped_networks_are_described(name: str, tmp_path: Path) -> None:
    graph = networks.load(name)
    assert graph_build.from_mapping(describe.to_mapping(graph)) == graph
    assert reread(graph, tmp_path) == graph
    assert reread(graph, tmp_path).digest == graph.digest


@pytest.mark.parametrize("name", ["digits", "lenet5", "cifar1x", "resnet20", "mobilenet"])
def test_shipped_networks_become_onnx(name: str) -> None:
    graph = networks.load(name)
    weights = params.initial(graph, np.random.default_rng(0))
    rows, cols, channels = graph.input.shape
    raw = np.random.default_rng(1).integers(0, 256, (2, channels, rows, cols)).astype(np.float32)
    spread = [np.array(v)[:, None, None] for v in (graph.input.mean, graph.input.std)]
    x = ((raw * graph.input.scale - spread[0]) / spread[1]).astype(np.float32)
    assert_close(run(exporting.fresh(graph, weights), x), judge(graph, weights, raw))


@pytest.mark.parametrize("name", ["no", "1e5", "0x1", "null", "-", "a: b", "[x", "é", "12", "~"])
def test_names_that_yaml_would_misread(name: str, tmp_path: Path) -> None:
    mapping = describe.to_mapping(networks.load("digits")) | {"name": name}
    if name.replace("-", "a").isalnum():
        mapping["layers"][0]["name"] = name
    graph = graph_build.from_mapping(mapping)
    assert reread(graph, tmp_path) == graph
