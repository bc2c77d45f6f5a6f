"""`eftraind train`, `memory` and `set` as a user meets them: files, lines, refusals."""

import io
import json

import numpy as np
import pytest
import safetensors.numpy

from eftraind import cli, networks, params
from eftraind.demo import data
from eftraind.plan.choice import Limits, choose
from eftraind.plan.lower import Plan
from eftraind.plan.tiles import macs
from eftraind.train.progress import Epoch, Progress

DONE = Epoch(2, 0.5, 0.8, 0.75, 1.25, 1000.0)


@pytest.fixture
def images(tmp_path):
    """A few digits, so that an epoch takes no time."""
    digits, path = data.load("digits"), tmp_path / "few.npz"
    np.savez(
        path, x_train=digits.x_train[:100], y_train=digits.y_train[:100],
        x_test=digits.x_test[:40], y_test=digits.y_test[:40],
    )  # fmt: skip
    return path


def train(images, *more):
    return cli.main(
        ["train", "--network", "digits", "--data", str(images), "--device", "reference",
         "--epochs", "2", "--batch", "20", *map(str, more)]
    )  # fmt: skip


def test_train_writes_weights_curve_and_figures(images, tmp_path, capsys):
    weights, plot, figures = (tmp_path / name for name in ("w.safetensors", "c.svg", "f.json"))
    assert train(images, "--output", weights, "--plot", plot, "--json", figures) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("digits on 100 images of few: sgd, batch 20")
    assert [line.split("  ")[0] for line in shown[1:3]] == ["epoch 1/2", "epoch 2/2"]
    graph = networks.load("digits")
    tensors = safetensors.numpy.load_file(weights)
    params.check(graph, tensors)
    told = json.loads(figures.read_text())
    assert told["weights_hash"] == params.weights_hash(tensors).hex()
    assert [row["number"] for row in told["epochs"]] == [1, 2]
    assert told["epochs"][1]["loss"] < told["epochs"][0]["loss"]
    assert plot.read_text().startswith("<?xml")
    again = tmp_path / "again.safetensors"
    assert train(images, "--output", again) == 0
    assert again.read_bytes() == weights.read_bytes()


def test_train_goes_on_from_weights_and_trains_a_part(images, tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert train(images, "--output", first) == 0
    more = ("--weights", first, "--output", second, "--trainable", "out", "--optimizer", "adam")
    assert train(images, *more) == 0
    before, after = (safetensors.numpy.load_file(path) for path in (first, second))
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {"out.weight", "out.bias"}


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--batch", "0"], "train.batch is 0"),
        (["--batch", "200"], "100 samples are less than one batch of 200"),
        (["--rate", "-1"], "train.learning_rate is -1.0"),
        (["--optimizer", "lion"], "sgd, nesterov, adam"),
        (["--trainable", "conv9"], "no layer or tensor 'conv9'"),
        (["--plot", "curve.jpeg"], "--plot must end in"),
        (["--output", "nowhere/w.safetensors"], "the directory of --output must exist"),
        (["--network", "lenet5"], "takes uint8 [28, 28, 1]"),
        (["--data", "none.npz"], "cannot read none.npz"),
    ],
)
def test_train_refuses_before_it_begins(images, capsys, arguments, cause):
    assert train(images, *arguments) == cli.EXIT_CONFIG
    assert cause in capsys.readouterr().err


def test_train_that_diverges_names_the_layer(images, capsys):
    assert train(images, "--rate", "100", "--decay", "1", "--epochs", "9") == cli.EXIT_ERROR
    error = capsys.readouterr().err
    assert "NaN or Inf in training step" in error and "layer" in error


def test_memory_prints_a_table_or_json(capsys):
    small = ["--batch", "2", "--replay", "100"]
    assert cli.main(["memory", "--network", "vgg16bn", *small]) == 0
    table = capsys.readouterr().out
    assert "training arena      126.1 MB" in table and "weights             304.9 MB" in table
    assert "not kept (" in table and "MB with: above a quarter more)" in table
    more = ["--json", "--trainable", "last-1", "--latent", "--replay", "5"]
    assert cli.main(["memory", "--network", "cifar1x", *more]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["replay"] == 5 * 64 * 16 * 4
    assert told["total"] == sum(size for part, size in told.items() if part != "total")
    assert cli.main(["memory", "--network", "cifar1x", "--t", "0"]) == cli.EXIT_CONFIG


class ByWork:
    """A device whose commands take as long as their work."""

    def seconds(self, c):
        return 1e-6 + 1e-9 * macs(c)


@pytest.mark.parametrize("spare_bytes", [None, 0, -1])
def test_memory_keeps_outputs_of_normalisations_where_the_engine_would(spare_bytes, capsys):
    graph = networks.load("resnet20")

    def chosen(limit_bytes):
        return choose(graph, 16, Plan(16, 4), ByWork(), Limits(1.0, limit_bytes, lambda _: 50))

    limit_bytes = 0 if spare_bytes is None else chosen(0).need_bytes + spare_bytes
    asked = ["memory", "--network", "resnet20", "--batch", "16", "--chunk", "4", "--replay", "50"]
    asked += ["--memory-bytes", str(limit_bytes)]
    assert cli.main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == chosen(limit_bytes).need_bytes
    assert cli.main(asked) == 0
    kept = chosen(limit_bytes).plan.keep_norms
    assert kept == (spare_bytes != -1)
    assert f"normalisation are {'kept' if kept else 'not kept'}" in capsys.readouterr().out


def test_memory_that_does_not_suffice_is_refused_with_the_figures(capsys):
    asked = ["memory", "--network", "cifar1x", "--memory-bytes"]
    assert cli.main([*asked, "1000"]) == cli.EXIT_CONFIG
    assert "cifar1x needs" in capsys.readouterr().err
    assert cli.main([*asked, "-1"]) == cli.EXIT_CONFIG


@pytest.mark.parametrize("text", ["train.learning_rate", "train.learning_rate=fast"])
def test_set_wants_numbers(tmp_path, capsys, text):
    path = tmp_path / "c.yaml"
    path.write_text("")
    assert cli.main(["set", "-c", str(path), text]) == cli.EXIT_CONFIG
    assert "write train.learning_rate=0.01" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_lines_or_a_bar():
    for stream in (io.StringIO(), Terminal()):
        with Progress(stream, 3, 10) as progress:
            progress.step(0, 4, 1.0, 0.5)
            progress.epoch(DONE)
        line = "epoch 2/3  loss 0.5000  train 80.00%  test 75.00%  1.2 s  1,000 images/s"
        assert line in stream.getvalue()
