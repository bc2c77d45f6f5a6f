"""Checkpoints: numbered generations of weights that survive power cuts, newest good one first.

Owns a directory of safetensors files, each with a JSON manifest holding its size and BLAKE2b-256.
A generation exists once its manifest does. Nothing is parsed before its size, header length and
digest are right, and nothing is ever unpickled. Never decides whether weights are good to serve:
that is the caller's `check`.
"""

import errno
import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eftraind.clock import Clock
from eftraind.errors import CheckpointDamaged, EftraindError, NoCheckpoint, StorageError
from eftraind.fsio import FileOps, atomic_write, discard, read_file, storage_errors
from eftraind.params import F32, weights_hash
from eftraind.store.weights import LIMIT_BYTES, damaged, decode_weights, encode_weights

FORMAT = 1
PREFIX, WEIGHTS, MANIFEST, DAMAGED = "generation-", ".safetensors", ".json", ".damaged"
PINS = "pins.json"
MANIFEST_LIMIT_BYTES = 1 << 20
DAMAGED_KEPT = 2  # for a look at what happened; more would fill the disk


@dataclass(frozen=True)
class Generation:
    """One published set of weights. `about` is what the publisher said in the manifest."""

    number: int
    path: Path
    weights_hash: bytes
    saved_wall_s: float
    size_bytes: int
    about: Mapping[str, Any]


@dataclass(frozen=True)
class CheckpointStats:
    published: int
    failed: int  # publications that met an error
    damaged: int  # generations found damaged and put aside
    unfit: int  # whole, but refused by the caller's check
    generations: int
    bytes_written: int
    last_success_wall_s: float | None


class CheckpointStore:
    """See the module. Safe to use from several threads of one process."""

    def __init__(
        self,
        directory: Path | str,
        *,
        keep: int,
        ops: FileOps,
        clock: Clock,
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        self._directory = Path(directory)
        self._keep = max(1, keep)
        self._ops = ops
        self._clock = clock
        self._limit_bytes = limit_bytes
        self._guard = threading.RLock()
        self._published = self._failed = self._damaged = self._unfit = self._bytes = 0
        self._last_success_wall_s: float | None = None
        self._cleaned = False
        with storage_errors("open the checkpoint directory", self._directory):
            ops.mkdir(self._directory)

    # writing

    def publish(self, tensors: Mapping[str, F32], manifest: Mapping[str, Any]) -> Generation:
        """Write the next generation; when this returns it survives a power cut.

        `manifest` is any JSON (parent, seed, sample range, metrics) and comes back as `about`.
        On an error nothing changed: older generations stay, the half-written one is removed.
        """
        with self._guard:
            self._clean()
            number = max((*self._numbers(of_any=True), 0)) + 1
            stem = self._stem(number)
            try:
                data = encode_weights(tensors, self._limit_bytes)
                digest = weights_hash(tensors)
                saved_wall_s = self._clock.wall_s()
                facts = {
                    "format": FORMAT,
                    "generation": number,
                    "bytes": len(data),
                    "blake2b": hashlib.blake2b(data, digest_size=32).hexdigest(),
                    "weights_hash": digest.hex(),
                    "saved_wall_s": saved_wall_s,
                    "about": dict(manifest),
                }
                text = json.dumps(facts, indent=1, allow_nan=False).encode() + b"\n"
                self._write(stem, data, text)
            except (EftraindError, ValueError, TypeError):
                self._failed += 1
                raise
            self._published += 1
            self._bytes += len(data) + len(text)
            self._last_success_wall_s = saved_wall_s
            self._prune()
            about = facts["about"]
            assert isinstance(about, dict)
            path = stem.with_name(stem.name + WEIGHTS)
            return Generation(number, path, digest, saved_wall_s, len(data), about)

    def _clean(self) -> None:
        """Once, before the first publication: remove what an interrupted one left.

        Not when opening, so that a look into a running daemon's directory does not disturb it.
        """
        if self._cleaned:
            return
        self._cleaned = True
        names = self._listdir()
        for name in names:
            orphan = name.endswith(WEIGHTS) and name.replace(WEIGHTS, MANIFEST) not in names
            if orphan or name.endswith(".tmp"):
                discard(self._ops, self._directory / name)

    def _write(self, stem: Path, data: bytes, text: bytes) -> None:
        weights = stem.with_name(stem.name + WEIGHTS)
        manifest = stem.with_name(stem.name + MANIFEST)
        try:
            atomic_write(self._ops, weights, [data])
            atomic_write(self._ops, manifest, [text])  # only now does the generation exist
        except StorageError:
            discard(self._ops, manifest)
            discard(self._ops, weights)
            raise

    def pin(self, number: int, name: str = "golden") -> None:
        """Keep this generation for ever under `name`, in place of the one pinned before."""
        with self._guard:
            if number not in self._numbers():
                message = f"there is no checkpoint generation {number} to pin"
                raise NoCheckpoint(message, remedy="pin one that `generations` lists")
            pins = {**(self.pins() or {}), name: number}
            atomic_write(self._ops, self._directory / PINS, [json.dumps(pins).encode() + b"\n"])

    def pins(self) -> dict[str, int] | None:
        """Name to generation number; None when the list is damaged (then nothing is pruned)."""
        with self._guard:
            if PINS not in self._listdir():
                return {}
            try:
                data = json.loads(read_file(self._ops, self._directory / PINS, 65536))
                return {str(name): int(number) for name, number in data.items()}
            except (StorageError, ValueError, AttributeError, TypeError):
                return None

    def _prune(self) -> None:
        """Remove generations beyond `keep`, except pinned ones; oldest first, manifest first."""
        pins = self.pins()
        if pins is None:
            return
        for number in self._numbers()[: -self._keep]:
            if number not in pins.values():
                stem = self._stem(number)
                if discard(self._ops, stem.with_name(stem.name + MANIFEST)):
                    discard(self._ops, stem.with_name(stem.name + WEIGHTS))

    # reading

    def generations(self) -> list[Generation]:
        """Every generation with a readable manifest, oldest first. Weights are not read."""
        with self._guard:
            found = []
            for number in self._numbers():
                try:
                    found.append(self._generation(number)[0])
                except CheckpointDamaged:
                    continue
            return found

    def generation(self, number: int) -> Generation:
        """One generation by number; NoCheckpoint if there is none, CheckpointDamaged if so."""
        with self._guard:
            if number not in self._numbers():
                message = f"there is no checkpoint generation {number}"
                raise NoCheckpoint(message, remedy="see which exist with `eftraind status`")
            return self._generation(number)[0]

    def load(self, generation: Generation) -> dict[str, F32]:
        """The weights, verified; CheckpointDamaged where anything is not as the manifest says."""
        with self._guard:
            current, digest = self._generation(generation.number)
            size = current.size_bytes
            if size > self._limit_bytes:
                raise damaged(current.path, f"the manifest tells {size} bytes, over the limit")
            data = self._read(current.path, size)
        if len(data) != size or hashlib.blake2b(data, digest_size=32).hexdigest() != digest:
            raise damaged(current.path, "size or digest differ from the manifest")
        tensors = decode_weights(data, current.path)
        if weights_hash(tensors) != current.weights_hash:
            raise damaged(current.path, "the weights' hash differs from the manifest")
        return tensors

    def newest(self, check: Callable[[Mapping[str, F32]], None] | None = None) -> Generation:
        """The newest generation that is whole and whose weights pass `check`.

        `check` raises CheckpointDamaged for weights that must never serve (not finite): those are
        put aside like damaged files. Any other EftraindError (another network's weights) only
        skips the generation. Both are counted.
        """
        with self._guard:
            reasons: list[str] = []
            for number in reversed(self._numbers()):
                try:
                    generation, _ = self._generation(number)
                    tensors = self.load(generation)
                    if check is not None:
                        check(tensors)
                    return generation
                except CheckpointDamaged as exc:
                    self._damaged += 1
                    self._put_aside(number)
                    reasons.append(f"{number}: {exc.message}")
                except EftraindError as exc:
                    self._unfit += 1
                    reasons.append(f"{number}: {exc.message}")
            tried = "; ".join(reasons) or "the directory is empty"
            message = f"no good checkpoint in {self._directory} ({tried})"
            raise NoCheckpoint(message, remedy="the daemon starts from its configured weights")

    @property
    def stats(self) -> CheckpointStats:
        with self._guard:
            return CheckpointStats(
                published=self._published,
                failed=self._failed,
                damaged=self._damaged,
                unfit=self._unfit,
                generations=len(self._numbers()),
                bytes_written=self._bytes,
                last_success_wall_s=self._last_success_wall_s,
            )

    # the directory

    def _stem(self, number: int) -> Path:
        return self._directory / f"{PREFIX}{number:010d}"

    def _listdir(self) -> list[str]:
        with storage_errors("list", self._directory):
            return self._ops.listdir(self._directory)

    def _numbers(self, *, of_any: bool = False) -> list[int]:
        """Numbers of the generations, ascending; `of_any`: of every file, whole or not."""
        found = set()
        for name in self._listdir():
            stem, _, suffix = name.removeprefix(PREFIX).partition(".")
            if name.startswith(PREFIX) and stem.isdecimal():
                if of_any or f".{suffix}" == MANIFEST:
                    found.add(int(stem))
        return sorted(found)

    def _generation(self, number: int) -> tuple[Generation, str]:
        """The manifest of a generation as checked data, and the digest of its weights file."""
        stem = self._stem(number)
        path = stem.with_name(stem.name + MANIFEST)
        try:
            facts = json.loads(self._read(path, MANIFEST_LIMIT_BYTES))
            if facts["format"] != FORMAT or facts["generation"] != number:
                raise ValueError("it tells another format or generation")
            generation = Generation(
                number=number,
                path=stem.with_name(stem.name + WEIGHTS),
                weights_hash=bytes.fromhex(facts["weights_hash"]),
                saved_wall_s=float(facts["saved_wall_s"]),
                size_bytes=int(facts["bytes"]),
                about=dict(facts["about"]),
            )
            return generation, str(facts["blake2b"])
        except (ValueError, KeyError, TypeError, RecursionError) as exc:
            raise damaged(path, str(exc)) from exc

    def _read(self, path: Path, limit_bytes: int) -> bytes:
        """A file of a generation; what cannot be read for the file's own fault is damaged."""
        try:
            return read_file(self._ops, path, limit_bytes)
        except StorageError as exc:
            cause = exc.__cause__
            if isinstance(cause, OSError) and cause.errno not in (errno.EIO, errno.ENOENT):
                raise  # no descriptors left, no permission: the checkpoint may be perfectly good
            raise damaged(path, exc.message) from exc

    def _put_aside(self, number: int) -> None:
        """Rename a damaged generation out of the way; on a read-only disk it stays."""
        stem = self._stem(number)
        for suffix in (MANIFEST, WEIGHTS):
            path = stem.with_name(stem.name + suffix)
            try:
                self._ops.rename(path, path.with_name(path.name + DAMAGED))
            except OSError:
                continue
        aside = [name for name in self._listdir() if name.endswith(MANIFEST + DAMAGED)]
        for name in aside[:-DAMAGED_KEPT]:
            discard(self._ops, self._directory / name)
            weights = name.replace(MANIFEST + DAMAGED, WEIGHTS + DAMAGED)
            discard(self._ops, self._directory / weights)
