"""`eftraind memory`: what a network needs of a device, from its programs alone. Runs nothing."""

import argparse
import json

from eftraind import networks
from eftraind.engine.recipe import plan_for
from eftraind.errors import ConfigError
from eftraind.plan import lower, memory
from eftraind.plan.memory import Need, mb
from eftraind.train.options import recipe_of


def table(given: argparse.Namespace) -> str:
    """What the command prints. Raises EftraindError."""
    if given.t not in (1, 2, 4, 8, 16, 32) or given.chunk < 1 or given.replay < 0:
        raise ConfigError(
            "--t, --chunk or --replay is impossible",
            remedy="T is 4, 8, 16 or 32, --chunk at least 1, --replay at least 0",
        )
    graph = networks.load(given.network)
    plan = plan_for(graph, recipe_of(given, latent=given.latent), given.chunk)
    program = lower.training(graph, given.t, plan)
    need = memory.need(graph, given.t, plan, program, pool_rows=given.replay)
    if given.json:
        return json.dumps(need.parts_bytes() | {"total": need.total_bytes})
    title = f"{graph.name}, batch {plan.batch}, chunk {plan.chunk}, T = {given.t}"
    return "\n".join([title, *_rows(need, given.replay)])


def _rows(need: Need, kept: int) -> list[str]:
    notes = {
        "training arena": "activations, losses and scratch of one step",
        "weights": "five banks: learner, candidate, serving, previous, golden",
        "replay": f"{kept} samples",
        "inference": f"{need.infer_chunk} images through the layers together",
    }
    rows = [
        f"  {part:<16}{mb(size):>12}  {notes.get(part, '')}".rstrip()
        for part, size in need.parts_bytes().items()
    ]
    return [*rows, f"  {'total':<16}{mb(need.total_bytes):>12}"]
