"""The same training twice, by a device and by PyTorch: weights, order and rates are the same."""

import numpy as np
import torch
import torch_graph

from eftraind import graph_build, params
from eftraind.demo import data
from eftraind.engine.offline import Course
from eftraind.engine.recipe import plan_for, rates_of

DIGITS = data.load("digits")
BATCH = 32

_PLAIN = [
    {"name": "c1", "kind": "conv", "channels": 12, "kernel": 5, "activation": "leaky"},
    {"name": "p1", "kind": "maxpool", "window": 3, "stride": 2, "padding": 1},
    {"name": "c2", "kind": "conv", "channels": 20, "kernel": 3, "stride": 2, "relu": True},
    {"name": "fc", "kind": "linear", "channels": 24, "relu": True},
]
_NORMED = [
    {"name": "c1", "kind": "conv", "channels": 12, "kernel": 3, "bias": False},
    {"name": "b1", "kind": "batchnorm", "relu": True},
    {"name": "p1", "kind": "avgpool", "window": 2},
    {"name": "c2", "kind": "conv", "channels": 20, "kernel": 3, "bias": False},
    {"name": "b2", "kind": "batchnorm", "relu": True},
]
_RESIDUAL = [
    {"name": "c1", "kind": "conv", "channels": 12, "kernel": 3, "bias": False},
    {"name": "b1", "kind": "batchnorm", "relu": True},
    {"name": "c2", "kind": "conv", "channels": 16, "kernel": 3, "stride": 2, "bias": False},
    {"name": "b2", "kind": "batchnorm"},
    {"name": "c3", "kind": "conv", "from": "b1", "channels": 16, "kernel": 1, "stride": 2},
    {"name": "sum", "kind": "add", "from": ["b2", "c3"], "relu": True},
    {"name": "c4", "kind": "conv", "channels": 8, "kernel": 3, "relu": True},
    {"name": "both", "kind": "concat", "from": ["sum", "c4"]},
]
_DEPTHWISE = [
    {"name": "c1", "kind": "conv", "channels": 16, "kernel": 3, "bias": False},
    {"name": "b1", "kind": "batchnorm", "activation": "relu6"},
    {"name": "d2", "kind": "conv", "groups": 16, "kernel": 3, "stride": 2, "bias": False},
    {"name": "b2", "kind": "batchnorm", "activation": "relu6"},
    {"name": "c2", "kind": "conv", "channels": 24, "kernel": 1, "bias": False},
    {"name": "b3", "kind": "batchnorm", "activation": "relu6"},
]
FAMILIES = {"plain": _PLAIN, "normed": _NORMED, "residual": _RESIDUAL, "depthwise": _DEPTHWISE}


def network(family):
    given = {
        "name": family,
        "input": {"shape": [8, 8, 1], "scale": 1 / 255, "mean": 0.304, "std": 0.375},
        "classes": 10,
        "layers": [*FAMILIES[family], {"name": "out", "kind": "linear", "channels": 10}],
    }
    return graph_build.from_mapping(given)


def course(device, graph, train, start, *, chunk=16):
    """Ours."""
    plan = plan_for(graph, train, chunk)
    return Course(
        device, graph, plan, DIGITS.x_train, DIGITS.y_train,
        start=start, rates=rates_of(train), rng=np.random.default_rng(1),
        class_weights=train.class_weights,
    )  # fmt: skip


class TorchCourse:
    """PyTorch's, in double precision."""

    def __init__(self, graph, train, start, learns=None):
        self._graph = graph
        self._train = train
        self._tensors = torch_graph.tensors(start)
        names = [n for n in start if n.rpartition(".")[2] not in params.STATISTICS]
        self._learn = [self._tensors[n] for n in names if learns is None or n in learns]
        for tensor in self._learn:
            tensor.requires_grad_(True)
        self._optimizer = self._made()
        self._x = torch_graph.normalised(graph, DIGITS.x_train)
        self._y = torch.tensor(DIGITS.y_train.astype(np.int64))
        self._mode = torch_graph.Mode(batch_statistics=not train.freeze_norms)

    def _made(self):
        t = self._train
        if t.optimizer == "adam":
            betas = (t.momentum, t.beta2)
            return torch.optim.Adam(self._learn, t.learning_rate, betas, 1e-8, t.weight_decay)
        return torch.optim.SGD(
            self._learn, t.learning_rate, t.momentum, weight_decay=t.weight_decay,
            nesterov=t.optimizer == "nesterov",
        )  # fmt: skip

    def step(self, rows):
        self._optimizer.zero_grad()
        logits = torch_graph.logits(self._graph, self._tensors, self._x[rows], self._mode)
        weights = self._train.class_weights
        loss = torch.nn.functional.cross_entropy(
            logits, self._y[rows], label_smoothing=self._train.label_smoothing,
            weight=None if weights is None else torch.tensor(weights, dtype=torch.float64),
        )  # fmt: skip
        loss.backward()
        if self._train.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._learn, self._train.clip_norm)
        self._optimizer.step()
        return float(loss.detach())

    def weights(self):
        return {name: t.detach().numpy().copy() for name, t in self._tensors.items()}

    def predict(self, x):
        with torch.no_grad():
            samples = torch_graph.normalised(self._graph, x)
            mode = torch_graph.Mode()
            return torch_graph.logits(self._graph, self._tensors, samples, mode).argmax(1).numpy()
