"""Power cuts during publication: the newest acknowledged weights are always there, whole.

As for the journal, broken variants must be caught.
"""

from pathlib import Path

import numpy as np
import pytest
from crashdisk import CrashDisk, PowerCut

from eftraind.clock import FakeClock
from eftraind.errors import NoCheckpoint
from eftraind.store.checkpoint import CheckpointStore

DIRECTORY = Path("/checkpoints")


class Violation(AssertionError):
    pass


def require(condition: bool, message: str) -> None:
    if not condition:
        raise Violation(message)


def weights(number: int) -> dict[str, np.ndarray]:
    return {"w": np.full((37, 11), number, np.float32), "b": np.arange(number + 1, dtype="f4")}


def crash_run(seed: int, crashes: int, ignore: frozenset[str] = frozenset()) -> CrashDisk:
    """One directory through many crashes; at each return the newest must be good and complete."""
    disk = CrashDisk(np.random.default_rng(seed), ignore)
    acknowledged, pinned = 0, 0
    for _ in range(crashes):
        disk.cut_after = int(disk.rng.integers(100))
        try:
            while True:
                store = CheckpointStore(DIRECTORY, keep=2, ops=disk, clock=FakeClock())
                for _ in range(3):
                    acknowledged = store.publish(weights(acknowledged + 1), {}).number
                    disk.short_writes = bool(disk.rng.random() < 0.3)
                if disk.rng.random() < 0.2:
                    store.pin(acknowledged)
                    pinned = acknowledged
        except PowerCut:
            pass
        disk.kill() if disk.rng.random() < 0.2 else disk.power_cut()
        acknowledged = check(disk, acknowledged, pinned)
    return disk


def check(disk: CrashDisk, acknowledged: int, pinned: int) -> int:
    store = CheckpointStore(DIRECTORY, keep=2, ops=disk, clock=FakeClock())
    try:
        newest = store.newest()
    except NoCheckpoint as exc:
        require(acknowledged == 0, f"{acknowledged} was acknowledged: {exc}")
        return 0
    require(newest.number >= acknowledged, f"{acknowledged} acknowledged, {newest.number} there")
    require(newest.number <= acknowledged + 1, "a number from nowhere")
    loaded = store.load(newest)
    require(store.stats.damaged == 0, "a torn generation became visible")
    value = loaded["w"][0, 0]
    require(bool((loaded["w"] == value).all()), "mixed weights")
    require(len(loaded["b"]) == value + 1, "weights of two generations")
    if pinned:
        golden = (store.pins() or {}).get("golden", 0)
        require(golden >= pinned, "the pin is lost")
        require(bool(store.load(store.generation(golden))), "pinned weights are lost")
    return newest.number


@pytest.mark.parametrize("seed", range(6))
def test_acknowledged_checkpoints_survive_power_cuts(seed: int) -> None:
    disk = crash_run(seed, crashes=25)
    assert disk.calls["rename"] > 50


@pytest.mark.parametrize("ignored", ["fsync", "fsync_dir"])
def test_catches_a_missing_sync(ignored: str) -> None:
    """Without the file's fsync the rename can publish zeros; without the directory's, nothing."""
    caught = 0
    for seed in range(10):
        try:
            crash_run(seed, crashes=15, ignore=frozenset({ignored}))
        except Violation:
            caught += 1
    assert caught == 10
