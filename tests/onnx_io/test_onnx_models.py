"""Models as torch exports them: in, judged by the oracle against onnxruntime; out, and again."""

import importlib.util
from collections.abc import Callable

import need_onnx  # noqa: F401
import numpy as np
import pytest
import torch
from onnx_models import MODELS
from onnx_rig import DYNAMO, EXPORTERS, assert_close, images, judge, perturbed, read, run

from eftraind.graph import Graph
from eftraind.onnx_io import exporting

Exported = Callable[[str, str], bytes]
SLOW = [("lenet", "dynamo_dynamic"), ("resnet", "dynamo_dynamic"), ("mobilenet", "dynamo")]
"""torch's newer exporter takes seconds, so not every model goes through it."""
PAIRS = [(m, e) for m in MODELS for e in EXPORTERS] + SLOW
CASES = [pytest.param(m, e, id=f"{m}-{e}") for m, e in PAIRS]
FINAL = {"lenet": torch.log_softmax, "inception": torch.softmax}
"""What those models put after the logits, and import drops."""


@pytest.fixture(autouse=True)
def _needs_onnxscript(request: pytest.FixtureRequest) -> None:
    given = getattr(request.node, "callspec", None)
    exporter = given.params.get("exporter", "") if given else ""
    if exporter in DYNAMO and importlib.util.find_spec("onnxscript") is None:
        pytest.skip("torch's newer exporter needs onnxscript: pip install onnxscript")


def final(model: str, logits: np.ndarray) -> np.ndarray:
    return FINAL[model](torch.tensor(logits), 1).numpy() if model in FINAL else logits


@pytest.mark.parametrize(("model", "exporter"), CASES)
def test_import_computes_what_onnxruntime_does(
    exported: Exported, model: str, exporter: str
) -> None:
    data = exported(model, exporter)
    x = images(MODELS[model][1])
    found = read(data)
    assert_close(final(model, judge(found.graph, found.params, x)), run(data, x))
    assert any("dropped" in note for note in found.notes) == (model in FINAL)


@pytest.mark.parametrize(("model", "exporter"), CASES)
def test_adapted_weights_go_home(exported: Exported, model: str, exporter: str) -> None:
    data = exported(model, exporter)
    x = images(MODELS[model][1])
    found = read(data)
    adapted = perturbed(found.params)
    expected = final(model, judge(found.graph, adapted, x))
    assert not np.allclose(expected, run(data, x), rtol=1e-2, atol=1e-3)
    home = exporting.like(data, "model.onnx", found.graph, adapted)
    assert_close(run(home, x), expected)
    back = read(home)
    assert back.graph == found.graph
    assert all(np.array_equal(back.params[name], adapted[name]) for name in adapted)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("exporter", ["folded", "kept"])
def test_a_new_file_computes_the_same(exported: Exported, model: str, exporter: str) -> None:
    found = read(exported(model, exporter))
    adapted = perturbed(found.params)
    x = images(MODELS[model][1])
    data = exporting.fresh(found.graph, adapted)
    assert_close(run(data, x), judge(found.graph, adapted, x))
    assert run(data, np.concatenate([x, x, x])).shape[0] == 6  # any batch


@pytest.mark.parametrize("model", MODELS)
def test_untouched_weights_give_the_same_bits(exported: Exported, model: str) -> None:
    data = exported(model, "folded")
    found = read(data)
    x = images(MODELS[model][1])
    home = exporting.like(data, "model.onnx", found.graph, found.params)
    np.testing.assert_array_equal(run(home, x), run(data, x))


def kinds(graph: Graph) -> list[str]:
    return [
        layer.kind + (f"+{layer.activation.kind}" if layer.activation else "")
        for layer in graph.layers
    ]


def test_layers_are_those_of_the_torch_model(exported: Exported) -> None:
    graph = read(exported("lenet", "dynamic")).graph
    assert [layer.name for layer in graph.layers] == (
        ["conv1", "maxpool1", "conv2", "maxpool2", "fc1", "fc2"]
    )
    assert kinds(graph) == ["conv+relu", "maxpool"] * 2 + ["linear+relu", "linear"]
    graph = read(exported("resnet", "kept")).graph
    assert {"blocks_1_short_0", "blocks_0_conv2", "blocks_1_bn1"} <= {n.name for n in graph.layers}
    assert kinds(graph).count("batchnorm") == 3 and kinds(graph).count("batchnorm+relu") == 2
    assert kinds(graph).count("add+relu") == 2
    assert "batchnorm" not in kinds(read(exported("resnet", "folded")).graph)
    graph = read(exported("mobilenet", "kept")).graph
    assert kinds(graph)[:4] == ["conv", "batchnorm+relu6"] * 2 and graph.layers[2].groups == 8


def test_samples_are_normalised_as_the_flags_say(exported: Exported) -> None:
    data = exported("mobilenet", "folded")
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
    found = read(data, dtype="uint8", scale=1 / 255, mean=mean, std=std)
    raw = np.random.default_rng(3).integers(0, 256, (2, 3, 13, 16)).astype(np.float32)
    spread = [np.array(v, np.float32)[:, None, None] for v in (mean, std)]
    x = ((raw / 255 - spread[0]) / spread[1]).astype(np.float32)
    assert_close(judge(found.graph, found.params, raw), run(data, x))
    assert found.graph.input.dtype == "uint8"
