"""What is shown of both processes together: Prometheus text, and single values.

Owns the own registry beside the latest snapshot of the other process. It opens no socket.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Page:
    """What is shown: the own registry and the latest snapshot of the other process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._other: list[Metric] = []

    def show(self, snapshot: Sequence[Any]) -> None:
        """Replace the other process's metrics; raises ValueError on a malformed snapshot."""
        try:
            self._other = [_family(*row) for row in snapshot]
        except (TypeError, AttributeError, KeyError) as error:
            raise ValueError(f"malformed metrics snapshot: {error}") from error

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            kept = [s for s in family.samples if not s.name.endswith("_created")]
            if kept:
                family.samples = kept
                yield family
        yield from self._other

    def values(self, names: Iterable[str]) -> Values:
        """Samples of the metrics called `names`, which is cheaper than all of them: name with
        suffix and sorted labels -> value."""
        wanted = set(names)
        found: Values = {}
        for family in [*self._registry.restricted_registry(wanted).collect(), *self._other]:
            for sample in family.samples:
                if sample.name in wanted:
                    found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
        return found

    def text(self) -> bytes:
        # generate_latest asks only for collect()
        text: bytes = prometheus_client.generate_latest(self)
        return text


def _family(name: str, kind: str, text: str, samples: Iterable[Any]) -> Metric:
    family = Metric(name, text, kind)
    for suffix, labels, value in samples:
        family.add_sample(name + suffix, dict(labels), float(value))
    return family
