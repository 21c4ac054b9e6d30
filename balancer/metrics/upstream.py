"""The link to the server, for each component."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import Metric

from balancer.component import Component
from balancer.connector import LinkState
from balancer.metrics.family import KINDS, counter, every, gauge

_FAILURES = (
    *("dns", "refused", "timeout", "tls", "not_authorized", "conflict", "host_unknown"),
    "stream_error",
)
_DISCONNECTS = ("local", "remote", "stream_error", "timeout", "parse_error")


def collect(components: Sequence[Component]) -> Iterator[Metric]:
    """The families about links to the server."""
    connected = gauge(
        "upstream_connected", "Whether the server has accepted the handshake.", "component"
    )
    attempts = counter(
        "upstream_connect_attempts_total", "Attempts to connect to the server.", "component"
    )
    failures = counter(
        "upstream_connect_failures_total",
        "Attempts that did not come as far as an accepted handshake.",
        *("component", "reason"),
    )
    disconnects = counter(
        "upstream_disconnects_total", "Ends of links that were in use.", "component", "reason"
    )
    last = gauge(
        "upstream_last_connect_timestamp_seconds",
        "When the server last accepted the handshake; 0 before the first time.",
        "component",
    )
    sent = counter(
        "upstream_stanzas_sent_total", "Stanzas written to the server.", "component", "stanza"
    )
    in_size = counter("upstream_received_bytes_total", "Bytes from the server.", "component")
    out_size = counter("upstream_sent_bytes_total", "Bytes to the server.", "component")
    for component in components:
        jid, connector, link = component.config.jid, component.connector, component.connector.link
        connected.add_metric([jid], connector.state is LinkState.UP)
        attempts.add_metric([jid], component.tally.attempts)
        for reason, count in every(_FAILURES, component.tally.failures):
            failures.add_metric([jid, reason], count)
        for reason, count in every(_DISCONNECTS, component.tally.disconnects):
            disconnects.add_metric([jid, reason], count)
        last.add_metric([jid], component.tally.last_connect or 0)
        for kind, count in every(KINDS, component.router.counts.to_server):
            sent.add_metric([jid, kind], count)
        in_size.add_metric([jid], component.tally.in_size + (link.in_size if link else 0))
        out_size.add_metric([jid], component.tally.out_size + (link.out_size if link else 0))
    yield from (connected, attempts, failures, disconnects, last, sent, in_size, out_size)
