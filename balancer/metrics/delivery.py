"""What becomes of stanzas: taken, answered, dropped, repeated, held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import Metric

from balancer.component import Component
from balancer.counts import Counts
from balancer.metrics.family import KINDS, counter, every, gauge, histogram, observe

_ERRORS: Final = (
    *("no_backend", "queue_full", "queue_timeout", "iq_timeout", "backend_lost"),
    *("invalid_from", "not_well_formed", "too_large", "rate_limited"),
    *("backends_lost", "retry_budget", "server_lost", "bad_request", "jid_malformed", "stopping"),
)
_DROPS: Final = ("no_backend", "queue_full", "server_away")
_EVICTIONS: Final = ("expired", "capacity", "backend_lost", "server_lost")
_FALLBACKS: Final = ("no_key", "owner_down", "owner_full", "panic")
_SIDES: Final = ("upstream", "backend")

#: What we answer as asked: no errors.
_NO_ERRORS: Final = frozenset({"control", "admin"})


def collect(components: Sequence[Component]) -> Iterator[Metric]:
    """The families about stanzas."""
    yield from _ends(components)
    yield from _repeated(components)
    yield from _asked(components)
    yield from _queues(components)
    yield from _pressure(components)


def errors(counts: Counts) -> Counter[str]:
    """Every error that we made, by reason: for a stanza, or the end of a backend's stream."""
    made = Counter({why: n for why, n in counts.answered.items() if why not in _NO_ERRORS})
    made["server_lost"] += counts.server_lost
    for condition, count in counts.refused.items():
        # RFC 6120 §4.9.3.14: what is too large, or nested too deeply, violates a policy.
        made["too_large" if condition == "policy-violation" else condition] += count
    return made


def _ends(components: Sequence[Component]) -> Iterator[Metric]:
    received = counter(
        "stanzas_received_total", "Stanzas accepted from a side.", "component", "side", "stanza"
    )
    made = counter(
        "stanza_errors_total", "Errors that the balancer itself made.", "component", "reason"
    )
    dropped = counter(
        "stanzas_dropped_total",
        "Stanzas lost without an error to anybody; must stay 0.",
        *("component", "stanza", "reason"),
    )
    for component in components:
        jid, counts = component.config.jid, component.router.counts
        for side, taken in zip(_SIDES, (counts.from_server, counts.from_backends), strict=True):
            for kind, count in every(KINDS, taken):
                received.add_metric([jid, side, kind], count)
        for reason, count in every(_ERRORS, errors(counts)):
            made.add_metric([jid, reason], count)
        for kind in KINDS:
            its = {reason: n for (reason, each), n in counts.dropped.items() if each == kind}
            for reason, count in every(_DROPS, its):
                dropped.add_metric([jid, kind, reason], count)
    yield from (received, made, dropped)


def _repeated(components: Sequence[Component]) -> Iterator[Metric]:
    retries = counter("retries_total", "Stanzas given to a second backend.", "component")
    exhausted = counter(
        "retry_budget_exhausted_total",
        "Stanzas answered with an error for want of retry budget.",
        "component",
    )
    nobody = counter(
        "no_backend_available_total", "Stanzas for which no backend was there.", "component"
    )
    fallbacks = counter(
        "strategy_fallbacks_total",
        "Times another backend was chosen than strategy and affinity ask for; panic stays 0,"
        " since we hold instead.",
        *("component", "reason"),
    )
    for component in components:
        jid, counts = component.config.jid, component.router.counts
        retries.add_metric([jid], counts.redelivered)
        exhausted.add_metric([jid], counts.not_retried)
        nobody.add_metric([jid], counts.no_backend)
        for reason, count in every(_FALLBACKS, component.router.conversations.fallbacks):
            fallbacks.add_metric([jid, reason], count)
    yield from (retries, exhausted, nobody, fallbacks)


def _asked(components: Sequence[Component]) -> Iterator[Metric]:
    entries = gauge(
        "iq_table_entries", "Backends' own requests that wait for the server.", "component"
    )
    limit = gauge("iq_table_limit", "How many of them are remembered.", "component")
    evictions = counter(
        "iq_table_evictions_total",
        "Requests that were forgotten without an answer.",
        *("component", "reason"),
    )
    orphans = counter(
        "iq_orphan_replies_total", "Answers that nobody waited for any more.", "component"
    )
    for component in components:
        jid, asked = component.config.jid, component.router.upward.asked
        entries.add_metric([jid], len(asked))
        limit.add_metric([jid], asked.limit)
        for reason, count in every(_EVICTIONS, asked.evicted):
            evictions.add_metric([jid, reason], count)
        orphaned = component.router.counts.orphaned
        orphans.add_metric([jid], sum(orphaned[r] for r in ("reply", "orphan_reply", "late_reply")))
    yield from (entries, limit, evictions, orphans)


def _queues(components: Sequence[Component]) -> Iterator[Metric]:
    stanzas = gauge(
        "queue_stanzas",
        "Stanzas that wait for a backend; for any one, where the label is empty.",
        *("component", "backend"),
    )
    size = gauge("queue_bytes", "Bytes that wait for a backend.", "component", "backend")
    limit = gauge("queue_limit_bytes", "Bytes that may wait for backends.", "component")
    up = gauge("upstream_queue_stanzas", "Stanzas that wait for the server.", "component")
    up_size = gauge("upstream_queue_bytes", "Bytes that wait for the server.", "component")
    wait = histogram("queue_wait_seconds", "Time in a queue before it was written.", "component")
    for component in components:
        jid, router = component.config.jid, component.router
        for backend, count, its_bytes in router.delivery.queue_sizes():
            labels = [jid, backend.name if backend else ""]
            stanzas.add_metric(labels, count)
            size.add_metric(labels, its_bytes)
        limit.add_metric([jid], router.rules.queue_bytes)
        up.add_metric([jid], router.upward.queued)
        up_size.add_metric([jid], router.upward.queued_size)
        observe(wait, [jid], router.counts.queue_wait)
    yield from (stanzas, size, limit, up, up_size, wait)


def _pressure(components: Sequence[Component]) -> Iterator[Metric]:
    forward = histogram(
        "forward_duration_seconds",
        "From a complete read until what it caused was written.",
        *("component", "side"),
    )
    pauses = counter(
        "backpressure_pauses_total", "Times a side was read no further.", "component", "side"
    )
    paused = gauge("backpressure_paused", "Whether a side is not read now.", "component", "side")
    for component in components:
        jid, counts = component.config.jid, component.router.counts
        now = (component.pressure.upstream, component.pressure.backends)
        for side, is_paused in zip(_SIDES, now, strict=True):
            observe(forward, [jid, side], counts.forwarding[side])
            pauses.add_metric([jid, side], counts.pauses[side])
            paused.add_metric([jid, side], is_paused)
    yield from (forward, pauses, paused)
