"""Checkpoints: the newest good one wins, damage is put aside, pins hold, a failure is nothing."""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy
from crashdisk import CrashDisk

from eftraind.clock import FakeClock
from eftraind.errors import (
    CheckpointDamaged,
    EftraindError,
    NoCheckpoint,
    ReadOnlyStorage,
    StorageError,
    WeightsError,
)
from eftraind.fsio import FileOps
from eftraind.params import weights_hash
from eftraind.store import weights as weights_module
from eftraind.store.checkpoint import CheckpointStore

Tensors = dict[str, npt.NDArray[np.float32]]


def tensors(value: float) -> Tensors:
    return {
        "conv1.weight": np.full((2, 3, 5, 5), value, np.float32),
        "conv1.bias": np.full((2,), -value, np.float32),
    }


def open_store(path: Path, **changes: object) -> CheckpointStore:
    options: dict[str, object] = {"keep": 3, "ops": FileOps(), "clock": FakeClock(), **changes}
    return CheckpointStore(path / "checkpoints", **options)  # type: ignore[arg-type]


def value_of(store: CheckpointStore) -> float:
    return float(store.load(store.newest())["conv1.weight"][0, 0, 0, 0])


def test_publish_then_load_gives_the_same_weights(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    about = {"parent": 3, "seed": 1, "samples": [1, 900], "accuracy": 0.5}
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T  # not in C order
    scalar = np.float32(2.5).reshape(())
    given: Tensors = {"a": turned, "b": scalar, "empty": np.zeros((0, 3), np.float32)}
    generation = store.publish(given, about)
    assert generation.number == 1
    assert generation.weights_hash == weights_hash(given)
    assert generation.size_bytes == generation.path.stat().st_size
    for reader in (store, open_store(tmp_path)):
        assert reader.newest() == generation
        assert reader.newest().about == about
        loaded = reader.load(generation)
        assert loaded.keys() == given.keys()
        for name, tensor in given.items():
            assert np.array_equal(loaded[name], tensor) and loaded[name].shape == tensor.shape
    assert safetensors.numpy.load_file(generation.path)["a"].tolist() == turned.tolist()


def test_nothing_there(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(NoCheckpoint, match="empty") as caught:
        store.newest()
    assert caught.value.remedy
    assert store.generations() == []
    with pytest.raises(NoCheckpoint, match="no checkpoint generation 4"):
        store.generation(4)


def test_only_the_newest_are_kept_and_pinned_ones(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.publish(tensors(1), {})
    store.pin(1)
    for value in range(2, 8):
        store.publish(tensors(value), {})
    assert [generation.number for generation in store.generations()] == [1, 5, 6, 7]
    assert store.pins() == {"golden": 1}
    store.pin(6)
    store.pin(7, "uploaded")
    store.publish(tensors(8), {})
    store.publish(tensors(9), {})
    assert [generation.number for generation in store.generations()] == [6, 7, 8, 9]
    assert open_store(tmp_path).pins() == {"golden": 6, "uploaded": 7}
    with pytest.raises(NoCheckpoint):
        store.pin(1)


def test_a_damaged_pin_list_keeps_everything(tmp_path: Path) -> None:
    store = open_store(tmp_path, keep=1)
    store.publish(tensors(1), {})
    store.pin(1)
    (tmp_path / "checkpoints" / "pins.json").write_text("{")
    assert store.pins() is None
    for value in (2, 3):
        store.publish(tensors(value), {})
    assert [generation.number for generation in store.generations()] == [1, 2, 3]
    store.pin(1)
    store.publish(tensors(4), {})
    assert [generation.number for generation in store.generations()] == [1, 4]


def damage_flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def damage_cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5)


def damage_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def damage_longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(100))


@pytest.mark.parametrize("damage", [damage_flip, damage_cut, damage_zeros, os.unlink])
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_the_newest_good_one_wins(tmp_path: Path, damage: object, suffix: str) -> None:
    store = open_store(tmp_path)
    for value in (1, 2, 3):
        newest = store.publish(tensors(value), {"value": value})
    damage(newest.path.with_suffix(suffix))  # type: ignore[operator]
    for reader in (store, open_store(tmp_path)):
        assert reader.newest().number == 2
        assert value_of(reader) == 2
    gone = damage is os.unlink and suffix == ".json"  # as if it had never been published
    assert store.stats.damaged == (0 if gone else 1)
    aside = [name for name in os.listdir(tmp_path / "checkpoints") if name.endswith(".damaged")]
    assert bool(aside) != gone
    assert store.publish(tensors(4), {}).number == 4  # the number of a bad one is not used again


def test_damage_that_json_or_the_digest_cannot_hide(tmp_path: Path) -> None:
    """Manifests that parse, and lie."""
    for key, value in (
        ("format", 9),
        ("generation", 7),
        ("bytes", 10**12),
        ("bytes", "x"),
        ("blake2b", "00"),
        ("weights_hash", "zz"),
        ("weights_hash", "00" * 16),
        ("about", 3),
        ("saved_wall_s", None),
    ):
        store = open_store(tmp_path / f"{key}{value}")
        newest = store.publish(tensors(1), {})
        manifest = newest.path.with_suffix(".json")
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), key: value}))
        with pytest.raises(NoCheckpoint, match="damaged"):
            store.newest()
        assert store.stats.damaged == 1


def test_every_bit_of_a_small_checkpoint_matters(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    generation = store.publish({"w": np.ones((2, 2), np.float32)}, {})
    clean = generation.path.read_bytes()
    for offset in range(len(clean)):
        data = bytearray(clean)
        data[offset] ^= 1 << (offset % 8)
        generation.path.write_bytes(data)
        with pytest.raises(CheckpointDamaged) as caught:
            store.load(generation)
        assert caught.value.remedy


def test_few_damaged_ones_are_kept(tmp_path: Path) -> None:
    store = open_store(tmp_path, keep=6)
    for value in range(6):
        damage_flip(store.publish(tensors(value), {}).path)
    with pytest.raises(NoCheckpoint):
        store.newest()
    assert store.stats.damaged == 6
    names = os.listdir(tmp_path / "checkpoints")
    assert len([name for name in names if name.endswith(".damaged")]) == 4


def refuse_others(expected: str) -> object:
    def check(loaded: Mapping[str, npt.NDArray[np.float32]]) -> None:
        if expected not in loaded:
            raise WeightsError("weights of another network", remedy="use its own")
        if not all(np.isfinite(tensor).all() for tensor in loaded.values()):
            raise CheckpointDamaged("not finite", remedy="an older one is used")

    return check


def test_the_check_decides_what_serves(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.publish(tensors(1), {})
    store.publish({"other": np.ones(3, np.float32)}, {})
    store.publish(tensors(float("nan")), {})
    check = refuse_others("conv1.bias")
    assert store.newest(check).number == 1  # type: ignore[arg-type]
    assert (store.stats.damaged, store.stats.unfit) == (1, 1)
    assert [generation.number for generation in store.generations()] == [1, 2]


def test_what_is_too_large_is_refused_when_published_and_when_read(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    generation = store.publish(tensors(1), {})
    small = open_store(tmp_path, limit_bytes=100)
    with pytest.raises(StorageError, match="bytes") as caught:
        small.publish(tensors(2), {})
    assert caught.value.code == "checkpoint_too_large"
    assert small.stats.failed == 1
    with pytest.raises(CheckpointDamaged, match="over the limit"):
        small.load(generation)
    many = {f"tensor-with-a-long-name-{n}": np.zeros(0, np.float32) for n in range(4000)}
    with pytest.raises(StorageError, match="names and shapes"):
        store.publish(many, {})
    with pytest.raises(StorageError, match="float64"):
        store.publish({"w": np.zeros(3)}, {})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        (1 << 40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{}trailing",
        b"\x80\x04K\x01.",
        safetensors.numpy.save({"w": np.zeros(3, np.int64)}),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointDamaged, match=str(path)):
        weights_module.read_weights(FileOps(), path)


def test_a_huge_weights_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(StorageError, match="more than"):
        weights_module.read_weights(FileOps(), path)


def test_what_an_interrupted_publication_left_goes_with_the_next(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.publish(tensors(1), {})
    directory = tmp_path / "checkpoints"
    (directory / "generation-0000000002.safetensors").write_bytes(b"half")
    (directory / "generation-0000000002.json.tmp").write_bytes(b"half")
    reader = open_store(tmp_path)
    assert reader.newest().number == 1
    assert len(os.listdir(directory)) == 4  # looking changes nothing
    reader.publish(tensors(2), {})
    assert len(os.listdir(directory)) == 4
    assert value_of(reader) == 2


@pytest.mark.parametrize("call", ["write", "fsync", "fsync_dir", "rename", "open_write"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_failed_publication_changes_nothing(call: str, number: int) -> None:
    disk = CrashDisk(np.random.default_rng(0))
    store = open_store(Path("/"), ops=disk)
    store.publish(tensors(1), {})
    disk.fail[call] = number
    with pytest.raises(StorageError) as caught:
        store.publish(tensors(2), {})
    assert caught.value.remedy
    assert isinstance(caught.value, ReadOnlyStorage) == (number == errno.EROFS)
    assert value_of(store) == 1
    disk.fail.clear()
    assert store.newest().number == 1
    assert store.publish(tensors(3), {}).number > 1
    assert value_of(store) == 3
    assert (store.stats.published, store.stats.failed) == (2, 1)
    assert len(disk.listdir(Path("/checkpoints"))) == 4


def test_on_a_read_only_disk_a_damaged_one_is_still_passed_over() -> None:
    disk = CrashDisk(np.random.default_rng(0))
    store = open_store(Path("/"), ops=disk)
    store.publish(tensors(1), {})
    disk.flip(store.publish(tensors(2), {}).path, 200)
    for call in ("write", "open_write", "rename", "unlink"):
        disk.fail[call] = errno.EROFS
    assert value_of(store) == 1
    assert value_of(open_store(Path("/"), ops=disk)) == 1


def test_running_out_of_descriptors_is_not_damage() -> None:
    disk = CrashDisk(np.random.default_rng(0))
    store = open_store(Path("/"), ops=disk)
    store.publish(tensors(1), {})
    disk.fail["open"] = errno.EMFILE
    with pytest.raises(EftraindError):
        store.newest()
    disk.fail.clear()
    assert value_of(store) == 1
    assert store.stats.damaged == 0


def test_metadata_must_be_json(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for about in ({"loss": float("nan")}, {"array": np.zeros(2)}):
        with pytest.raises((ValueError, TypeError)):
            store.publish(tensors(1), about)
    assert store.generations() == []
