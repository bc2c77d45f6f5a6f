"""Networks that hypothesis invents, trained in ways that it chooses: every device does what PyTorch
does. Finds what listed networks miss: chains of odd layers, tensors with many readers, plans that
train an unusual part."""

from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from oracle_rig import GENTLE, OpenDevice, graph_of, train_both

from eftraind.graph import Graph
from eftraind.isa import Hyper
from eftraind.params import shapes
from eftraind.plan.lower import Plan

ACTIVATIONS: list[dict[str, Any]] = [
    {},
    {"relu": True},
    {"activation": "relu6"},
    {"activation": "leaky", "slope": 0.1},
]
KINDS = ("conv", "depthwise", "maxpool", "avgpool", "batchnorm", "add", "concat", "dropout")


class Inventor:
    """Adds layers to a network, each reading something that is there."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        rows, cols = draw(st.integers(3, 8)), draw(st.integers(3, 8))
        self.input = (rows, cols, draw(st.sampled_from([1, 3, 5])))
        self.layers: list[dict[str, Any]] = []
        self._maps: dict[str, tuple[int, int, int]] = {}
        self._unread: set[str] = set()
        self._add({"kind": "conv", "channels": self._channels(), "kernel": 3}, [], (rows, cols))

    def _channels(self) -> int:
        return self._draw(st.sampled_from([1, 2, 4, 5, 17]))

    def _add(
        self, layer: dict[str, Any], sources: list[str], size: tuple[int, int], channels: int = 0
    ) -> None:
        name = f"l{len(self.layers)}"
        layer |= {"name": name} | ({"from": sources} if sources else {})
        if layer["kind"] in ("conv", "batchnorm", "add"):
            layer |= self._draw(st.sampled_from(ACTIVATIONS))
        self.layers.append(layer)
        self._unread = (self._unread - set(sources)) | {name}
        self._maps[name] = (channels or layer["channels"], *size)

    def grow(self) -> None:
        kind = self._draw(st.sampled_from(KINDS))
        source = self._draw(st.sampled_from(sorted(self._maps)))
        channels, rows, cols = self._maps[source]
        if kind in ("add", "concat"):
            self._combine(kind, source)
        elif kind == "conv":
            stride = self._draw(st.sampled_from([1, 1, 2]))
            layer = {"kind": kind, "channels": self._channels(), "kernel": 3, "stride": stride}
            layer["bias"] = self._draw(st.booleans())
            self._add(layer, [source], (-(-rows // stride), -(-cols // stride)))
        elif kind == "depthwise" and channels > 1:
            layer = {"kind": "conv", "groups": channels, "kernel": 3}
            self._add(layer, [source], (rows, cols), channels)
        elif kind in ("maxpool", "avgpool"):
            layer = {"kind": kind, "window": 3, "stride": 1, "padding": [0, 1, 0, 1]}
            if rows > 2:
                self._add(layer, [source], (rows - 2, cols), channels)
        elif kind in ("batchnorm", "dropout"):
            layer = {"kind": kind} | ({"rate": 0.25} if kind == "dropout" else {})
            self._add(layer, [source], (rows, cols), channels)

    def _combine(self, kind: str, source: str) -> None:
        channels, rows, cols = self._maps[source]
        fits = [
            name
            for name, shape in self._maps.items()
            if name != source
            and shape[1:] == (rows, cols)
            and (kind == "concat" or shape[0] == channels)
        ]
        if fits:
            other = self._draw(st.sampled_from(fits))
            total = channels + self._maps[other][0] if kind == "concat" else channels
            self._add({"kind": kind}, [source, other], (rows, cols), total)

    def finish(self) -> Graph:
        """Whatever nobody reads yet is averaged and goes to the head."""
        ends = sorted(self._unread)
        for name in ends:
            self.layers.append({"name": f"g{name}", "kind": "globalpool", "from": name})
        if len(ends) > 1:
            sources = [f"g{name}" for name in ends]
            self.layers.append({"name": "ends", "kind": "concat", "from": sources})
        return graph_of(self.layers, self.input)


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    inventor = Inventor(draw)
    for _ in range(draw(st.integers(2, 9))):
        inventor.grow()
    return inventor.finish()


@st.composite
def plans(draw: st.DrawFn, graph: Graph) -> Plan:
    batch = draw(st.integers(3, 5))
    names = sorted(name for name in shapes(graph) if "running" not in name)
    some = st.sets(st.sampled_from(names), min_size=1).map(frozenset)
    return Plan(
        batch,
        draw(st.integers(1, batch)),
        draw(st.one_of(st.none(), some)),
        frozen_norms=draw(st.booleans()),
        keep_norms=draw(st.booleans()),
        optimizer=draw(st.sampled_from(["sgd", "nesterov"])),
        clip=draw(st.booleans()),
        smoothing=draw(st.sampled_from([0.0, 0.1])),
    )


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(data=st.data())
def test_any_network_trained_in_any_way(device: OpenDevice, data: st.DataObject) -> None:
    graph = data.draw(networks())
    plan = data.draw(plans(graph))
    # A chain of normalisations over few values loses digits in any arithmetic.
    norms = [layer for layer in graph.layers if layer.kind == "batchnorm"]
    assume(len(norms) <= 2)
    train_both(device(), graph, plan, steps=2, rates={**GENTLE, Hyper.CLIP: 0.5}, share=2e-4)
