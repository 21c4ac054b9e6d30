"""What an operator sees: plain values, read from a service when somebody asks.

The API, the page and the commands all show these and nothing else.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from pydantic import BaseModel

from balancer import __version__
from balancer.component import Component
from balancer.pool import Backend
from balancer.records import Record
from balancer.service import Service
from balancer.stanza import Stanza
from balancer.tap import Seen

#: What a log line or a page can take of a peer's own words.
MAX_REASON: Final = 200


class BackendView(BaseModel):
    """One backend, there or remembered; times in seconds, counts in stanzas."""

    name: str
    connection: int | None  # another one after each reconnect; None: there is none
    address: str
    state: str
    since: float
    weight: int
    share: float
    sent: int
    received: int
    in_flight: int
    unacknowledged: int
    window: int
    queued: int
    round_trip: float | None
    checks: int
    failed_checks: int
    ejections: int
    redispatched: int
    last_error: str


class ComponentView(BaseModel):
    """One component: its link to the server, its backends, and how stanzas ended."""

    jid: str
    server: str
    state: str
    reason: str
    since: float
    strategy: str
    affinity: str
    accepted: int
    delivered: int
    redelivered: int
    held: int
    queued: int
    answered: dict[str, int]
    orphaned: dict[str, int]
    dropped: dict[str, int]
    backends: list[BackendView]


class StatusView(BaseModel):
    """The whole balancer."""

    version: str
    uptime: float
    draining: bool
    listeners: int  # who follow stanzas; see `tap`
    components: list[ComponentView]


class RouteView(BaseModel):
    """Where a conversation is, or would be; ``queued`` in stanzas."""

    component: str
    affinity: str
    strategy: str
    conversation: str
    backend: str | None
    state: str | None
    queued: int
    why: str
    possible: bool


class SeenView(BaseModel):
    """A stanza that passed; ``time`` since the epoch, ``size`` in bytes."""

    time: float
    inward: bool
    kind: str
    type: str | None
    sender: str | None
    to: str | None
    id: str | None
    backend: str | None
    outcome: str
    children: tuple[str, ...]
    size: int
    xml: str | None
    missed: int


def seen_view(seen: Seen, missed: int) -> SeenView:
    """A stanza that somebody listens for.

    Args:
        seen: that stanza.
        missed: how many before it came too fast.
    """
    kind, to, sender, id, type_, data, _ = seen.stanza
    return SeenView(
        time=seen.time,
        inward=seen.inward,
        kind=kind,
        type=type_,
        sender=sender,
        to=to,
        id=id,
        backend=seen.backend,
        outcome=seen.outcome,
        children=seen.children,
        size=seen.size,
        xml=data.decode() if data else None,
        missed=missed,
    )


def status(service: Service) -> StatusView:
    """How everything is, now."""
    return StatusView(
        version=__version__,
        uptime=time.monotonic() - service.started,
        draining=service.stopping,
        listeners=sum(len(each.taps) for each in service.components.values() if each.taps),
        components=[component_view(each) for each in service.components.values()],
    )


def route_view(
    component: Component, sender: str, recipient: str | None, thread: str | None
) -> RouteView:
    """Where a message would go, and why.

    Args:
        component: for whom it is.
        sender: who would send it.
        recipient: to which address of the component; to its bare JID if ``None``.
        thread: in which thread (RFC 6121 §5.2.5), if in any.
    """
    router, now = component.router, time.monotonic()
    to = recipient or component.config.jid
    clues = {"thread": thread} if thread else {}
    stanza = Stanza("message", to, sender, None, "chat", b"", clues)
    key, backend, why = router.conversations.explain(stanza, now)
    return RouteView(
        component=component.config.jid,
        affinity=component.config.affinity,
        strategy=component.config.strategy,
        conversation=key,
        backend=backend.name if backend else None,
        state=backend.state if backend else None,
        queued=router.delivery.queued(backend) if backend else 0,
        why=why,
        possible=any(each.eligible() for each in router.pool),
    )


def component_view(component: Component) -> ComponentView:
    """How one component is, now."""
    router, connector, now = component.router, component.connector, time.monotonic()
    counts = router.counts
    return ComponentView(
        jid=component.config.jid,
        server=connector.address,
        state=connector.state.value,
        reason=connector.reason[:MAX_REASON],
        since=now - connector.since,
        strategy=component.config.strategy,
        affinity=component.config.affinity,
        accepted=counts.accepted,
        delivered=counts.delivered,
        redelivered=counts.redelivered,
        held=router.held,
        queued=router.queued,
        answered=dict(counts.answered),
        orphaned=dict(counts.orphaned),
        dropped=_by_reason(counts.dropped),
        backends=[
            _backend(component, name, record, each, now) for name, record, each in router.known()
        ],
    )


def recent(service: Service) -> dict[str, dict[str, list[tuple[int, int]]]]:
    """Stanzas to and from each backend, in steps of `balancer.records.PACE` seconds."""
    return {
        jid: {name: list(record.recent) for name, record in component.router.crew.records}
        for jid, component in service.components.items()
    }


def _by_reason(dropped: Counter[tuple[str, str]]) -> dict[str, int]:
    reasons: Counter[str] = Counter()
    for (reason, _), count in dropped.items():
        reasons[reason] += count
    return dict(reasons)


def _since(record: Record, backend: Backend | None, now: float) -> float:
    """When a backend came into its state."""
    if backend is None:
        return now if record.left is None else record.left
    return max(backend.health.since, backend.ordered)


def _backend(
    component: Component, name: str, record: Record, backend: Backend | None, now: float
) -> BackendView:
    """One backend; of one that is not there, what is remembered."""
    router = component.router
    link = component.carrier.link(backend) if backend else None
    return BackendView(
        name=name,
        connection=backend.number if backend else None,
        address=link.peer if link else "",
        state=router.state(name),
        since=now - _since(record, backend, now),
        weight=backend.weight if backend else 0,
        share=backend.share if backend else 0,
        sent=record.sent().total(),
        received=record.received(),
        in_flight=backend.outstanding if backend else 0,
        unacknowledged=len(backend.ledger) if backend else 0,
        window=component.config.max_unacked,
        queued=router.delivery.queued(backend) if backend else 0,
        round_trip=backend.health.round_trip if backend else None,
        checks=record.checks,
        failed_checks=record.check_failures.total(),
        ejections=record.ejections.total(),
        redispatched=record.redispatched.total(),
        last_error=component.carrier.last_errors.get(name, "")[:MAX_REASON],
    )
