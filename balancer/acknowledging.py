"""XEP-0198 with a backend: what it says of acknowledgements, as decisions.

Only acknowledgements; a stream is never resumed, since what a lost one had goes to another backend
at once.
"""

from __future__ import annotations

from typing import Final

from balancer.decisions import Decision, Refuse, Tell
from balancer.elements import Element
from balancer.pool import Backend
from balancer.router import Router
from balancer.stanza import STANZA_ERROR_NS

_NS: Final = "urn:xmpp:sm:3"


def _failed(condition: str) -> bytes:
    return f"<failed xmlns='{_NS}'><{condition} xmlns='{STANZA_ERROR_NS}'/></failed>".encode()


def acknowledging(router: Router, backend: Backend, element: Element, now: float) -> list[Decision]:
    """Decide about what a backend said that is no stanza."""
    match element.name:
        case "urn:xmpp:sm:3 enable":
            if backend.acks is not None:
                return [Tell(backend, _failed("unexpected-request"))]
            router.checkup.enable_acks(backend)
            return [Tell(backend, f"<enabled xmlns='{_NS}'/>".encode())]
        case "urn:xmpp:sm:3 resume":
            return [Tell(backend, _failed("item-not-found"))]
        case "urn:xmpp:sm:3 r":
            if backend.acks is None:
                return [Tell(backend, _failed("unexpected-request"))]
            h = backend.acks.handled(backend.received)
            return [Tell(backend, f"<a xmlns='{_NS}' h='{h}'/>".encode())]
        case "urn:xmpp:sm:3 a":
            h_given = element.attributes.get("h", "")
            if not h_given.isdecimal():
                return [Refuse(backend, "invalid-xml", "an <a/> needs an h, a number")]
            return router.checkup.acknowledged(backend, int(h_given), now)
    return [Refuse(backend, "unsupported-stanza-type", "not message, presence or iq")]
