"""Our device and PyTorch side by side: each in a process of its own, taking turns.

Turns are short, so that a change of the machine's speed meets both; whoever waits sleeps. Figures
are medians over all turns. The network and the batch are the same, as are the threads.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from eftraind import networks, params
from eftraind.accel.cpu import CpuDevice
from eftraind.graph import Graph
from eftraind.isa import Hyper, Op, Program, Slot
from eftraind.plan import lower
from eftraind.plan.bank import BankLayout
from eftraind.plan.draft import ConstsLayout
from eftraind.plan.tiles import macs

RATES = (1e-9, 0.9, 1e-4)
"""Learning rate, momentum, weight decay. The weights stay where they are: a loss that vanishes on
images met a thousand times leaves subnormal numbers, which ours flushes and PyTorch does not."""
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
        needs = {**self.program.need_words, Slot.CONSTS: ConstsLayout.of(graph, t).size_words}
        for slot, words in needs.items():
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
        layout = ConstsLayout.of(graph, t)
        consts = np.zeros(layout.size_words, dtype=np.float32)
        consts[: layout.lanes], consts[layout.lanes : 2 * layout.lanes] = 1 / 64, -2
        batch = np.arange(images, dtype=np.int32)
        if Slot.TRAIN_BATCH in self.program.need_words:
            consts[layout.hypers : layout.hypers + 3] = RATES
            consts[layout.hypers + Hyper.BN_SHARE] = 0.1
            batch = np.concatenate([batch, batch % graph.classes])
            self.device.write(self.device.bound(Slot.TRAIN_BATCH), batch)
        else:
            self.device.write(self.device.bound(Slot.INFER_BATCH), batch)
        self.device.write(self.device.bound(Slot.CONSTS), consts)

    def step(self) -> Any:
        return self.device.run(self.handle, 0, len(self.program.commands))


def torch_training(graph: Graph, batch: int, threads: int, form: str) -> Step:
    import _torch_side

    return _torch_side.training(graph, batch, threads, form, RATES)


def torch_inference(graph: Graph, batch: int, threads: int, form: str) -> Step:
    import _torch_side

    return _torch_side.inference(graph, batch, threads, form)


def our_training(graph: Graph, batch: int, threads: int, chunk: int) -> Step:
    plan = lower.Plan(batch, min(chunk, batch))
    return Ours(graph, lambda t: lower.training(graph, t, plan), threads).step


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


def arguments(
    text: str | None, *, batches: Sequence[int], turn_s: float
) -> argparse.ArgumentParser:
    """The command line of a comparison."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--network", default="cifar1x")
    parser.add_argument("--batch", type=int, nargs="+", default=list(batches))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--chunk", type=int, default=8, help="images that pass the layers together")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--turn-s", type=float, default=turn_s)
    parser.add_argument("--compile", action="store_true", help="torch.compile, too")
    parser.add_argument("--json", type=Path)
    return parser


def forms_of(options: argparse.Namespace) -> tuple[str, ...]:
    """PyTorch's memory formats to compare with, and its compiler where asked for."""
    return (*FORMATS, "compiled") if options.compile else FORMATS


def measure(what: str, batch: int, options: argparse.Namespace) -> dict[str, list[float]]:
    return take_turns(
        what,
        options.network,
        batch,
        options.threads,
        chunk=options.chunk,
        turns=options.turns,
        turn_s=options.turn_s,
        forms=forms_of(options),
    )


def take_turns(
    what: str,
    network: str,
    batch: int,
    threads: int,
    *,
    chunk: int,
    turns: int,
    turn_s: float,
    forms: Sequence[str] = FORMATS,
) -> dict[str, list[float]]:
    """Seconds of every step of "ours" and of PyTorch in each memory format."""
    context = multiprocessing.get_context("spawn")
    sides: dict[str, tuple[str, tuple[Any, ...]]] = {"ours": ("ours", (batch, threads, chunk))}
    sides |= {form: ("torch", (batch, threads, form)) for form in forms}
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
    forms = [name for name in seconds if name != "ours"]
    torch_s = min(median[form] for form in forms)
    return {
        "network": network,
        "batch": batch,
        "threads": threads,
        "ours_img_s": round(batch / median["ours"], 1),
        "torch_img_s": round(batch / torch_s, 1),
        "ratio": round(torch_s / median["ours"], 2),
        "torch_format": min(forms, key=lambda form: median[form]),
        "ratio_of_quickest": round(min(least[form] for form in forms) / least["ours"], 2),
    }


def shares(network: str, batch: int, threads: int, chunk: int, runs: int) -> list[dict[str, Any]]:
    """Each layer and phase: microseconds of a training step, and share of the FMA peak."""
    graph = networks.load(network)

    plan = lower.Plan(batch, min(chunk, batch))
    ours = Ours(graph, lambda t: lower.training(graph, t, plan), threads)
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
        entry["operations"] += 2 * macs(command)
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
