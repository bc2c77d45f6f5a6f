"""Every shipped network, trained on real digits by the cpu device and by PyTorch alike.

Networks of small images learn until they can read; those of 224 pixels a side take a few steps. A
whole run of 1X on CIFAR-10 is `benchmarks/accuracy.py`.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch_graph
from training_rig import DIGITS

from eftraind import networks, params
from eftraind.accel.cpu import CpuDevice
from eftraind.config import TrainConfig
from eftraind.engine.offline import Course
from eftraind.engine.recipe import plan_for, rates_of
from eftraind.nn.pointwise import dropout_keep

# Rate at which each learns to read within the epochs given, on 1,000 digits in batches of 16.
LEARNT = {
    "digits": (0.02, 6),
    "lenet5": (0.01, 4),
    "lenet10": (0.003, 3),
    "cifar1x": (0.005, 3),
    "resnet20": (0.02, 2),
    "mobilenet": (0.02, 2),
}
STEPPED = ("alexnet", "vgg16", "vgg16bn")


def enlarged(graph, images):
    """Digits of 8 x 8 as large as the network wants them, uint8. With noise, or pooling windows of
    equal pixels would be decided by rounding."""
    rows, cols, channels = graph.input.shape
    factor = rows // 8
    large = np.kron(images[..., 0], np.ones((factor, factor), np.uint8))
    spare = rows - 8 * factor
    framed = np.pad(large, ((0, 0), (spare // 2, spare - spare // 2)) + ((0, cols - 8 * factor),))
    grain = np.random.default_rng(4).integers(0, 32, (*framed.shape, channels))
    bright = framed.astype(np.int64) * 223 // int(DIGITS.x_train.max())
    return (bright[..., None] + grain).astype(np.uint8)


class TorchRun:
    """In single precision, with our masks of dropout."""

    def __init__(self, graph, train, start, seed):
        self._graph, self._seed, self._steps = graph, seed, 0
        self.tensors = {name: torch.tensor(value) for name, value in start.items()}
        learn = [t for n, t in self.tensors.items() if n.split(".")[-1] not in params.STATISTICS]
        for tensor in learn:
            tensor.requires_grad_(True)
        self._optimizer = torch.optim.SGD(learn, train.learning_rate, train.momentum)

    def _keeps(self, images):
        sequence = np.random.SeedSequence([self._seed, self._steps])
        seed = int(sequence.generate_state(1)[0])
        return {
            index: dropout_keep(seed, index, 0, (images, *layer.output_shape), layer.rate)
            for index, layer in enumerate(self._graph.layers)
            if layer.kind == "dropout"
        }

    def _logits(self, x, mode):
        samples = torch_graph.normalised(self._graph, x).to(torch.float32)
        return torch_graph.logits(self._graph, self.tensors, samples, mode)

    def step(self, x, y):
        self._steps += 1
        self._optimizer.zero_grad()
        logits = self._logits(x, torch_graph.Mode(True, 0.1, self._keeps(len(x))))
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(y))
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def predict(self, x):
        with torch.no_grad():
            return self._logits(x, torch_graph.Mode()).argmax(1).numpy()


def both(name, rate, batch, count):
    graph = networks.load(name)
    train = TrainConfig(batch=batch, learning_rate=rate, momentum=0.9)
    start = params.initial(graph, np.random.default_rng(2))
    x, y = enlarged(graph, DIGITS.x_train[:count]), DIGITS.y_train[:count].astype(np.int64)
    course = Course(
        CpuDevice(threads=1), graph, replace(plan_for(graph, train, 8), chunk=min(8, batch)), x, y,
        start=start, rates=rates_of(train), rng=np.random.default_rng(1), seed=5,
    )  # fmt: skip
    return graph, course, TorchRun(graph, train, start, seed=5), x, y


@pytest.mark.parametrize("name", LEARNT)
def test_learns_as_well_as_pytorch(name):
    rate, epochs = LEARNT[name]
    graph, ours, theirs, x, y = both(name, rate, 16, 1000)
    rng = np.random.default_rng(9)
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        for first in range(0, len(order) - 15, 16):
            rows = order[first : first + 16]
            loss, expected = ours.step(rows)[0], theirs.step(x[rows], y[rows])
            if epoch == 0 and first < 32:
                assert loss == pytest.approx(expected, rel=1e-4)
    unseen = enlarged(graph, DIGITS.x_test)
    mine, other = ((run.predict(unseen) == DIGITS.y_test).mean() for run in (ours, theirs))
    assert mine > 0.9
    assert abs(mine - other) <= 0.03


@pytest.mark.parametrize("name", STEPPED)
def test_steps_of_a_large_network(name):
    _, ours, theirs, x, y = both(name, 1e-4, 2, 4)
    start = {n: tensor.detach().numpy().copy() for n, tensor in theirs.tensors.items()}
    for rows in (np.array([0, 1]), np.array([2, 3])):
        assert ours.step(rows)[0] == pytest.approx(theirs.step(x[rows], y[rows]), rel=2e-4)
    weights = ours.weights()
    for tensor, expected in theirs.tensors.items():
        want = expected.detach().numpy()
        # Among millions of sums one or two lie so near 0 that rounding decides a ReLU: PyTorch in
        # single precision is as far from itself in double precision.
        moved = np.linalg.norm(want - start[tensor]) + 1e-9
        assert np.linalg.norm(weights[tensor] - want) <= 0.05 * moved, tensor
