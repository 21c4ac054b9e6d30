"""Each backend, and all of a component by their states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import Metric

from balancer.component import Component
from balancer.histogram import Histogram
from balancer.metrics.family import KINDS, counter, every, gauge, histogram, observe

STATES: Final = ("up", "starting", "degraded", "ejected", "down", "drain", "maint")
_DISCONNECTS: Final = ("closed", "drained", "lost", "refused", "replaced", "stream_error")
_CHECK_FAILURES: Final = ("timeout", "iq_error", "not_connected")
_EJECTIONS: Final = ("iq_error", "iq_timeout")
_REDISPATCHED: Final = ("lost", "left", "down", "replaced")
_ONE: Final = ("component", "backend")


def collect(components: Sequence[Component], *, histograms: bool) -> Iterator[Metric | None]:
    """The families about backends; ``None`` after each backend (see `balancer.metrics.families`).

    Args:
        components: whose.
        histograms: whether each backend has its own; one costs 17 series.  Otherwise those of a
            component are added up, under an empty label.
    """
    yield from _states(components)
    yield from _checks(components)
    yield from _traffic(components)
    duration = histogram(
        "backend_health_check_duration_seconds", "Round trips of answered checks.", *_ONE
    )
    answers = histogram(
        "iq_duration_seconds",
        "From a request to its backend until its answer, or until it was given up.",
        *_ONE,
    )
    for component in components:
        jid = component.config.jid
        checks, requests = Histogram(), Histogram()  # of all together
        records = component.router.crew.records
        checks.add(records.forgotten_checks)
        requests.add(records.forgotten_iqs)
        for name, record in records:
            if histograms:
                observe(duration, [jid, name], record.check_time)
                observe(answers, [jid, name], record.iq_time)
                yield None
            else:
                checks.add(record.check_time)
                requests.add(record.iq_time)
        if not histograms:
            observe(duration, [jid, ""], checks)
            observe(answers, [jid, ""], requests)
    yield from (duration, answers)


def _states(components: Sequence[Component]) -> Iterator[Metric | None]:
    state = gauge("backend_state", "1 for the state a backend is in.", *_ONE, "state")
    weight = gauge("backend_weight", "What counts of its weight now, slow start included.", *_ONE)
    backends = gauge("backends", "Backends by state.", "component", "state")
    changes = counter(
        "backend_state_changes_total", "How often a state was entered.", *_ONE, "state"
    )
    for component in components:
        jid = component.config.jid
        by_state: Counter[str] = Counter()
        for name, record, backend in component.router.known():
            its = component.router.state(name)
            by_state[its] += 1
            for each in STATES:
                state.add_metric([jid, name, each], each == its)
            weight.add_metric([jid, name], backend.share if backend else 0)
            for each, count in every(STATES, record.state_changes):
                changes.add_metric([jid, name, each], count)
            yield None
        for each in STATES:
            backends.add_metric([jid, each], by_state[each])
    yield from (state, weight, backends, changes)


def _checks(components: Sequence[Component]) -> Iterator[Metric | None]:
    disconnects = counter("backend_disconnects_total", "Ends of connections.", *_ONE, "reason")
    checks = counter("backend_health_checks_total", "Checks that were made.", *_ONE)
    failures = counter(
        "backend_health_check_failures_total",
        "Checks without an answer in time; an error is an answer, so iq_error stays 0.",
        *_ONE,
        "reason",
    )
    ejections = counter(
        "backend_ejections_total", "Rests given for too many bad answers.", *_ONE, "reason"
    )
    suppressed = counter(
        "backend_ejections_suppressed_total",
        "Ejections that would have left nobody, and were not made.",
        "component",
    )
    for component in components:
        jid = component.config.jid
        suppressed.add_metric([jid], component.router.checkup.suppressed)
        for name, record in component.router.crew.records:
            for reason, count in every(_DISCONNECTS, record.disconnects):
                disconnects.add_metric([jid, name, reason], count)
            checks.add_metric([jid, name], record.checks)
            for reason, count in every(_CHECK_FAILURES, record.check_failures):
                failures.add_metric([jid, name, reason], count)
            for reason, count in every(_EJECTIONS, record.ejections):
                ejections.add_metric([jid, name, reason], count)
            yield None
    yield from (disconnects, checks, failures, ejections, suppressed)


def _traffic(components: Sequence[Component]) -> Iterator[Metric | None]:
    sent = counter("stanzas_sent_total", "Stanzas written to a backend.", *_ONE, "stanza")
    in_size = counter("received_bytes_total", "Bytes from a backend.", *_ONE)
    out_size = counter("sent_bytes_total", "Bytes to a backend.", *_ONE)
    again = counter(
        "stanzas_redispatched_total",
        "Stanzas that were taken from this backend and given to another.",
        *_ONE,
        "reason",
    )
    inflight = gauge("iq_requests_inflight", "Requests that wait for this backend's answer.", *_ONE)
    for component in components:
        jid = component.config.jid
        for name, record, backend in component.router.known():
            link = component.carrier.link(backend) if backend else None
            for kind, count in every(KINDS, record.sent()):
                sent.add_metric([jid, name, kind], count)
            in_size.add_metric([jid, name], record.in_size + (link.in_size if link else 0))
            out_size.add_metric([jid, name], record.out_size + (link.out_size if link else 0))
            for reason, count in every(_REDISPATCHED, record.redispatched):
                again.add_metric([jid, name, reason], count)
            inflight.add_metric([jid, name], backend.outstanding if backend else 0)
            yield None
    yield from (sent, in_size, out_size, again, inflight)
