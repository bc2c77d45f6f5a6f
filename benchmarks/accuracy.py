"""Accuracy of offline training against PyTorch: the same initial weights, order and rates.

    python benchmarks/accuracy.py --data cifar.npz [--network cifar1x] [--epochs 12] [--seeds 10]

Both learn from x_train and are judged on x_test after each epoch. PyTorch runs in float32, and a
second time from initial weights that differ in the last bit: how far PyTorch is from itself is what
a difference between it and ours must be held against. The first steps are compared one by one too,
in loss and in weights. Batch and rate are those of the EF-Train paper's own comparison (page 25);
with momentum PyTorch's two runs end a point or two apart, and so do ours. It measures no speed.
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
but equal numbers is taken from another place now and then, and the runs go different ways. What
they learn must be as good."""
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


def nudged(start):
    """The same weights, some of them one unit in the last place larger."""
    rng = np.random.default_rng(0)
    return {
        name: np.where(rng.random(value.shape) < 0.5, np.nextafter(value, np.inf), value)
        for name, value in start.items()
    }


class Runs:
    """Ours, PyTorch's and PyTorch's nudged, step by step on the same batches."""

    def __init__(self, given, dataset, seed):
        self._given, self._dataset = given, dataset
        graph = networks.load(given.network)
        train = TrainConfig(
            batch=given.batch, learning_rate=given.rate, momentum=given.momentum,
            weight_decay=given.decay,
        )  # fmt: skip
        self._start = params.initial(graph, np.random.default_rng(seed))
        x, y = dataset.x_train, dataset.y_train
        self.ours = Course(
            open_device(given.device, given.threads), graph, plan_for(graph, train, 8), x, y,
            start=self._start, rates=rates_of(train), rng=np.random.default_rng(0),
        )  # fmt: skip
        self.torch = Torch(graph, train, self._start, x, y)
        self.again = Torch(graph, train, nudged(self._start), x, y)
        self._order = np.random.default_rng(seed + 1)
        self._count = 0

    def cool(self, rate):
        self.ours.set_rates({Hyper.RATE: rate})
        self.torch.set_rate(rate)
        self.again.set_rate(rate)

    def epoch(self):
        """Accuracies of the three."""
        size = self._given.batch
        shuffled = self._order.permutation(len(self._dataset.x_train))
        for first in range(0, len(shuffled) - size + 1, size):
            batch = shuffled[first : first + size]
            losses = self.ours.step(batch)[0], self.torch.step(batch)
            self.again.step(batch)
            self._count += 1
            if self._count in COMPARED:
                self._show(*losses)
        x, y = self._dataset.x_test, self._dataset.y_test
        mine = float((self.ours.predict(x) == y).mean())
        return mine, self.torch.accuracy(x, y), self.again.accuracy(x, y)

    def _show(self, ours, theirs):
        weights = self.torch.weights()
        apart, itself = (
            farthest(other.weights(), weights, self._start) for other in (self.ours, self.again)
        )
        print(
            f"after {self._count} steps: losses {abs(ours - theirs):.1e} apart, weights "
            f"{apart:.1e}; PyTorch and PyTorch nudged: {itself:.1e}"
        )


def compare(given, dataset, seed):
    """Rows of figures, one an epoch."""
    runs, rows = Runs(given, dataset, seed), []
    for epoch in range(given.epochs):
        if epoch == round(given.cool * given.epochs):
            runs.cool(given.rate / 10)
        ours, theirs, again = runs.epoch()
        rows.append(
            {"seed": seed, "epoch": epoch + 1, "ours": ours, "torch": theirs, "again": again}
        )
        print(
            f"seed {seed}, epoch {epoch + 1}: ours {ours:.2%}, torch {theirs:.2%}, "
            f"torch nudged {again:.2%}",
            flush=True,
        )
    return rows


def summary(rows, epochs):
    """Differences at the end, in points: mean over the seeds and its standard error."""
    last = [row for row in rows if row["epoch"] == epochs]
    out = {"seeds": len(last), "torch_mean": float(np.mean([row["torch"] for row in last]))}
    for name in ("ours", "again"):
        apart = 100 * np.array([row[name] - row["torch"] for row in last])
        out[f"{name}_minus_torch"] = float(apart.mean())
        out[f"{name}_spread"] = float(apart.std(ddof=1)) if len(last) > 1 else None
        out[f"{name}_error"] = out[f"{name}_spread"] and out[f"{name}_spread"] / len(last) ** 0.5
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", default="digits", help=".npz with x_train, y_train, x_test, y_test")
    add("--network", default="cifar1x")
    add("--epochs", type=int, default=12)
    add("--batch", type=int, default=128)
    add("--rate", type=float, default=0.008)
    add("--momentum", type=float, default=0.0)
    add("--decay", type=float, default=0.0)
    add("--cool", type=float, default=1.0, help="share of epochs until the rate is a tenth")
    add("--seed", type=int, default=0, help="of the first run")
    add("--seeds", type=int, default=1, help="runs")
    add("--device", choices=("cpu", "reference"), default="cpu")
    add("--threads", type=int, default=0)
    add("--json", type=Path)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    dataset, rows = data.load(given.data), []
    for seed in range(given.seed, given.seed + given.seeds):
        rows += compare(given, dataset, seed)
        found = summary(rows, given.epochs)
        if given.json:
            text = json.dumps({"summary": found, "rows": rows}, indent=2)
            given.json.write_text(text + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
