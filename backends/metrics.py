"""What a backend counts, for Prometheus: read when it is asked for, at no cost to the stanzas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from backends.backend import Backend

if TYPE_CHECKING:
    from prometheus_client import Metric

_PREFIX = "xmpp_backend"


class BackendCollector:
    """A collector (of ``prometheus_client``) of one backend's figures.

    Args:
        backend: the one to look at.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        backend = self._backend
        counts = backend.counts
        received = CounterMetricFamily(
            f"{_PREFIX}_stanzas_received", "Stanzas that came in.", labels=["kind"]
        )
        for kind in ("iq", "message", "presence"):
            received.add_metric([kind], counts[f"received {kind}"])
        yield received
        for name, what in (
            ("handled", "Stanzas whose handlers ended well."),
            ("failed", "Stanzas with a handler that raised."),
            ("redelivered", "Stanzas that another backend had before."),
            ("connected", "Connections made."),
            ("connection failed", "Connections that could not be made."),
        ):
            yield CounterMetricFamily(f"{_PREFIX}_{name.replace(' ', '_')}", what, counts[name])
        for name, what, value in (
            ("online", "Whether there is a connection.", float(backend.online)),
            ("handlers_running", "Handlers at work.", float(backend.jobs.running)),
            ("handlers_waiting", "Stanzas that wait for one.", float(backend.jobs.waiting)),
            ("unfinished", "Stanzas not done.", float(backend.acknowledgements.unfinished)),
            ("outbox", "Stanzas that wait for a connection.", float(len(backend.outbox))),
        ):
            yield GaugeMetricFamily(f"{_PREFIX}_{name}", what, value)


def expose(backend: Backend, port: int, host: str = "127.0.0.1") -> Callable[[], None]:
    """Serve the figures over HTTP, in a thread of its own.

    Returns:
        What ends it.

    Raises:
        OSError: the port is taken.
    """
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(BackendCollector(backend))
    server, thread = start_http_server(port, host, registry)

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end
