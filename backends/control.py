"""What a backend and the balancer say to each other and nobody else hears.

    <iq type='set' to='svc.example.org'><drain xmlns='urn:xmpp-balancer:0'/></iq>
    <iq type='set' to='svc.example.org'><weight xmlns='urn:xmpp-balancer:0' value='3'/></iq>

Each is the only child of an iq to the component's own bare JID.  A server would hand it back to
the component, so it is said behind a balancer only.
"""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element

from slixmpp.stanza.rootstanza import RootStanza

CONTROL_NS: Final = "urn:xmpp-balancer:0"
_REDELIVERED: Final = f"{{{CONTROL_NS}}}redelivered"


def drain() -> Element:
    """No new conversations, please: I am about to leave."""
    return Element(f"{{{CONTROL_NS}}}drain")


def weight(value: int) -> Element:
    """The share of the conversations that I want, 1 to 256.

    Raises:
        ValueError: it is not in that range.
    """
    if not 1 <= value <= 256:
        raise ValueError(f"a weight is a number from 1 to 256, not {value}")
    return Element(f"{{{CONTROL_NS}}}weight", {"value": str(value)})


def redelivered(stanza: RootStanza) -> bool:
    """Whether another backend had this stanza, and died before it said that it was done.

    It may have been handled then: wholly, in part, or not at all.
    """
    children = list(stanza.xml)
    return bool(children) and children[-1].tag == _REDELIVERED
