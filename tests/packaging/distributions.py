"""What tests of the distributions share: where they lie, and who runs them."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Dist:
    """What `scripts/wheels` leaves."""

    sdist: Path
    wheel: Path


def base_python() -> str:
    """The interpreter outside the environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))
