"""What Prometheus reads: the counters, turned into metric families when somebody asks.

Nothing is counted here and nothing in the data path knows of this package.  Names, labels and help
texts are a contract with dashboards and alerts; ``tests/metrics.txt`` has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from balancer.metrics import backends, delivery, process, upstream
from balancer.service import Service


class Snapshot(Collector):
    """Everything at one moment.

    Args:
        service: what is looked at.
    """

    def __init__(self, service: Service) -> None:
        components = list(service.components.values())
        histograms = service.config.admin.per_backend_histograms
        self._families = [
            *process.collect(service),
            *upstream.collect(components),
            *backends.collect(components, histograms=histograms),
            *delivery.collect(components),
        ]

    def collect(self) -> Iterator[Metric]:
        """The families."""
        yield from self._families


class Exporter:
    """Answers scrapes.

    Args:
        service: what is shown.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)

    def scrape(self, accept: str) -> tuple[str, Callable[[], bytes]]:
        """What there is to be told now.

        Args:
            accept: the request's ``Accept`` header; Prometheus prefers OpenMetrics.

        Returns:
            The content type, and what makes the text: with many backends that takes a while, and
            may be done in a thread, since the numbers are taken already.
        """
        encoder, content_type = choose_encoder(accept)
        registry = CollectorRegistry()
        registry.register(_Both(Snapshot(self._service), self._process))
        return content_type, lambda: encoder(registry)


class _Both(Collector):
    def __init__(self, snapshot: Snapshot, process: CollectorRegistry) -> None:
        self._families = [*snapshot.collect(), *process.collect()]

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._families
