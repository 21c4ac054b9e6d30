"""What an operator sees: plain values, read from a service when somebody asks.

The API, the page and the commands all show these and nothing else.
"""

from __future__ import annotations

import time
from typing import Final

from pydantic import BaseModel

from balancer import __version__
from balancer.component import Component
from balancer.pool import Backend
from balancer.service import Service

#: What a log line or a page can take of a peer's own words.
MAX_REASON: Final = 200


class BackendView(BaseModel):
    """One backend; times in seconds, sizes in bytes."""

    name: str
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
    components: list[ComponentView]


def status(service: Service) -> StatusView:
    """How everything is, now."""
    return StatusView(
        version=__version__,
        uptime=time.monotonic() - service.started,
        draining=service.stopping,
        components=[component_view(each) for each in service.components.values()],
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
        dropped=dict(counts.dropped),
        backends=[_backend(component, each, now) for each in router.pool],
    )


def _backend(component: Component, backend: Backend, now: float) -> BackendView:
    link = component.carrier.link(backend)
    return BackendView(
        name=backend.name,
        address=link.peer if link is not None else "",
        state=backend.state,
        since=now - backend.health.since,
        weight=backend.weight,
        share=backend.share,
        sent=backend.ledger.sent,
        received=backend.received,
        in_flight=backend.outstanding,
        unacknowledged=len(backend.ledger),
        window=component.config.max_unacked,
        queued=component.router.delivery.queued(backend),
        round_trip=backend.health.round_trip,
        checks=backend.health.checked,
        failed_checks=backend.health.failures,
        ejections=backend.health.ejections,
        last_error=component.carrier.last_errors.get(backend.name, "")[:MAX_REASON],
    )
