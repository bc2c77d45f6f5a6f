"""Settles what the configuration leaves open, before the executor allocates anything.

Owns the order: a predictor of the device's times, and by it batch and chunk.

A device without a clock of ours is measured on a second, scratch instance, which is closed again.
"""

from contextlib import closing
from dataclasses import replace

from eftraind.accel import open_scratch
from eftraind.accel.device import Device
from eftraind.config import Config
from eftraind.engine import calibrate
from eftraind.engine.executor import check_operations
from eftraind.engine.recipe import plan_for
from eftraind.graph import Graph
from eftraind.plan import lower
from eftraind.plan.choice import Choice, Limits, choose
from eftraind.plan.predict import Predictor

FEWEST_RECENT = 256


def recent_rows(batch: int) -> int:
    """Rows of replay for the newest samples."""
    return max(FEWEST_RECENT, 4 * batch)


def memory_limit(config: Config, device: Device) -> int:
    """Bytes that all buffers may take together: the configuration's or the device's, the smaller;
    0 is none."""
    limits = (config.device.memory_bytes, device.capabilities.memory_bytes)
    return min((limit for limit in limits if limit), default=0)


def settled(config: Config, graph: Graph, device: Device) -> tuple[Predictor, Choice]:
    """Raises GraphError for a layer that the device cannot run, ConfigError for a bad plan."""
    t = device.capabilities.lanes
    wanted = plan_for(graph, config.train, config.device.chunk)
    # On a processor a step of its own is as fast; the kernel saves a way to memory and back.
    wanted = replace(wanted, fuse=device.capabilities.build is not None)
    program = lower.training(graph, t, replace(wanted, chunk=1))
    check_operations(device, graph, program)
    build = device.capabilities.build
    if build is not None and device.capabilities.clocked:
        predictor = calibrate.clocked(build)
    else:
        with closing(open_scratch(config.device)) as scratch:
            predictor = calibrate.predictor_for(scratch, program, build)
    limits = Limits(
        config.device.slice_s,
        memory_limit(config, device),
        lambda batch: config.replay.capacity + recent_rows(batch),
    )
    choice = choose(
        graph, t, wanted, predictor, limits,
        batch=config.train.batch is None, chunk=config.device.chunk is None,
    )  # fmt: skip
    return predictor, choice
