"""Runs training and inference programs of small graphs on a device, beside PyTorch.

Before every step the arena, the gradients and the output hold NaN: whoever reads a word that
nobody wrote in this step shows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch_graph

from eftraind import graph_build
from eftraind.accel.host import HostDevice
from eftraind.graph import Graph
from eftraind.isa import Hyper, Op, Program, Slot
from eftraind.nn.pointwise import dropout_keep
from eftraind.params import F32, initial
from eftraind.plan import lower
from eftraind.plan.bank import BankLayout
from eftraind.plan.draft import ConstsLayout
from eftraind.plan.lower import Plan
from eftraind.plan.reshape import pack_samples, pack_vector
from eftraind.plan.tiles import input_lanes

OpenDevice = Callable[[], HostDevice]
Rates = Mapping[Hyper, float]
GENTLE = {Hyper.RATE: 0.05, Hyper.MOMENTUM: 0.9, Hyper.DECAY: 0.01}
DEFAULTS = {
    Hyper.CLIP: np.inf,
    Hyper.BETA2: 0.999,
    Hyper.EPSILON: 1e-8,
    Hyper.CORRECTION1: 1.0,
    Hyper.CORRECTION2: 1.0,
    Hyper.BN_SHARE: 0.1,
}


def graph_of(layers: list[dict[str, Any]], shape: tuple[int, int, int], classes: int = 3) -> Graph:
    """Layers, then a linear head; float32 samples with a scale, mean and deviation."""
    head = {"name": "head", "kind": "linear", "channels": classes}
    channels = shape[2]
    return graph_build.from_mapping(
        {
            "name": "small",
            "input": {
                "shape": list(shape),
                "dtype": "float32",
                "scale": 0.5,
                "mean": [0.1 * i for i in range(channels)],
                "std": [1.0 + 0.2 * i for i in range(channels)],
            },
            "classes": classes,
            "layers": [*layers, head],
        }
    )


def random_params(graph: Graph, rng: np.random.Generator) -> dict[str, F32]:
    """Nothing is 0 or 1: every term of every formula counts."""
    out = initial(graph, rng)
    for name, value in out.items():
        if value.ndim == 1:
            spread = rng.uniform(0.5, 1.5, value.shape)
            sign = 1.0 if name.endswith("running_var") else rng.choice([-1.0, 1.0], value.shape)
            out[name] = (spread * sign).astype(np.float32)
    return out


@dataclass
class Data:
    samples: F32
    labels: np.ndarray

    @classmethod
    def of(cls, graph: Graph, count: int, rng: np.random.Generator) -> "Data":
        samples = rng.standard_normal((count, *graph.input.shape)).astype(np.float32)
        return cls(samples, rng.integers(0, graph.classes, count))


class Rig:
    """One network on one device, with the slots that its programs need."""

    def __init__(self, device: HostDevice, graph: Graph, plan: Plan) -> None:
        self.device, self.graph, self.plan = device, graph, plan
        self.t = device.capabilities.lanes
        self.bank = BankLayout.of(graph, self.t)
        self.consts = ConstsLayout.of(graph, self.t)
        self._bind(Slot.LEARNER, self.bank.size_words)
        self._bind(Slot.CONSTS, self.consts.size_words)
        self.program = lower.training(graph, self.t, plan)
        for slot, words in self.program.need_words.items():
            if slot not in (Slot.LEARNER, Slot.CONSTS, Slot.POOL):
                self._bind(slot, words)
        self._train = device.load(self.program)
        self._write_constants()

    def _bind(self, slot: Slot, words: int) -> None:
        self.device.bind(slot, self.device.allocate(words))

    def write(self, slot: Slot, data: np.ndarray, offset: int = 0) -> None:
        self.device.write(self.device.bound(slot), data, offset)

    def read(self, slot: Slot, words: int, dtype: Any = np.float32) -> Any:
        return self.device.read(self.device.bound(slot), 0, words, dtype)

    def _write_constants(self) -> None:
        spec = self.graph.input
        lanes = input_lanes(spec.shape[2], self.t)
        std = np.array(spec.std, np.float32)
        affine = (np.float32(spec.scale) / std, -np.array(spec.mean, np.float32) / std)
        self.write(Slot.CONSTS, np.concatenate([pack_vector(v, self.t, lanes) for v in affine]))
        ones = np.ones(self.consts.identity_lanes, np.float32)
        self.write(Slot.CONSTS, ones, self.consts.identity())

    def set_params(self, params: Mapping[str, F32]) -> None:
        self.write(Slot.LEARNER, self.bank.pack(params))

    def params(self) -> dict[str, F32]:
        return self.bank.unpack(self.read(Slot.LEARNER, self.bank.size_words))

    def set_rates(self, rates: Rates) -> None:
        for which, value in rates.items():
            self.write(Slot.CONSTS, np.array([value], np.float32), self.consts.hypers + which)

    def set_seed(self, seed: int) -> None:
        word = np.array([seed], np.uint32)
        self.write(Slot.CONSTS, word, self.consts.hypers + Hyper.SEED)

    def set_class_weights(self, weights: F32, divisor: float) -> None:
        words = np.append(pack_vector(weights, self.t), np.float32(divisor))
        self.write(Slot.CONSTS, words, self.consts.class_weights)

    def fill_pool(self, rows: np.ndarray) -> None:
        self._bind(Slot.POOL, rows.size)
        self.write(Slot.POOL, rows)

    def step(self, rows: np.ndarray, labels: np.ndarray) -> tuple[F32, np.ndarray]:
        """Loss and predicted class per image, in batch order."""
        for slot in (Slot.TRAIN_ARENA, Slot.GRADS, Slot.TRAIN_OUT):
            if words := self.program.need_words.get(slot, 0):
                self.write(slot, np.full(words, np.nan, np.float32))
        self.write(Slot.TRAIN_BATCH, np.concatenate([rows, labels]).astype(np.int32))
        self.device.run(self._train, 0, len(self.program.commands))
        out = self.read(Slot.TRAIN_OUT, 2 * self.plan.batch)
        losses, predicted = [], []
        for command in self.program.commands:
            if command.op is Op.LOSS:
                at, images = command.extra.offset, command.images
                losses.append(out[at : at + images])
                predicted.append(out[at + images : at + 2 * images].view(np.int32))
        return np.concatenate(losses), np.concatenate(predicted)

    def gradients(self) -> dict[str, F32]:
        """Of layers that keep one; the others have stepped by theirs."""
        whole = np.zeros(self.bank.size_words, np.float32)
        if size := self.program.need_words.get(Slot.GRADS, 0):
            whole[:size] = self.read(Slot.GRADS, size)
        kept = {x.name for x in self.graph.layers if not self.plan.steps_at_once(x)}
        found = self.bank.unpack(whole)
        return {name: value for name, value in found.items() if name.rpartition(".")[0] in kept}

    def _run_inference(self, program: Program, images: int, samples: F32) -> None:
        for slot, words in program.need_words.items():
            if slot.name.startswith("INFER"):
                self._bind(slot, words)
        self._bind(Slot.INFER_IN, pack_samples(samples, self.t).size)
        self.write(Slot.INFER_IN, pack_samples(samples, self.t))
        self.write(Slot.INFER_BATCH, np.arange(images, dtype=np.int32))
        arena = np.full(program.need_words[Slot.INFER_ARENA], np.nan, np.float32)
        self.write(Slot.INFER_ARENA, arena)
        self.device.run(self.device.load(program), 0, len(program.commands))

    def logits(self, samples: F32, chunk: int) -> F32:
        images = len(samples)
        program = lower.inference(
            self.graph, self.t, images=images, chunk=chunk, weights=Slot.LEARNER
        )
        self._run_inference(program, images, samples)
        words = images * lower.logits_words(self.graph, self.t)
        return self.read(Slot.INFER_OUT, words).reshape(images, -1)[:, : self.graph.classes]

    def latents(self, samples: F32, chunk: int, cut: int) -> F32:
        """Rows for POOL: the output of layer `cut`."""
        images = len(samples)
        program = lower.latent(self.graph, self.t, images=images, chunk=chunk, cut=cut)
        self._run_inference(program, images, samples)
        words = program.need_words[Slot.INFER_OUT]
        return self.read(Slot.INFER_OUT, words).reshape(images, -1)


@dataclass
class Oracle:
    """PyTorch, doing the same steps."""

    graph: Graph
    plan: Plan
    params: Mapping[str, F32]
    rates: Rates = field(default_factory=lambda: GENTLE)
    class_weights: F32 | None = None

    def __post_init__(self) -> None:
        self.tensors = torch_graph.tensors(self.params)
        self.learning = {}
        for name, tensor in self.tensors.items():
            wanted = self.plan.trainable is None or name in self.plan.trainable
            if wanted and not name.rpartition(".")[2].startswith("running"):
                self.learning[name] = tensor.requires_grad_()
        self.optimizer = self._optimizer()

    def _optimizer(self) -> torch.optim.Optimizer:
        rates = {**DEFAULTS, Hyper.MOMENTUM: 0.0, Hyper.DECAY: 0.0, **self.rates}
        rate, momentum, decay = (rates[h] for h in (Hyper.RATE, Hyper.MOMENTUM, Hyper.DECAY))
        learning = list(self.learning.values())
        if self.plan.optimizer == "adam":
            betas = (momentum, rates[Hyper.BETA2])
            return torch.optim.Adam(
                learning, rate, betas, eps=rates[Hyper.EPSILON], weight_decay=decay
            )
        nesterov = self.plan.optimizer == "nesterov"
        return torch.optim.SGD(learning, rate, momentum, 0, decay, nesterov=nesterov)

    def mode(self, images: int, seed: int) -> torch_graph.Mode:
        keeps = {
            index: dropout_keep(seed, index, 0, (images, *layer.output_shape), layer.rate)
            for index, layer in enumerate(self.graph.layers)
            if layer.kind == "dropout"
        }
        share = self.rates.get(Hyper.BN_SHARE, DEFAULTS[Hyper.BN_SHARE])
        return torch_graph.Mode(not self.plan.frozen_norms, share, keeps)

    def step(self, samples: F32, labels: np.ndarray, seed: int = 0) -> float:
        """The mean loss, as PyTorch defines it."""
        x = torch_graph.normalised(self.graph, samples)
        logits = torch_graph.logits(self.graph, self.tensors, x, self.mode(len(samples), seed))
        weights = self.class_weights
        loss = torch.nn.functional.cross_entropy(
            logits,
            torch.tensor(labels),
            None if weights is None else torch.tensor(weights, dtype=torch.float64),
            label_smoothing=self.plan.smoothing,
        )
        self.optimizer.zero_grad()
        loss.backward()
        self.found = {n: t.grad.numpy().copy() for n, t in self.learning.items()}
        if self.plan.clip:
            clip = self.rates[Hyper.CLIP]
            torch.nn.utils.clip_grad_norm_(list(self.learning.values()), clip)
        self.optimizer.step()
        return float(loss.detach())

    def logits(self, samples: F32) -> np.ndarray:
        x = torch_graph.normalised(self.graph, samples)
        with torch.no_grad():
            mode = torch_graph.Mode()
            return torch_graph.logits(self.graph, self.tensors, x, mode).numpy()


def close(found: Mapping[str, F32], expected: Mapping[str, F32], share: float = 5e-5) -> None:
    """Each tensor to `share` of the largest value of all expected ones."""
    scale = max(float(np.abs(value).max()) for value in expected.values())
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, 0, share * scale + 1e-7, err_msg=name)


def train_both(
    device: HostDevice,
    graph: Graph,
    plan: Plan,
    *,
    steps: int,
    rates: Rates = GENTLE,
    class_weights: F32 | None = None,
    share: float = 5e-5,
) -> tuple[Rig, Oracle]:
    """Some steps on both; losses, predictions, gradients, weights and logits agree."""
    rng = np.random.default_rng(steps)
    data = Data.of(graph, 3 * plan.batch, rng)
    params = random_params(graph, rng)
    rig, oracle = Rig(device, graph, plan), Oracle(graph, plan, params, rates, class_weights)
    rig.set_params(params)
    rig.set_rates({**DEFAULTS, **rates})
    rig.fill_pool(pack_samples(data.samples, rig.t))
    for number in range(1, steps + 1):
        rows = rng.choice(len(data.samples), plan.batch, replace=False)
        labels = data.labels[rows]
        if class_weights is not None:
            rig.set_class_weights(class_weights, class_weights[labels].sum())
        if plan.optimizer == "adam":
            betas = (rates[Hyper.MOMENTUM], {**DEFAULTS, **rates}[Hyper.BETA2])
            corrections = (1 - beta**number for beta in betas)
            names = (Hyper.CORRECTION1, Hyper.CORRECTION2)
            rig.set_rates(dict(zip(names, corrections, strict=True)))
        rig.set_seed(number)
        losses, _ = rig.step(rows, labels)
        mean = oracle.step(data.samples[rows], labels, number)
        divisor = plan.batch if class_weights is None else class_weights[labels].sum()
        np.testing.assert_allclose(losses.sum() / divisor, mean, rtol=1e-4)
        gradients = rig.gradients()
        if expected := {n: value for n, value in oracle.found.items() if n in gradients}:
            close(gradients, expected, share)
    close(rig.params(), {n: t.detach().numpy() for n, t in oracle.tensors.items()}, share)
    logits = oracle.logits(data.samples[:5])
    close({"logits": rig.logits(data.samples[:5], 2)}, {"logits": logits}, 4 * share)
    untouched = params.keys() - oracle.learning.keys()
    for name in untouched:
        if not (name.rpartition(".")[2].startswith("running") and not plan.frozen_norms):
            np.testing.assert_array_equal(rig.params()[name], params[name], err_msg=name)
    return rig, oracle
