"""Our device and PyTorch side by side: each in a process of its own, taking turns.

Turns are short, so that a change of the machine's speed meets both; whoever waits sleeps. Figures
are medians over all turns. The network and the batch are the same, as are the threads.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from eftraind import networks, params
from eftraind.accel.cpu import CpuDevice
from eftraind.graph import Graph
from eftraind.isa import Op, Program, Slot
from eftraind.plan import lower
from eftraind.plan.bank import BankLayout

RATES = (1e-3, 0.9, 1e-4)
"""Learning rate, momentum, weight decay: small, as the images are noise."""
FORMATS = ("contiguous_format", "channels_last")

Step = Callable[[], Any]


class Ours:
    """A program of the network on the cpu device, with its buffers filled."""

    def __init__(self, graph: Graph, make: Callable[[int], Program], threads: int) -> None:
        self.device = CpuDevice(threads=threads)
        t = self.device.capabilities.lanes
        self.program = make(t)
        rng = np.random.default_rng(0)
        bank = BankLayout.of(graph, t).pack(params.initial(graph, rng))
        for slot, words in self.program.need_words.items():
            samples = slot in (Slot.POOL, Slot.INFER_IN)
            # Samples: as many as the widest batch, whatever one sample takes.
            self.device.bind(slot, self.device.allocate(words * 256 if samples else words))
            if slot in (Slot.LEARNER, Slot.SERVING):
                self.device.write(self.device.bound(slot), bank)
            elif samples:
                noise = rng.integers(0, 2**32, words * 256, dtype=np.uint32)
                self.device.write(self.device.bound(slot), noise)
        self._fill(graph, t)
        self.handle = self.device.load(self.program)

    def _fill(self, graph: Graph, t: int) -> None:
        images = sum(c.images for c in self.program.commands if c.op is Op.LOAD)
        lanes = lower.ConstsLayout.of(graph, t).lanes
        consts = np.full(2 * lanes, 1 / 64, dtype=np.float32)
        consts[lanes:] = -2
        batch = np.arange(images, dtype=np.int32)
        if Slot.TRAIN_BATCH in self.program.need_words:
            consts = np.concatenate([consts, np.array(RATES, dtype=np.float32)])
            batch = np.concatenate([batch, batch % graph.classes])
            self.device.write(self.device.bound(Slot.TRAIN_BATCH), batch)
        else:
            self.device.write(self.device.bound(Slot.INFER_BATCH), batch)
        self.device.write(self.device.bound(Slot.CONSTS), consts)

    def step(self) -> Any:
        return self.device.run(self.handle, 0, len(self.program.commands))


def torch_model(graph: Graph, memory_format: str) -> Any:
    """The same network as a torch module."""
    import torch
    from torch import nn

    layers: list[Any] = []
    for layer in graph.layers:
        if layer.kind == "conv":
            shape = (layer.input_shape[0], layer.output_shape[0], layer.kernel)
            layers.append(nn.Conv2d(*shape, layer.stride, layer.padding, bias=layer.bias))
        elif layer.kind == "maxpool":
            layers.append(nn.MaxPool2d(layer.kernel, layer.stride, layer.padding))
        else:
            features = int(np.prod(layer.input_shape))
            linear = nn.Linear(features, layer.output_shape[0], bias=layer.bias)
            layers += [nn.Flatten(), linear]
        if layer.relu:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers).to(memory_format=getattr(torch, memory_format))


def torch_input(graph: Graph, batch: int, memory_format: str) -> Any:
    import torch

    rows, cols, channels = graph.input.shape
    x = torch.randn(batch, channels, rows, cols)
    return x.to(memory_format=getattr(torch, memory_format))


def torch_training(graph: Graph, batch: int, threads: int, memory_format: str) -> Step:
    import torch

    torch.set_num_threads(threads)
    model = torch_model(graph, memory_format)
    x = torch_input(graph, batch, memory_format)
    labels = torch.arange(batch) % graph.classes
    rate, momentum, decay = RATES
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum, weight_decay=decay)
    loss = torch.nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss(model(x), labels).backward()
        optimizer.step()

    return step


def torch_inference(graph: Graph, batch: int, threads: int, memory_format: str) -> Step:
    import torch

    torch.set_num_threads(threads)
    model = torch_model(graph, memory_format).eval()
    x = torch_input(graph, batch, memory_format)

    def step() -> None:
        with torch.inference_mode():
            model(x)

    return step


def our_training(graph: Graph, batch: int, threads: int, chunk: int) -> Step:
    def make(t: int) -> Program:
        return lower.training(graph, t, batch=batch, chunk=min(chunk, batch))

    return Ours(graph, make, threads).step


def our_inference(graph: Graph, batch: int, threads: int, chunk: int) -> Step:
    def make(t: int) -> Program:
        return lower.inference(graph, t, images=batch, chunk=min(chunk, batch))

    return Ours(graph, make, threads).step


MAKERS = {
    ("ours", "train"): our_training,
    ("ours", "infer"): our_inference,
    ("torch", "train"): torch_training,
    ("torch", "infer"): torch_inference,
}


def _serve(pipe: Connection, side: str, what: str, network: str, arguments: Sequence[Any]) -> None:
    """A child: for each number received, times so many steps and sends the seconds of each."""
    step = MAKERS[side, what](networks.load(network), *arguments)
    for _ in range(3):
        step()
    pipe.send("ready")
    while count := pipe.recv():
        # What slept is cold: a few steps before the clock starts.
        for _ in range(min(3, count)):
            step()
        seconds = []
        for _ in range(count):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        pipe.send(seconds)


def take_turns(
    what: str, network: str, batch: int, threads: int, *, chunk: int, turns: int, turn_s: float
) -> dict[str, list[float]]:
    """Seconds of every step of "ours" and of PyTorch in each memory format."""
    context = multiprocessing.get_context("spawn")
    sides: dict[str, tuple[str, tuple[Any, ...]]] = {"ours": ("ours", (batch, threads, chunk))}
    sides |= {form: ("torch", (batch, threads, form)) for form in FORMATS}
    pipes, children = {}, []
    for name, (side, arguments) in sides.items():
        pipes[name], theirs = context.Pipe()
        child = context.Process(target=_serve, args=(theirs, side, what, network, arguments))
        child.start()
        children.append(child)
        pipes[name].recv()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    count = dict.fromkeys(sides, 2)
    for _ in range(turns):
        for name, pipe in pipes.items():
            pipe.send(count[name])
            seconds[name] += pipe.recv()
            count[name] = max(1, round(turn_s / statistics.median(seconds[name])))
    for pipe in pipes.values():
        pipe.send(0)
    for child in children:
        child.join()
    return seconds


def row(network: str, batch: int, threads: int, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Throughputs at the median and at the quickest step, against the better torch format."""
    median = {name: statistics.median(values) for name, values in seconds.items()}
    least = {name: min(values) for name, values in seconds.items()}
    torch_s = min(median[form] for form in FORMATS)
    return {
        "network": network,
        "batch": batch,
        "threads": threads,
        "ours_img_s": round(batch / median["ours"], 1),
        "torch_img_s": round(batch / torch_s, 1),
        "ratio": round(torch_s / median["ours"], 2),
        "torch_format": min(FORMATS, key=lambda form: median[form]),
        "ratio_of_quickest": round(min(least[form] for form in FORMATS) / least["ours"], 2),
    }


def shares(network: str, batch: int, threads: int, chunk: int, runs: int) -> list[dict[str, Any]]:
    """Each layer and phase: microseconds of a training step, and share of the FMA peak."""
    graph = networks.load(network)

    def make(t: int) -> Program:
        return lower.training(graph, t, batch=batch, chunk=min(chunk, batch))

    ours = Ours(graph, make, threads)
    peaks, times = [], []
    for _ in range(runs):
        peaks.append(ours.device.peak_gflops() * threads)
        times.append(ours.step())
    nanoseconds, peak = np.median(times, axis=0), statistics.median(peaks)
    out: dict[tuple[str, str], dict[str, Any]] = {}
    for command, taken in zip(ours.program.commands, nanoseconds, strict=True):
        name = ours.program.layer_names[command.layer] if command.rows_in else ""
        entry = out.setdefault((command.op.name, name), {"ns": 0.0, "operations": 0})
        entry["ns"] += float(taken)
        if command.op in (Op.CONV_FP, Op.CONV_BP, Op.CONV_WU):
            c = command
            taps = c.kernel_rows * c.kernel_cols * c.rows_out * c.cols_out
            entry["operations"] += 2 * c.images * c.m * c.n * taps
    ours.device.close()
    return [
        {
            "command": op,
            "layer": layer,
            "us": round(entry["ns"] / 1e3, 1),
            "gflops": round(entry["operations"] / entry["ns"], 1),
            "peak_share": round(entry["operations"] / entry["ns"] / peak, 3),
        }
        for (op, layer), entry in out.items()
    ]
