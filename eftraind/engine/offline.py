"""Training on arrays already at hand, with the daemon's own device and programs. No daemon, no
gate.

Used to make the first weights of a demo or a robot; the same steps run later on the stream.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from eftraind import params as parameters
from eftraind.accel.device import Device
from eftraind.engine.executor import Executor
from eftraind.errors import ConfigError
from eftraind.graph import Graph
from eftraind.isa import Hyper, Slot
from eftraind.metrics import Metrics
from eftraind.params import F32, Params
from eftraind.plan.lower import Plan

LONG_SLICE_S = 10.0
CHUNK = 8


def executor_for(
    device: Device, graph: Graph, *, batch: int = 1, pool_rows: int = 1, chunk: int = CHUNK
) -> Executor:
    """An executor with nothing else to wait for: slices as long as they like."""
    return Executor(
        device,
        graph,
        Metrics(owner="engine"),
        plan=Plan(batch, min(chunk, batch)),
        pool_rows=pool_rows,
        slice_s=LONG_SLICE_S,
    )


def fit(
    graph: Graph,
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    *,
    epochs: int,
    batch: int,
    learning_rate: float,
    momentum: float,
    seed: int,
    device: Device,
    weight_decay: float = 0.0,
    start: Params | None = None,
) -> dict[str, F32]:
    """Weights after `epochs` passes over x [count, rows, cols, channels] with labels y [count].

    Seeded: initial weights (unless `start` is given) and the order of samples. The last, smaller
    batch of an epoch is left out. Raises ConfigError if there are fewer samples than a batch,
    NonFiniteError if training diverges.
    """
    if len(x) < batch:
        raise ConfigError(
            f"{len(x)} samples are less than one batch of {batch}",
            remedy="give more samples or a smaller batch",
        )
    rng = np.random.default_rng(seed)
    initial = parameters.initial(graph, rng) if start is None else start
    executor = executor_for(device, graph, batch=batch, pool_rows=len(x))
    executor.write_pool(np.arange(len(x)), executor.pack(x))
    executor.write_bank(Slot.LEARNER, initial)
    executor.clear_momentum()
    executor.set_rates(
        {Hyper.RATE: learning_rate, Hyper.MOMENTUM: momentum, Hyper.DECAY: weight_decay}
    )
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for first in range(0, len(x) - batch + 1, batch):
            rows = order[first : first + batch]
            executor.begin_step(rows, y[rows].astype(np.int64))
            while not executor.run_slice():
                pass
    return executor.read_bank(Slot.LEARNER)


def predict(
    graph: Graph, params: Params, x: npt.NDArray[Any], *, device: Device
) -> npt.NDArray[np.int64]:
    """Class of each sample of x [count, rows, cols, channels] by these weights."""
    parameters.check(graph, params)
    executor = executor_for(device, graph)
    executor.write_bank(Slot.SERVING, params)
    logits = executor.infer(executor.pack(x), [Slot.SERVING], "offline")[0]
    classes: npt.NDArray[np.int64] = logits.argmax(axis=1)
    return classes
