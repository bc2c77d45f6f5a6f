"""Our kernel's cost of any command, and of a whole program: the model called `eftraind`.

Every figure is modelled, none was measured. The kernel cuts each command by its own rule
(`plan.tiling`), so that the same command on the same design always gets the same schedule.
"""

from dataclasses import dataclass, replace

from eftraind.errors import ConfigError
from eftraind.isa import NOWHERE, Command, Op, Program
from eftraind.plan import conv_cost, fuse, map_cost
from eftraind.plan.design import Design
from eftraind.plan.job import Job
from eftraind.plan.machine import Machine
from eftraind.plan.outcome import LayerCost, Phase, Tile
from eftraind.plan.rounds import Total
from eftraind.plan.tiles import macs
from eftraind.plan.tiling import Tiling, tiling_of

CONVOLUTIONS = (Op.CONV_FP, Op.CONV_BP, Op.CONV_WU)
_PHASES = {
    **dict.fromkeys((Op.CONV_WU, Op.BIAS_WU, Op.UPDATE, Op.NORM), Phase.WU),
    **dict.fromkeys((Op.CONV_BP, Op.POOL_BP, Op.AVG_BP, Op.BN_SUM, Op.BN_BP), Phase.BP),
    **dict.fromkeys((Op.PASS_BP, Op.CONCAT_BP, Op.DROP_BP), Phase.BP),
    **dict.fromkeys((Op.CONV_FP, Op.POOL_FP, Op.AVG_FP, Op.BN_STAT, Op.BN_FP), Phase.FP),
    **dict.fromkeys((Op.ADD_FP, Op.CONCAT_FP, Op.DROP_FP), Phase.FP),
    **dict.fromkeys((Op.LOAD, Op.LOSS, Op.COPY), Phase.OTHER),
}


@dataclass(frozen=True)
class CommandCost:
    """Modelled cost of one command."""

    cycles: int
    read_bytes: int
    written_bytes: int
    bound_by: str
    tiling: Tiling | None
    tile: Tile | None


class Coster:
    """Costs of commands on one design and machine; equal commands are costed once."""

    def __init__(self, design: Design, machine: Machine, window: Machine | None = None) -> None:
        """`window`: that of commands whose operands all lie in it, which are all but LOAD."""
        self._design = design
        self._machine = machine
        self._window = window
        self._known: dict[Job, CommandCost] = {}

    def command(self, c: Command) -> CommandCost:
        """Of a command alone. Raises as `job`."""
        return self.job(Job(c))

    def job(self, job: Job) -> CommandCost:
        """Raises ConfigError (does not fit the buffers), ProgramError (no formula)."""
        key = replace(job, command=_shape_of(job.command))
        if key not in self._known:
            self._known[key] = self._cost(job)
        return self._known[key]

    def _cost(self, job: Job) -> CommandCost:
        inside = self._window is not None and job.command.op is not Op.LOAD
        machine = self._window if self._window and inside else self._machine
        if job.command.op not in CONVOLUTIONS:
            cost = _outcome(map_cost.cost(job, self._design, machine), None, None)
        else:
            tiling = tiling_of(job.command, self._design)
            total = conv_cost.cost(job, tiling, self._design, machine)
            cost = _outcome(total, tiling, tiling.tile(self._design))
        # Bytes are those of the DRAM.
        return replace(cost, read_bytes=0, written_bytes=0) if inside else cost

    def program(self, program: Program, kinds: tuple[str, ...]) -> tuple[LayerCost, ...]:
        """Costs by layer and phase, in the program's order; `kinds` of the layers.

        Commands of one layer and phase (parts of a batch, statistics and normalisation) add up.
        """
        merged: dict[tuple[str, Phase], LayerCost] = {}
        for job in fuse.jobs(program, self._design.traits):
            layer, kind = _label(job.command, program, kinds)
            phase = _PHASES[job.command.op]
            one = self._layer_cost(job, layer, kind, phase)
            known = merged.get((layer, phase))
            merged[layer, phase] = one if known is None else _sum(known, one)
        return tuple(merged.values())

    def _layer_cost(self, job: Job, layer: str, kind: str, phase: Phase) -> LayerCost:
        try:
            one = self.job(job)
        except ConfigError as error:
            raise ConfigError(f"layer {layer}: {error.message}", remedy=error.remedy) from error
        return LayerCost(
            layer, kind, phase, one.cycles, 2 * macs(job.command), one.read_bytes,
            one.written_bytes, one.bound_by, one.tile,
        )  # fmt: skip


def _shape_of(c: Command) -> Command:
    """The command without its place in memory; whether an operand is named at all remains."""
    places = {name: replace(getattr(c, name), offset=0) for name in ("weights", "dst", "aux")}
    return replace(c, layer=0, axis=0, src=NOWHERE, extra=NOWHERE, **places)


def _label(c: Command, program: Program, kinds: tuple[str, ...]) -> tuple[str, str]:
    """The layer's name and kind; load, loss, update and the like stand for themselves."""
    if c.op in (Op.LOAD, Op.LOSS, Op.UPDATE, Op.NORM, Op.COPY):
        return c.op.name.lower(), c.op.name.lower()
    return program.layer_names[c.layer], kinds[c.layer]


def _outcome(total: Total, tiling: Tiling | None, tile: Tile | None) -> CommandCost:
    return CommandCost(
        round(total.cycles), 4 * total.read_words, 4 * total.written_words, total.bound_by,
        tiling, tile,
    )  # fmt: skip


def _sum(a: LayerCost, b: LayerCost) -> LayerCost:
    longer = a if a.cycles >= b.cycles else b
    return replace(
        a,
        cycles=a.cycles + b.cycles,
        operations=a.operations + b.operations,
        read_bytes=a.read_bytes + b.read_bytes,
        written_bytes=a.written_bytes + b.written_bytes,
        bound_by=longer.bound_by,
        tile=a.tile or b.tile,
    )
