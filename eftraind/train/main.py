"""`eftraind train`: learns from an .npz file, shows how it goes, writes weights, curve and figures.

The same programs on the same device as the daemon's, so what was seen here is what happens there.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from safetensors.numpy import save_file

from eftraind import params as parameters
from eftraind.accel import open_device
from eftraind.clock import Clock
from eftraind.demo import data
from eftraind.demo.data import Dataset
from eftraind.demo.pretrain import load_network
from eftraind.engine import recipe
from eftraind.engine.offline import Course
from eftraind.errors import ConfigError
from eftraind.fsio import FileOps
from eftraind.graph import Graph
from eftraind.params import F32
from eftraind.store.weights import read_weights
from eftraind.train.options import Options, from_arguments
from eftraind.train.progress import Epoch, Progress

INTERRUPTED = 130


def run(given: argparse.Namespace) -> int:
    """The command line's entry; raises EftraindError for the command line to show."""
    return perform(from_arguments(given), sys.stdout, Clock())


def perform(options: Options, stream: TextIO, clock: Clock) -> int:
    """One whole run; the exit status. An interrupted one writes what the last whole epoch left."""
    draw = _curve() if options.plot is not None else None
    dataset = data.load(options.data)
    graph = load_network(options.network, dataset)
    course = _course(options, graph, dataset)
    epochs: list[Epoch] = []
    weights: dict[str, F32] = {}
    status = 0
    with Progress(stream, options.epochs, course.steps_per_epoch) as progress:
        progress.say(_heading(options, graph, dataset, course))
        try:
            for number in range(options.epochs):
                epochs.append(_epoch(course, dataset, number, progress, clock))
                weights = course.weights()
                progress.epoch(epochs[-1])
        except KeyboardInterrupt:
            progress.say(f"interrupted in epoch {len(epochs) + 1}")
            status = INTERRUPTED
    if epochs:
        _write(options, graph, weights, epochs, stream)
        if draw is not None:
            draw(options.plot, f"{graph.name} on {dataset.name}", epochs)
            stream.write(f"picture: {options.plot}\n")
    return status


def _curve() -> Callable[..., None]:
    try:
        curve: Any = import_module("eftraind.train.curve")
    except ImportError as error:
        raise ConfigError(
            f"--plot needs matplotlib: {error}", remedy="pip install 'eftraind[demo]'"
        ) from error
    draw: Callable[..., None] = curve.draw
    return draw


def _course(options: Options, graph: Graph, dataset: Dataset) -> Course:
    rng = np.random.default_rng(options.seed)
    if options.weights is None:
        start = parameters.initial(graph, rng)
    else:
        start = read_weights(FileOps(), options.weights)
        parameters.check(graph, start)
    return Course(
        open_device(options.device, options.threads),
        graph,
        recipe.plan_for(graph, options.train, options.chunk),
        dataset.x_train,
        dataset.y_train,
        start=start,
        rates=recipe.rates_of(options.train),
        rng=rng,
        seed=options.seed,
        class_weights=options.train.class_weights,
    )


def _heading(options: Options, graph: Graph, dataset: Dataset, course: Course) -> str:
    train, device = options.train, course.capabilities
    return (
        f"{graph.name} on {len(dataset.x_train)} images of {dataset.name}: {train.optimizer}, "
        f"batch {train.batch}, rate {train.learning_rate:g}, seed {options.seed}; "
        f"{device.name} ({device.detail}, {device.threads} threads), "
        f"{course.need.total_bytes / 1e6:.0f} MB"
    )


def _epoch(
    course: Course, dataset: Dataset, number: int, progress: Progress, clock: Clock
) -> Epoch:
    began_s = clock.monotonic_s()
    steps = []
    for step, (loss, right) in enumerate(course.epoch()):
        steps.append((loss, right))
        progress.step(number, step, loss, right)
    seconds = clock.monotonic_s() - began_s
    loss, right = (float(value) for value in np.mean(steps, axis=0))
    test = float((course.predict(dataset.x_test) == dataset.y_test).mean())
    images = course.batch * len(steps)
    return Epoch(number + 1, loss, right, test, seconds, images / max(seconds, 1e-9))


def _write(
    options: Options, graph: Graph, weights: dict[str, F32], epochs: list[Epoch], stream: TextIO
) -> None:
    digest = parameters.weights_hash(weights).hex()
    if options.output is not None:
        tensors = {name: np.ascontiguousarray(value) for name, value in weights.items()}
        save_file(tensors, options.output, metadata={"network": graph.name})
        stream.write(f"weights: {options.output} ({digest})\n")
    if options.json is not None:
        plain = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(options).items()}
        facts = {
            "options": plain,
            "network": graph.name,
            "weights_hash": digest,
            "epochs": [asdict(epoch) for epoch in epochs],
        }
        options.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        stream.write(f"figures: {options.json}\n")
