"""The same network twice: as programs on one of our devices, and as a PyTorch module in float64.

float64 makes PyTorch the exact answer: what differs is our rounding alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eftraind.accel.host import HostDevice
from eftraind.graph import Graph
from eftraind.isa import Slot
from eftraind.plan import lower
from eftraind.plan.bank import BankLayout
from eftraind.plan.draft import ConstsLayout
from eftraind.plan.reshape import pack_samples, pack_vector
from eftraind.plan.tiles import input_lanes

F32 = npt.NDArray[np.float32]


class Ours:
    """Training and inference programs of one network on a device."""

    def __init__(
        self,
        device: HostDevice,
        graph: Graph,
        samples: npt.NDArray[Any],
        *,
        batch: int,
        chunk: int,
        rates: tuple[float, float, float],
    ) -> None:
        self.device, self.graph, self.batch, self.chunk = device, graph, batch, chunk
        self.t = device.capabilities.lanes
        self.bank = BankLayout.of(graph, self.t)
        train = lower.training(graph, self.t, lower.Plan(batch, chunk))
        infer = lower.inference(graph, self.t, images=batch, chunk=chunk)
        pool = pack_samples(samples, self.t)
        needs = {**infer.need_words, **train.need_words}
        needs[Slot.CONSTS] = ConstsLayout.of(graph, self.t).size_words
        for slot, words in needs.items():
            fits = max(words, pool.size) if slot in (Slot.POOL, Slot.INFER_IN) else words
            device.bind(slot, device.allocate(fits))
        for slot in (Slot.POOL, Slot.INFER_IN):
            self._write(slot, pool)
        self._write(Slot.CONSTS, self._constants(rates))
        self.train, self.train_count = device.load(train), len(train.commands)
        self.infer, self.infer_count = device.load(infer), len(infer.commands)

    def _write(self, slot: Slot, data: npt.NDArray[Any]) -> None:
        self.device.write(self.device.bound(slot), data)

    def _constants(self, rates: tuple[float, float, float]) -> F32:
        spec = self.graph.input
        lanes = input_lanes(spec.shape[2], self.t)
        std = np.asarray(spec.std, dtype=np.float32)
        scale = np.float32(spec.scale) / std
        shift = -np.asarray(spec.mean, dtype=np.float32) / std
        parts = [pack_vector(vector, self.t, lanes) for vector in (scale, shift)]
        layout = ConstsLayout.of(self.graph, self.t)
        words = np.zeros(layout.size_words, dtype=np.float32)
        words[: layout.hypers] = np.concatenate(parts)
        words[layout.hypers : layout.hypers + 3] = rates
        return words

    def set_weights(self, tensors: Mapping[str, F32]) -> None:
        for slot in (Slot.LEARNER, Slot.SERVING):
            self._write(slot, self.bank.pack(tensors))

    def weights(self, slot: Slot = Slot.LEARNER) -> dict[str, F32]:
        words = self.device.read(self.device.bound(slot), 0, self.bank.size_words)
        return self.bank.unpack(words)

    def step(self, index: npt.NDArray[Any], labels: npt.NDArray[Any]) -> F32:
        """One step of SGD; returns the loss of each image."""
        self._write(Slot.TRAIN_BATCH, np.concatenate([index, labels]).astype(np.int32))
        self.device.run(self.train, 0, self.train_count)
        out = self.device.read(self.device.bound(Slot.TRAIN_OUT), 0, 2 * self.batch)
        starts = range(0, self.batch, self.chunk)
        sizes = [min(self.chunk, self.batch - start) for start in starts]
        parts = [out[2 * s : 2 * s + n] for s, n in zip(starts, sizes, strict=True)]
        return np.concatenate(parts)

    def logits(self, index: npt.NDArray[Any]) -> F32:
        self._write(Slot.INFER_BATCH, index.astype(np.int32))
        self.device.run(self.infer, 0, self.infer_count)
        words = lower.logits_words(self.graph, self.t)
        out = self.device.read(self.device.bound(Slot.INFER_OUT), 0, self.batch * words)
        return np.asarray(out.reshape(self.batch, words)[:, : self.graph.classes])


class Torch:
    """The network as PyTorch's own layers."""

    def __init__(
        self,
        graph: Graph,
        samples: npt.NDArray[Any],
        rates: tuple[float, float, float],
        dtype: torch.dtype = torch.float64,
    ) -> None:
        torch.set_num_threads(1)  # its threads spin, and the machine may be busy
        self.graph, self.dtype = graph, dtype
        self.modules: dict[str, Any] = {}
        layers: list[Any] = []
        for layer in graph.layers:
            module = self._module(layer)
            self.modules[layer.name] = module
            layers += [nn.Flatten(), module] if layer.kind == "linear" else [module]
            layers += [nn.ReLU()] if layer.activation else []
        self.model = nn.Sequential(*layers).to(dtype)
        spec = graph.input
        x = torch.tensor(samples, dtype=dtype).permute(0, 3, 1, 2) * spec.scale
        mean = torch.tensor(spec.mean, dtype=dtype)[:, None, None]
        self.samples = (x - mean) / torch.tensor(spec.std, dtype=dtype)[:, None, None]
        rate, momentum, decay = rates
        parameters = self.model.parameters()
        self.optimizer = torch.optim.SGD(parameters, rate, momentum, weight_decay=decay)

    @staticmethod
    def _module(layer: Any) -> Any:
        if layer.kind == "conv":
            channels = (layer.input_shape[0], layer.output_shape[0])
            return nn.Conv2d(*channels, layer.kernel, layer.stride, layer.padding, bias=layer.bias)
        if layer.kind == "maxpool":
            return nn.MaxPool2d(layer.kernel, layer.stride, layer.padding)
        features = int(np.prod(layer.input_shape))
        return nn.Linear(features, layer.output_shape[0], bias=layer.bias)

    def set_weights(self, tensors: Mapping[str, F32]) -> None:
        with torch.no_grad():
            for name, value in tensors.items():
                layer, _, kind = name.rpartition(".")
                getattr(self.modules[layer], kind).copy_(torch.tensor(value))

    def tensors(self, *, gradients: bool = False) -> dict[str, npt.NDArray[Any]]:
        out = {}
        for name, module in self.modules.items():
            for kind, value in module.named_parameters():
                shown = value.grad if gradients else value
                out[f"{name}.{kind}"] = shown.detach().numpy().copy()
        return out

    def step(self, index: npt.NDArray[Any], labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        self.optimizer.zero_grad()
        logits = self.model(self.samples[torch.tensor(index)])
        target = torch.tensor(labels, dtype=torch.int64)
        losses = nn.functional.cross_entropy(logits, target, reduction="none")
        losses.mean().backward()
        self.optimizer.step()
        return np.asarray(losses.detach().numpy())

    def logits(self, index: npt.NDArray[Any]) -> npt.NDArray[Any]:
        with torch.inference_mode():
            return np.asarray(self.model(self.samples[torch.tensor(index)]).numpy())


def distance(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Largest difference over the largest value, of the worst tensor."""
    assert ours.keys() == theirs.keys()
    return max(
        float(np.abs(ours[name] - theirs[name]).max() / (np.abs(theirs[name]).max() + 1e-12))
        for name in ours
    )
