"""What Prometheus reads: the counters, turned into metric families when somebody asks.

Nothing is counted here and nothing in the data path knows of this package.  Names, labels and help
texts are a contract with dashboards and alerts; ``tests/metrics.txt`` has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from balancer.metrics import backends, delivery, process, upstream
from balancer.service import Service

#: Backends that are looked at before stanzas have their turn again: some milliseconds' work.
AT_ONCE: Final = 16


def families(service: Service) -> Iterator[Metric | None]:
    """Every family; with ``None`` in between wherever one may stop for a moment."""
    components = list(service.components.values())
    histograms = service.config.admin.per_backend_histograms
    yield from process.collect(service)
    yield from upstream.collect(components)
    yield from backends.collect(components, histograms=histograms)
    yield from delivery.collect(components)


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

    async def scrape(self, accept: str) -> tuple[str, bytes]:
        """What there is to be told now: content type and text.

        With a thousand backends that takes half a second, which stanzas do not wait for: the
        numbers are taken in small portions, and the text is made in a thread.

        Args:
            accept: the request's ``Accept`` header; Prometheus prefers OpenMetrics.
        """
        found: list[Metric] = []
        stops = 0
        for family in families(self._service):
            if family is not None:
                found.append(family)
                continue
            stops += 1
            if stops % AT_ONCE == 0:
                await asyncio.sleep(0)
        encoder, content_type = choose_encoder(accept)
        registry = CollectorRegistry()
        registry.register(_Found([*found, *self._process.collect()]))
        return content_type, await asyncio.to_thread(encoder, registry)


class _Found(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._families
