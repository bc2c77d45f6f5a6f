"""What learns: from what a user writes to tensors; the freeze point; what programs leave out."""

import pytest

from eftraind import graph_build, networks
from eftraind.errors import ConfigError
from eftraind.isa import Op, Slot
from eftraind.plan import lower, trainable
from eftraind.plan.lower import Plan

RESNET = networks.load("resnet20")
ALEXNET = networks.load("alexnet")


def layers_of(chosen):
    return {name.rpartition(".")[0] for name in chosen}


def test_all_is_none_however_it_is_said():
    assert trainable.resolve(RESNET, ("all",)) is None
    assert trainable.resolve(RESNET, ("last-1", "all")) is None
    assert trainable.resolve(RESNET, tuple(trainable.learnable(RESNET))) is None


def test_last_counts_convolutions_and_takes_the_norms_behind_them():
    assert trainable.resolve(RESNET, ("last-1",)) == {"out.weight", "out.bias"}
    last = trainable.resolve(RESNET, ("last-2",))
    assert layers_of(last) == {"out", "s3b3_conv2", "s3b3_bn2"}
    convolving = sum(layer.convolves for layer in RESNET.layers)
    assert trainable.resolve(RESNET, (f"last-{convolving}",)) is None


def test_names_and_groups_are_united():
    chosen = trainable.resolve(RESNET, ("norms-and-biases", "s1b1_conv1", "out.weight"))
    weights = {name for name in chosen if name.endswith(".weight") and "bn" not in name}
    assert weights == {"s1b1_conv1.weight", "out.weight"}
    assert "bn1.bias" in chosen and "out.bias" in chosen


@pytest.mark.parametrize(
    ("choice", "cause", "remedy"),
    [
        ("outt", "no layer or tensor 'outt'", "did you mean out?"),
        ("out.wieght", "no layer or tensor", "did you mean out.weight?"),
        ("al", "no layer or tensor", "did you mean all?"),
        ("average", "layer average has no weights", "names of layers"),
        ("bn1.running_mean", "follows the data", "norm_share"),
        ("last-0", "22 convolutions", "last-1 to last-22"),
        ("last-23", "22 convolutions", "last-1 to last-22"),
        ("last-x", "22 convolutions", "last-1 to last-22"),
    ],
)
def test_what_is_not_there_is_refused_with_the_nearest(choice, cause, remedy):
    with pytest.raises(ConfigError) as caught:
        trainable.resolve(RESNET, (choice,))
    assert cause in caught.value.message and remedy in caught.value.remedy


def test_no_norms_and_no_biases_is_refused():
    bare = graph_build.from_mapping(
        {
            "name": "bare",
            "input": {"shape": [4, 4, 1]},
            "classes": 2,
            "layers": [{"name": "out", "kind": "linear", "channels": 2, "bias": False}],
        }
    )
    with pytest.raises(ConfigError, match="no tensor at all"):
        trainable.resolve(bare, ("norms-and-biases",))


@pytest.mark.parametrize(
    ("graph", "choice", "cut"),
    [
        (RESNET, "last-1", "average"),
        (RESNET, "last-2", "s3b2"),  # the shortcut goes around what lies between
        (ALEXNET, "last-1", "fc7"),  # dropout is drawn anew at each step
        (ALEXNET, "last-3", "pool5"),
        (ALEXNET, "last-4", "conv4"),
    ],
)
def test_freeze_point(graph, choice, cut):
    chosen = trainable.resolve(graph, (choice,))
    if cut == "s3b2":  # conv1 of the block is frozen, but its output alone is not enough
        chosen = chosen | {"s3b3_bn1.bias"}
    assert graph.layers[trainable.freeze_point(graph, chosen)].name == cut


@pytest.mark.parametrize("choice", [("all",), ("conv1.weight", "out")])
def test_without_a_frozen_layer_there_is_no_freeze_point(choice):
    with pytest.raises(ConfigError, match=r"train\.latent: no layer .*first: conv1"):
        trainable.freeze_point(RESNET, trainable.resolve(RESNET, choice))


def program_of(graph, choice, **keys):
    chosen = trainable.resolve(graph, choice)
    cut = trainable.freeze_point(graph, chosen) if keys.pop("latent", False) else None
    return lower.training(graph, 16, Plan(8, 8, chosen, cut=cut, frozen_norms=True, **keys))


def test_backward_stops_at_the_first_layer_that_learns():
    program = program_of(RESNET, ("s3b2_conv2",))
    first = next(n for n, layer in enumerate(RESNET.layers) if layer.name == "s3b2_conv2")
    backward = [c for c in program.commands if c.op in (Op.CONV_BP, Op.CONV_WU, Op.BN_BP)]
    assert min(c.layer for c in backward) == first
    assert [c.layer for c in backward if c.op is Op.CONV_WU] == [first]
    assert not any(c.op is Op.CONV_BP and c.layer == first for c in backward)


def test_latent_runs_nothing_before_the_freeze_point():
    program = program_of(RESNET, ("last-1",), latent=True)
    average = next(n for n, layer in enumerate(RESNET.layers) if layer.name == "average")
    assert {c.layer for c in program.commands if c.op is not Op.UPDATE} == {average, average + 1}
    whole = program_of(RESNET, ("all",))
    assert program.need_words[Slot.TRAIN_ARENA] < whole.need_words[Slot.TRAIN_ARENA] / 50


def test_a_normalisation_may_be_the_freeze_point():
    tiny = graph_build.from_mapping(
        {
            "name": "tiny",
            "input": {"shape": [4, 4, 1]},
            "classes": 2,
            "layers": [
                {"name": "c", "kind": "conv", "channels": 3, "kernel": 3},
                {"name": "b", "kind": "batchnorm", "relu": True},
                {"name": "out", "kind": "linear", "channels": 2},
            ],
        }
    )
    program = program_of(tiny, ("last-1",), latent=True)
    assert [c.op.name for c in program.commands] == ["LOAD", "CONV_FP", "LOSS", "CONV_WU", "UPDATE"]
