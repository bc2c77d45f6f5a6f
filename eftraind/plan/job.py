"""A command as a kernel as specified runs it: with what it does beside, and what others did for it.

Vocabulary of the cost model and the simulator; `plan.fuse` decides, this module knows no program.
"""

from dataclasses import dataclass

from eftraind.isa import Command, Flag, Op


@dataclass(frozen=True)
class Job:
    """One command."""

    command: Command
    gathers: bool = False
    """As it stores a map, sums of it are taken for a batch normalisation; on the way back that
    takes the normalisation's input beside, on the port for results."""
    gathered: bool = False
    """A BN_STAT or BN_SUM that finds its sums ready."""

    @property
    def steps(self) -> bool:
        """Weights and velocities are read and written as it stores, and no gradient is."""
        c = self.command
        return bool(c.flags & Flag.STEP) or (c.op is Op.UPDATE and not c.flags & Flag.ADAM)
