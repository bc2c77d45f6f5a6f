"""All metrics of the daemon: a table, handles, and the text Prometheus reads.

The only package that knows prometheus_client. It serves nothing: eftraind/service/web.py does.
"""

from eftraind.metrics.exposition import Page
from eftraind.metrics.handles import Counter, Gauge, Histogram, Metrics
from eftraind.metrics.table import PREFIX, TABLE, Spec, reference_table

__all__ = [
    "PREFIX",
    "TABLE",
    "Counter",
    "Gauge",
    "Histogram",
    "Metrics",
    "Page",
    "Spec",
    "reference_table",
]
