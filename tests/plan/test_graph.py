"""The network description: what resolves, and what each wrong one is told."""

import copy

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


def test_every_shipped_network_resolves():
    for name in networks.names():
        assert networks.load(name).macs > 0


def test_paper_network_is_the_paper_s():
    paper = networks.load("cifar1x")
    channels = [layer.output_shape[0] for layer in paper.layers if layer.kind == "conv"]
    assert channels == [16, 16, 32, 32, 64, 64]
    training_operations = 2 * (3 * paper.macs - paper.layers[0].macs)
    assert training_operations == pytest.approx(58.5e6, rel=0.01)  # as the paper counts them


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
        (["layers", 0, "stride"], 2, "stride"),
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
