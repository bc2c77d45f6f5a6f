"""Typed handles to the metrics of one process, and the snapshot that crosses to the other.

A registry is passed in, there is no global one. What cannot be provided is absent: a gauge appears
with its first value and can be taken back. The engine has no network, so its registry travels as a
plain-list snapshot to the front.
"""

from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry

from eftraind.metrics.table import PREFIX, TABLE, Spec

_CLASSES = {
    "counter": prometheus_client.Counter,
    "gauge": prometheus_client.Gauge,
    "histogram": prometheus_client.Histogram,
}


class _Handle:
    def __init__(self, spec: Spec, registry: CollectorRegistry) -> None:
        self._spec = spec
        self._registry = registry
        self._metric: Any = None
        self._children: dict[tuple[str, ...], Any] = {}

    def _child(self, labels: tuple[str, ...]) -> Any:
        child = self._children.get(labels)
        if child is None:
            if self._metric is None:
                self._metric = self._registered()
            child = self._metric.labels(*labels) if self._spec.labels else self._metric
            self._children[labels] = child
        return child

    def _registered(self) -> Any:
        spec = self._spec
        options: dict[str, Any] = {"buckets": spec.buckets} if spec.buckets else {}
        return _CLASSES[spec.kind](
            PREFIX + spec.name, spec.help, spec.labels, registry=self._registry, **options
        )


class Counter(_Handle):
    """Only grows. An unlabelled one is shown from the start, as 0."""

    def inc(self, amount: float = 1.0, *labels: str) -> None:
        self._child(labels).inc(amount)


class Gauge(_Handle):
    """Goes up and down; absent until first set."""

    def set(self, value: float, *labels: str) -> None:
        self._child(labels).set(value)

    def clear(self, *labels: str) -> None:
        """Make it absent again: the value is no longer known."""
        if self._children.pop(labels, None) is None:
            return
        if self._spec.labels:
            self._metric.remove(*labels)
        else:
            self._registry.unregister(self._metric)
            self._metric = None


class Histogram(_Handle):
    """Counts durations per bucket."""

    def observe(self, value: float, *labels: str) -> None:
        self._child(labels).observe(value)


class Metrics:
    """Handles to the metrics one process owns, by name without prefix."""

    def __init__(self, registry: CollectorRegistry | None = None, *, owner: str = "front") -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._handles: dict[str, _Handle] = {}
        kinds = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
        for spec in TABLE:
            if spec.owner == owner:
                handle = kinds[spec.kind](spec, self.registry)
                self._handles[spec.name] = handle
                if spec.kind != "gauge" and not spec.labels:
                    handle._child(())
                for labels in spec.zeros:
                    handle._child(labels)
        prometheus_client.ProcessCollector(namespace=PREFIX + owner, registry=self.registry)

    def counter(self, name: str) -> Counter:
        handle = self._handles[name]
        assert isinstance(handle, Counter), f"{name} is no counter"
        return handle

    def gauge(self, name: str) -> Gauge:
        handle = self._handles[name]
        assert isinstance(handle, Gauge), f"{name} is no gauge"
        return handle

    def histogram(self, name: str) -> Histogram:
        handle = self._handles[name]
        assert isinstance(handle, Histogram), f"{name} is no histogram"
        return handle

    def snapshot(self) -> list[Any]:
        """[[name, type, help, [[suffix, labels, value]...]]...], plain data for JSON."""
        families = []
        for family in self.registry.collect():
            samples = [
                [sample.name[len(family.name) :], dict(sample.labels), sample.value]
                for sample in family.samples
                if not sample.name.endswith("_created")
            ]
            if samples:
                families.append([family.name, family.type, family.documentation, samples])
        return families
