"""The network description: what resolves, and what each wrong one is told."""

import copy
import dataclasses

import pytest

from eftraind import graph_build, networks
from eftraind.errors import GraphError

GOOD = {
    "name": "tiny",
    "input": {"shape": [6, 7, 2], "dtype": "uint8", "scale": 0.5, "mean": [1.0, 2.0], "std": 3.0},
    "classes": 3,
    "layers": [
        {"name": "c1", "kind": "conv", "channels": 5, "kernel": [3, 5], "relu": True},
        {"name": "p1", "kind": "maxpool", "window": 2, "stride": [2, 1]},
        {"name": "out", "kind": "linear", "channels": 3},
    ],
}


def changed(path, value):
    data = copy.deepcopy(GOOD)
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return data


def test_shapes_resolve():
    tiny = graph_build.from_mapping(GOOD)
    assert [layer.output_shape for layer in tiny.layers] == [(5, 6, 7), (5, 3, 6), (3, 1, 1)]
    assert tiny.layers[0].padding == (1, 2)
    assert tiny.layers[2].weight_shape == (3, 5, 3, 6)
    assert tiny.input.mean == (1.0, 2.0) and tiny.input.std == (3.0, 3.0)
    assert tiny.macs == 5 * 2 * 15 * 42 + 3 * 5 * 18


def test_a_stride_skips_and_padding_may_differ_at_every_side():
    def out(**keys):
        conv = {"name": "c", "kind": "conv", "channels": 4, "kernel": 3} | keys
        layer = graph_build.from_mapping(changed(["layers"], [conv, *TAIL])).layers[0]
        return layer.output_shape[1:], layer.padding

    assert out(stride=2) == ((3, 4), (1, 1))
    assert out(stride=[4, 1], padding=0) == ((1, 5), (0, 0))
    assert out(padding=[2, 0, 1, 1]) == ((7, 6), (2, 0))
    assert out(kernel=[4, 1], padding=[1, 0, 2, 0]) == ((6, 7), (1, 0))


TAIL = [{"name": "out", "kind": "linear", "channels": 3}]
HEAD = [{"name": "a", "kind": "conv", "channels": 4, "kernel": 3, "activation": "leaky"}]


def layered(*layers):
    return graph_build.from_mapping(changed(["layers"], [*HEAD, *layers, *TAIL]))


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([{"kind": "conv", "groups": 4, "kernel": 5, "stride": 2}], (4, 3, 4)),
        ([{"kind": "maxpool", "window": 3, "stride": 2, "padding": 1}], (4, 3, 4)),
        ([{"kind": "avgpool", "window": [2, 7]}], (4, 3, 1)),
        ([{"kind": "globalpool"}], (4, 1, 1)),
        ([{"kind": "batchnorm", "activation": "relu6"}], (4, 6, 7)),
        ([{"kind": "dropout", "rate": 0.25}], (4, 6, 7)),
        ([{"kind": "batchnorm"}, {"kind": "add", "from": ["a", "l0"], "relu": True}], (4, 6, 7)),
        ([{"kind": "dropout", "rate": 0}, {"kind": "concat", "from": ["l0", "a"]}], (8, 6, 7)),
    ],
)
def test_every_kind_gives_its_shape(layers, shape):
    named = [{"name": f"l{n}"} | layer for n, layer in enumerate(layers)]
    tiny = layered(*named)
    assert tiny.layers[-2].output_shape == shape
    assert tiny.layers[0].activation.slope == 0.01


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"kind": "batchnorm", "epsilon": 0.0}, "epsilon is 0.0"),
        ({"kind": "batchnorm", "momentum": 0.1}, "unknown key 'momentum'"),
        ({"kind": "dropout"}, "rate is None"),
        ({"kind": "dropout", "rate": 1.0}, "rate is 1.0"),
        ({"kind": "add"}, "two different layers"),
        ({"kind": "add", "from": ["a", "a"]}, "two different layers"),
        ({"kind": "add", "from": ["a", "input"]}, "differ"),
        ({"kind": "concat", "from": ["a"]}, "two or more"),
        ({"kind": "concat", "from": ["a", "small"]}, "maps"),
        ({"kind": "conv", "groups": 4, "channels": 8, "kernel": 3}, "depthwise"),
        ({"kind": "conv", "channels": 8, "kernel": [3, 3, 3]}, "one number or"),
        ({"kind": "conv", "channels": 8, "kernel": 9, "padding": 0}, "does not fit"),
        ({"kind": "conv", "channels": 8, "kernel": 3, "activation": "gelu"}, "relu6, leaky"),
        ({"kind": "conv", "channels": 8, "kernel": 3, "activation": "leaky", "slope": 2}, "slope"),
        ({"kind": "avgpool", "window": 2, "count_padding": 1}, "true or false"),
        ({"kind": "globalpool", "window": 2}, "unknown key 'window'"),
        ({"kind": "avgpool", "window": 2, "from": "input"}, "begin with an ordinary convolution"),
    ],
)
def test_every_kind_refuses_what_it_cannot_do(layer, message):
    small = {"name": "small", "kind": "maxpool", "window": 2}
    with pytest.raises(GraphError) as caught:
        layered(small, {"name": "l", "from": "a"} | layer, _both("small", "l"))
    assert message in str(caught.value)
    assert caught.value.remedy


def _both(*names):
    return {"name": "both", "kind": "concat", "from": list(names)}


def test_a_graph_made_elsewhere_is_checked_as_well():
    good = graph_build.from_mapping(GOOD)
    graph_build.check(good)
    with pytest.raises(GraphError, match="4 classes"):
        graph_build.check(dataclasses.replace(good, classes=4))


def test_every_shipped_network_resolves():
    for name in networks.names():
        assert networks.load(name).macs > 0


def test_paper_network_is_the_paper_s():
    paper = networks.load("cifar1x")
    channels = [layer.output_shape[0] for layer in paper.layers if layer.kind == "conv"]
    assert channels == [16, 16, 32, 32, 64, 64]


@pytest.mark.parametrize(
    ("name", "operations"),
    [("cifar1x", 58.5e6), ("lenet10", 25.17e6), ("alexnet", 6.25e9), ("vgg16", 91.9e9)],
)
def test_operations_of_an_image_are_those_of_the_paper(name, operations):
    paper = networks.load(name)
    layers = [x for x in paper.layers if x.convolves and (name != "alexnet" or x.kind == "conv")]
    counted = 2 * (3 * sum(layer.macs for layer in layers) - layers[0].macs)
    assert counted == pytest.approx(operations, rel=0.001)


def test_digest_knows_structure_and_not_the_network_s_name():
    same = graph_build.from_mapping(changed(["name"], "other"))
    other = graph_build.from_mapping(changed(["layers", 0, "channels"], 6))
    assert graph_build.from_mapping(GOOD).digest == same.digest != other.digest


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["layers", 0, "kernell"], 3, "did you mean 'kernel'"),
        (["layers", 0, "kind"], "convv", "did you mean 'conv'"),
        (["layers", 0, "kernel"], 4, "even"),
        (["layers", 0, "kernel"], 9, None),
        (["layers", 0, "padding"], 7, "padding"),
        (["layers", 0, "channels"], 0, "whole number"),
        (["layers", 0, "channels"], True, "whole number"),
        (["layers", 0, "relu"], 1, "true or false"),
        (["layers", 0, "stride"], 0, "whole number"),
        (["layers", 0, "stride"], [1, 2, 3], "one number or"),
        (["layers", 0, "padding"], [1, 1, 1, -1], "whole number"),
        (["layers", 0, "groups"], 2, "depthwise"),
        (["layers", 0, "activation"], "relu6", "one of them"),
        (["layers", 1, "padding"], 2, "over half"),
        (["layers", 2, "from"], "pp1", "did you mean 'p1'"),
        (["layers", 2, "from"], ["p1", "c1"], "reads one layer"),
        (["layers", 1, "from"], "input", "nobody reads it"),
        (["layers", 0, "name"], "p1", "twice"),
        (["layers", 0, "name"], "a b", "letters"),
        (["layers", 1, "window"], 9, "does not fit"),
        (["layers", 2, "relu"], True, "logits"),
        (["layers", 2, "channels"], 4, "3 classes"),
        (["layers"], [], "no layers"),
        (["layers"], ["conv"], "layer 0"),
        (["input"], None, "input"),
        (["input", "shape"], [6, 7], "rows, cols, channels"),
        (["input", "dtype"], "int8", "uint8 or float32"),
        (["input", "std"], [1.0, 0.0], "positive"),
        (["input", "mean"], [1.0], "2 finite"),
        (["input", "scale"], float("nan"), "finite"),
        (["classes"], 1, "whole number"),
        (["name"], "", "name"),
    ],
)
def test_wrong_descriptions_are_refused_with_cause_and_remedy(path, value, message):
    data = changed(path, value)
    if message is None:  # a large kernel is fine as long as padding makes room for it
        assert graph_build.from_mapping(data)
        return
    with pytest.raises(GraphError) as caught:
        graph_build.from_mapping(data)
    assert message in str(caught.value)
    assert caught.value.remedy


def test_unknown_network_names_the_nearest():
    with pytest.raises(GraphError, match="did you mean cifar1x"):
        networks.load("cifar1")
