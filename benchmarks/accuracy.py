"""Accuracy of offline training against PyTorch: the same initial weights, order and rates.

    python benchmarks/accuracy.py --data cifar.npz [--network cifar1x] [--epochs 10] [--json F]

Both learn from x_train and are judged on x_test after each epoch. PyTorch runs in float32. The
first steps are compared one by one too, in loss and in weights. It measures no speed.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "oracle"))
import torch_graph

from eftraind import networks, params
from eftraind.accel import open_device
from eftraind.config import TrainConfig
from eftraind.demo import data
from eftraind.engine.offline import Course
from eftraind.engine.recipe import plan_for, rates_of
from eftraind.isa import Hyper

COMPARED = (1, 20)
"""After so many steps weights are compared. One step agrees to rounding; later a maximum of two all
but equal numbers is taken from another place now and then, and the runs go different ways, as two
runs of PyTorch on one and on two threads do. What they learn must be as good."""
PIECE = 500


class Torch:
    """The network as PyTorch computes it."""

    def __init__(self, graph, train, start, x, y, dtype=torch.float32):
        self._dtype = dtype
        self._graph, self._y = graph, torch.tensor(y.astype(np.int64))
        self._tensors = {n: torch.tensor(value, dtype=dtype) for n, value in start.items()}
        learn = [t for n, t in self._tensors.items() if n.split(".")[-1] not in params.STATISTICS]
        for tensor in learn:
            tensor.requires_grad_(True)
        rates = (train.learning_rate, train.momentum)
        self._optimizer = torch.optim.SGD(learn, *rates, weight_decay=train.weight_decay)
        self._x = self._normalised(x)

    def _normalised(self, samples):
        return torch_graph.normalised(self._graph, samples).to(self._dtype)

    def step(self, rows):
        self._optimizer.zero_grad()
        mode = torch_graph.Mode(batch_statistics=True)
        logits = torch_graph.logits(self._graph, self._tensors, self._x[rows], mode)
        loss = functional.cross_entropy(logits, self._y[rows])
        loss.backward()
        self._optimizer.step()
        return loss.item()

    def set_rate(self, rate):
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def accuracy(self, x, y):
        right = 0
        with torch.no_grad():
            for first in range(0, len(x), PIECE):
                part = self._normalised(x[first : first + PIECE])
                logits = torch_graph.logits(self._graph, self._tensors, part, torch_graph.Mode())
                right += int((logits.argmax(1).numpy() == y[first : first + PIECE]).sum())
        return right / len(x)

    def weights(self):
        return {name: t.detach().numpy().copy() for name, t in self._tensors.items()}


def farthest(ours, theirs, start):
    """The largest difference of a weight, relative to how far its tensor has moved."""
    moved = {n: np.abs(theirs[n] - start[n]).max() for n in theirs}
    return max(float(np.abs(ours[n] - theirs[n]).max() / (moved[n] + 1e-12)) for n in theirs)


def compare(given):
    """Rows of figures, one an epoch."""
    if given.threads:
        torch.set_num_threads(given.threads)
    dataset, graph = data.load(given.data), networks.load(given.network)
    train = TrainConfig(
        batch=given.batch, learning_rate=given.rate, momentum=given.momentum,
        weight_decay=given.decay,
    )  # fmt: skip
    start = params.initial(graph, np.random.default_rng(given.seed))
    x, y = dataset.x_train, dataset.y_train
    device = open_device(given.device, given.threads)
    ours = Course(
        device, graph, plan_for(graph, train, 8), x, y,
        start=start, rates=rates_of(train), rng=np.random.default_rng(0),
    )  # fmt: skip
    theirs = Torch(graph, train, start, x, y)
    double = Torch(graph, train, start, x, y, torch.float64) if given.spread else None
    order = np.random.default_rng(given.seed + 1)
    rows, worst, count = [], 0.0, 0
    for epoch in range(given.epochs):
        if epoch == round(given.cool * given.epochs):
            ours.set_rates({Hyper.RATE: given.rate / 10})
            theirs.set_rate(given.rate / 10)
            if double is not None:
                double.set_rate(given.rate / 10)
        shuffled = order.permutation(len(x))
        losses = []
        for first in range(0, len(x) - given.batch + 1, given.batch):
            batch = shuffled[first : first + given.batch]
            losses.append((ours.step(batch)[0], theirs.step(batch)))
            count += 1
            if double is not None:
                double.step(batch)
            if count <= max(COMPARED):
                worst = max(worst, abs(losses[-1][0] - losses[-1][1]))
            if count in COMPARED:
                apart = farthest(ours.weights(), theirs.weights(), start)
                print(f"{count} steps: losses within {worst:.1e}, weights within {apart:.1e}")
        mine = float((ours.predict(dataset.x_test) == dataset.y_test).mean())
        other = theirs.accuracy(dataset.x_test, dataset.y_test)
        mean = np.mean(losses, axis=0)
        rows.append(
            {
                "epoch": epoch + 1,
                "ours": mine,
                "torch": other,
                "points_apart": 100 * (mine - other),
                "ours_loss": float(mean[0]),
                "torch_loss": float(mean[1]),
            }
        )
        if double is not None:
            rows[-1]["torch_double"] = double.accuracy(dataset.x_test, dataset.y_test)
            print(f"epoch {epoch + 1}: torch in double precision {rows[-1]['torch_double']:.2%}")
        print(
            f"epoch {epoch + 1}: ours {mine:.2%}, torch {other:.2%}, "
            f"{100 * (mine - other):+.2f} points; losses {mean[0]:.4f}, {mean[1]:.4f}",
            flush=True,
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", default="digits", help=".npz with x_train, y_train, x_test, y_test")
    add("--network", default="cifar1x")
    add("--epochs", type=int, default=10)
    add("--batch", type=int, default=32)
    add("--rate", type=float, default=0.01)
    add("--momentum", type=float, default=0.9)
    add("--decay", type=float, default=5e-4)
    add("--cool", type=float, default=0.7, help="share of epochs until the rate is a tenth")
    add("--spread", action="store_true", help="also how far PyTorch is from itself in float64")
    add("--seed", type=int, default=0)
    add("--device", choices=("cpu", "reference"), default="cpu")
    add("--threads", type=int, default=0)
    add("--json", type=Path)
    given = parser.parse_args()
    rows = compare(given)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
