"""Metric families by their short names, and the label values they always have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from balancer.histogram import Histogram

PREFIX: Final = "xmpp_balancer_"

#: The kinds of stanzas, as label values.
KINDS: Final = ("iq", "message", "presence")


def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    """A gauge without samples yet."""
    return GaugeMetricFamily(PREFIX + name, text, labels=labels)


def counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    """A counter without samples yet; ``_total`` is added to its name."""
    return CounterMetricFamily(PREFIX + name, text, labels=labels)


def histogram(name: str, text: str, *labels: str) -> HistogramMetricFamily:
    """A histogram without samples yet."""
    return HistogramMetricFamily(PREFIX + name, text, labels=labels)


def observe(family: HistogramMetricFamily, labels: Iterable[str], observed: Histogram) -> None:
    """Add what was observed."""
    bounds = [*map(str, map(float, observed.bounds)), "+Inf"]
    buckets = list(zip(bounds, accumulate(observed.counts), strict=True))
    family.add_metric(list(labels), buckets, sum_value=observed.sum)


def every(known: Iterable[str], counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Each value that a label is known to take, at 0 before the first, and what else came."""
    every_one = dict.fromkeys(known, 0)
    for value, count in counts.items():
        label = value.replace("-", "_")
        every_one[label] = every_one.get(label, 0) + count
    return iter(every_one.items())
