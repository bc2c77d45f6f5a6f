"""The distributions, built once for all tests here: from the checkout, as a release would be."""

import fcntl
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from distributions import ROOT, Dist


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Dist:
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # all workers share one
    out = base / "dist"
    with (base / "dist.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.exists():
            _build(out)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return Dist(sdist, wheel)


def _build(out: Path) -> None:
    new = out.with_suffix(".new")
    done = subprocess.run(
        [ROOT / "scripts" / "wheels", new], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    new.rename(out)


@pytest.fixture(scope="session")
def libraries() -> Path:
    """Where this environment's numpy and zmq lie. Named on PYTHONPATH, the editable installation
    beside them is not seen: only a site directory has its .pth files read."""
    return Path(np.__file__).parent.parent
