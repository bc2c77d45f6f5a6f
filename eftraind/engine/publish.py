"""Writes checkpoints in a thread of its own, one at a time: a card may stall for seconds.

Owns the manifest's contents. Decides neither when to write nor what serves.
"""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from eftraind.clock import Clock
from eftraind.engine.banks import Weights
from eftraind.errors import EftraindError
from eftraind.graph import Graph
from eftraind.metrics import Metrics
from eftraind.params import F32
from eftraind.store.checkpoint import CheckpointStore


class Publisher:
    """At most one checkpoint under way."""

    def __init__(
        self,
        store: CheckpointStore,
        graph: Graph,
        metrics: Metrics,
        clock: Clock,
        facts: Mapping[str, Any],
    ) -> None:
        self._store = store
        self._graph = graph
        self._metrics = metrics
        self._clock = clock
        self._facts = dict(facts)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._future: Future[int] | None = None
        self._began_s = 0.0

    def manifest(self, weights: Weights, **facts: Any) -> dict[str, Any]:
        """What a generation says about its weights."""
        return {
            "network": self._graph.name,
            "network_digest": self._graph.digest,
            "version": weights.version,
            "weights_hash": weights.hash.hex(),
            **self._facts,
            **facts,
        }

    def start(self, tensors: Mapping[str, F32], weights: Weights, **facts: Any) -> None:
        """Begin to write; the tensors must not change meanwhile."""
        manifest = self.manifest(weights, **facts)
        self._began_s = self._clock.monotonic_s()
        self._future = self._pool.submit(self._write, dict(tensors), manifest)

    def _write(self, tensors: Mapping[str, F32], manifest: Mapping[str, Any]) -> int:
        return self._store.publish(tensors, manifest).number

    @property
    def busy(self) -> bool:
        return self._future is not None

    @property
    def done(self) -> bool:
        return self._future is not None and self._future.done()

    def wait(self) -> None:
        if self._future is not None:
            self._future.exception()

    def finish(self) -> int:
        """The number of the generation written. Raises the StorageError that prevented it."""
        assert self._future is not None
        future, self._future = self._future, None
        try:
            number = future.result()
        except EftraindError:
            self._metrics.counter("checkpoint_writes_total").inc(1, "failed")
            raise
        self._metrics.counter("checkpoint_writes_total").inc(1, "ok")
        seconds = self._clock.monotonic_s() - self._began_s
        self._metrics.histogram("checkpoint_duration_seconds").observe(seconds)
        gauge = self._metrics.gauge("checkpoint_last_success_timestamp_seconds")
        gauge.set(self._clock.wall_s())
        return number

    def close(self) -> None:
        """Wait for what is being written."""
        self._pool.shutdown(wait=True)
