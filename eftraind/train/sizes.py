"""`eftraind memory`: what a network needs of a device, from its programs alone. Runs nothing."""

import argparse
import json
from dataclasses import replace

from eftraind import networks
from eftraind.engine.recipe import plan_for
from eftraind.errors import ConfigError
from eftraind.graph import Graph
from eftraind.plan import lower, memory
from eftraind.plan.choice import keeping_fits
from eftraind.plan.lower import Plan
from eftraind.plan.memory import Need, mb
from eftraind.train.options import recipe_of


def table(given: argparse.Namespace) -> str:
    """What the command prints. Raises EftraindError."""
    if given.t not in (1, 2, 4, 8, 16, 32) or given.chunk < 1:
        raise ConfigError(
            "--t or --chunk is impossible", remedy="T is 4, 8, 16 or 32, --chunk at least 1"
        )
    if given.replay < 0 or given.memory_bytes < 0:
        raise ConfigError("--replay or --memory-bytes is negative", remedy="0 is none")
    graph = networks.load(given.network)
    plan = plan_for(graph, recipe_of(given, latent=given.latent), given.chunk)
    need, kept = _needs(graph, given, plan)
    keeps = keeping_fits(kept.total_bytes, need.total_bytes, given.memory_bytes)
    used = kept if keeps else need
    used.check(graph.name, given.memory_bytes)
    if given.json:
        return json.dumps(used.parts_bytes() | {"total": used.total_bytes})
    title = f"{graph.name}, batch {plan.batch}, chunk {plan.chunk}, T = {given.t}"
    rows = [title, *_rows(used, given.replay)]
    if any(layer.kind == "batchnorm" for layer in graph.layers):
        rows.append(_norms(need, kept, keeps, given.memory_bytes))
    return "\n".join(rows)


def _needs(graph: Graph, given: argparse.Namespace, plan: Plan) -> tuple[Need, Need]:
    """Without outputs of batch normalisation, and with them kept."""

    def need(plan: Plan) -> Need:
        program = lower.training(graph, given.t, plan)
        return memory.need(graph, given.t, plan, program, pool_rows=given.replay)

    return need(plan), need(replace(plan, keep_norms=True))


def _norms(need: Need, kept: Need, keeps: bool, limit_bytes: int) -> str:
    """What the engine does by the same rule, if keeping is faster on its device."""
    if keeps:
        return f"outputs of batch normalisation are kept ({mb(need.total_bytes)} without)"
    bound = f"above {mb(limit_bytes)}" if limit_bytes else "above a quarter more"
    return f"outputs of batch normalisation are not kept ({mb(kept.total_bytes)} with: {bound})"


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
