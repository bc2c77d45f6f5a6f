"""Builds the engine from its configuration and from what is on disk: weights first, then the rest.

The newest good checkpoint serves; the golden model is pinned at the first start. A state
directory of another network is refused. Opens no sockets.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from eftraind import params as parameters
from eftraind.accel import open_configured, open_device
from eftraind.accel.device import Device
from eftraind.clock import Clock
from eftraind.config import Config
from eftraind.engine import recipe
from eftraind.engine.banks import Banks, describe
from eftraind.engine.core import Engine
from eftraind.engine.executor import Executor
from eftraind.engine.gate import Gate, Rules
from eftraind.engine.intake import Intake
from eftraind.engine.promote import Emit, Promoter
from eftraind.engine.publish import Publisher
from eftraind.engine.settle import memory_limit, recent_rows, settled
from eftraind.engine.trainer import Trainer
from eftraind.errors import (
    CheckpointDamaged,
    ConfigError,
    DeviceUnavailable,
    NoCheckpoint,
    StorageError,
    WeightsError,
)
from eftraind.fsio import FileOps
from eftraind.graph import Graph
from eftraind.metrics import Metrics
from eftraind.params import F32
from eftraind.store.checkpoint import CheckpointStore, Generation
from eftraind.store.pending import Pending
from eftraind.store.replay import Replay
from eftraind.store.weights import read_weights

log = logging.getLogger(__name__)

GOLDEN = "golden"


def first_weights(config: Config, graph: Graph, ops: FileOps) -> dict[str, F32]:
    """The configured file, or seeded initial weights. Raises ConfigError for an unusable file."""
    if config.model.weights is None:
        return parameters.initial(graph, np.random.default_rng(config.model.seed))
    try:
        tensors = read_weights(ops, Path(config.model.weights))
        parameters.check(graph, tensors)
    except (StorageError, WeightsError) as error:
        raise ConfigError(
            f"model.weights: {error.message}",
            remedy="give a safetensors file of this network, or null to start untrained",
        ) from error
    return tensors


def _golden(config: Config, graph: Graph, store: CheckpointStore, ops: FileOps) -> Generation:
    """The pinned generation; made from the first weights where there is none."""
    number = (store.pins() or {}).get(GOLDEN)
    if number is not None:
        generation = store.generation(number)
        if generation.about.get("network_digest") != graph.digest:
            raise ConfigError(
                f"{config.state_dir} holds weights of network {generation.about.get('network')}, "
                f"model.network is {graph.name} or has changed",
                remedy="use another state_dir, or restore model.network",
            )
        return generation
    weights = describe(1, tensors := first_weights(config, graph, ops))
    about = {
        "network": graph.name,
        "network_digest": graph.digest,
        "version": weights.version,
        "weights_hash": weights.hash.hex(),
        "parent": None,
        "reason": "first start",
        "journal_seq": 0,
        "samples": 0,
    }
    generation = store.publish(tensors, about)
    store.pin(generation.number, GOLDEN)
    return generation


def _boot_weights(
    config: Config, graph: Graph, store: CheckpointStore, ops: FileOps, emit: Emit
) -> tuple[tuple[dict[str, F32], int], tuple[dict[str, F32], int], int]:
    """(golden, its version), (serving, its version), and the last journal record learnt from."""

    def check(tensors: Any) -> None:
        parameters.check(graph, tensors)

    try:
        generation = _golden(config, graph, store, ops)
        golden = store.load(generation)
        golden_version = int(generation.about["version"])
    except (CheckpointDamaged, NoCheckpoint) as error:
        emit("alarm", {"code": error.code, "message": f"golden weights lost: {error}"})
        newest = store.newest(check)
        golden, golden_version = store.load(newest), int(newest.about["version"])
        store.pin(newest.number, GOLDEN)
    newest = store.newest(check)
    serving = store.load(newest)
    serving_pair = (serving, int(newest.about["version"]))
    return (golden, golden_version), serving_pair, int(newest.about["journal_seq"])


def _replay(config: Config, graph: Graph, batch: int) -> Replay:
    return Replay(
        policy=config.replay.policy,
        capacity=config.replay.capacity,
        recent=recent_rows(batch),
        classes=graph.classes,
        rng=np.random.default_rng(config.replay.seed),
    )


def _device(config: Config, metrics: Metrics, clock: Clock, emit: Emit) -> Device:
    """The configured device, or the cpu in its place if the configuration allows that."""
    fallback = metrics.gauge("device_fallback")
    fallback.set(0)
    try:
        return open_configured(config.device, Path(config.state_dir) / "device", clock)
    except (DeviceUnavailable, ConfigError) as error:
        if config.device.fallback == "none" or config.device.kind == "cpu":
            raise
        log.error("the cpu stands in for device %s: %s", config.device.kind, error)
        emit("alarm", {"code": "device_fallback", "message": str(error)})
        fallback.set(1)
        return open_device(config.device.fallback, config.device.threads)


def boot(
    config: Config,
    *,
    metrics: Metrics,
    clock: Clock,
    emit: Emit,
    ops: FileOps,
    graph: Graph,
    progress: Callable[[], None] = lambda: None,
) -> Engine:
    """An engine ready to work; `progress` hears of each stage done, which may take as long as a
    slow card or board does. Raises EftraindError with cause and remedy."""
    store = CheckpointStore(
        Path(config.state_dir) / "checkpoints", keep=config.checkpoint.keep, ops=ops, clock=clock
    )
    (golden, golden_version), (serving, version), learnt_seq = _boot_weights(
        config, graph, store, ops, emit
    )
    progress()
    device = _device(config, metrics, clock, emit)
    progress()
    predictor, choice = settled(config, graph, device)
    progress()
    replay = _replay(config, graph, choice.plan.batch)
    executor = Executor(
        device,
        graph,
        metrics,
        plan=choice.plan,
        pool_rows=replay.rows,
        slice_s=config.device.slice_s,
        predictor=predictor,
        seed=config.replay.seed,
        class_weights=config.train.class_weights,
        memory_bytes=memory_limit(config, device),
    )
    progress()
    banks = Banks(
        executor, golden=golden, golden_version=golden_version, serving=serving, version=version
    )
    rules = {
        name: value for name, value in asdict(config.gate).items() if name != "candidate_steps"
    }
    trainer = Trainer(
        executor,
        replay,
        config.train,
        metrics,
        steps_per_sample=recipe.steps_per_sample(config.train, choice.step_s),
    )
    gate = Gate(Rules(**rules), graph.classes)
    facts = {"t": executor.t, "chunk": executor.training.chunk, "replay_seed": config.replay.seed}
    engine = Engine(
        config=config,
        executor=executor,
        banks=banks,
        gate=gate,
        intake=Intake(
            pack=executor.pack,
            pending=Pending(config.replay.pending_capacity, executor.row_words),
            metrics=metrics,
        ),
        trainer=trainer,
        promoter=Promoter(
            banks=banks,
            gate=gate,
            trainer=trainer,
            publisher=Publisher(store, graph, metrics, clock, facts),
            metrics=metrics,
            emit=emit,
            candidate_steps=config.gate.candidate_steps,
            journal_seq=lambda: engine.consumed_seq,
        ),
        metrics=metrics,
        clock=clock,
        emit=emit,
        learnt_seq=learnt_seq,
    )
    return engine
