"""The balancer itself: its version, its event loop, its configuration."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from prometheus_client.core import Metric

from balancer import __version__
from balancer.metrics.family import counter, every, gauge, histogram, observe
from balancer.service import Service

_HANDSHAKES = ("not_authorized", "host_unknown", "connection_timeout")


def collect(service: Service) -> Iterator[Metric]:
    """The families about the process."""
    build = gauge("build_info", "Always 1; the version.", "version", "python_version")
    build.add_metric([__version__, platform.python_version()], 1)
    yield build

    lag = histogram("event_loop_lag_seconds", "How late the event loop woke up.")
    observe(lag, [], service.lag)
    yield lag

    reload = gauge("config_last_reload_successful", "Whether the last configuration was taken.")
    reload.add_metric([], not service.reload_failed)
    yield reload

    when = gauge(
        "config_last_reload_success_timestamp_seconds", "When a configuration was last taken."
    )
    when.add_metric([], service.reloaded)
    yield when

    draining = gauge("draining", "Whether the balancer is about to stop.")
    draining.add_metric([], service.stopping)
    yield draining

    refused = counter(
        "handshake_failures_total",
        "Connections that ended before they were a backend, by stream error condition.",
        "reason",
    )
    for reason, count in every(_HANDSHAKES, service.listener.refused):
        refused.add_metric([reason], count)
    yield refused
