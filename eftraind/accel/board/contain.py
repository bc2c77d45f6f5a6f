"""Where pynq writes: its state, its cached metadata and the current directory, all in one place.

Owns that place. pynq keys its cache by the .bit alone and would believe an old .hwh; so the cache
is emptied each time.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def contained(work_dir: Path) -> Iterator[None]:
    """While inside, the current directory is `work_dir`; pynq's state stays there afterwards."""
    place = work_dir / "pl_server"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    state: Any = sys.modules.get("pynq.pl_server.global_state")
    if state is not None:
        state.STATE_DIR = str(place)
    for name, here in (("pynq.pl_server.embedded_device", place), ("pynq.pl", work_dir)):
        module = sys.modules.get(name)
        if module is not None:  # it looks for the cache beside or below its own file
            module.__file__ = str(here / Path(str(module.__file__)).name)
    before = Path.cwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)
