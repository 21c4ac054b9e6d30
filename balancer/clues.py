"""Which children of a stanza say something that routing needs, and what they say.

Names are expat's: the namespace, a space, the local name.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from balancer.stanza import ACCEPT_NS, CLIENT_NS, CONTROL_NS

_COMMANDS: Final = "http://jabber.org/protocol/commands"
_IBB: Final = "http://jabber.org/protocol/ibb"


class Clue(NamedTuple):
    """What a child is to routing: the value of an attribute, or its mere presence."""

    name: str
    attribute: str | None = None
    value: str = ""


#: XEP-0355 and XEP-0356, every version their servers speak.
_GRANTS: Final = {
    f"urn:xmpp:{what}:{version} {what}": Clue("grant", value=f"urn:xmpp:{what}:{version}")
    for what in ("delegation", "privilege")
    for version in (1, 2)
}
#: Those whose content matters too.
DELEGATIONS: Final = frozenset(name for name in _GRANTS if name.endswith("delegation"))

CHILDREN: Final[dict[str, Clue]] = {
    f"{_COMMANDS} command": Clue("session", "sessionid"),
    f"{_IBB} open": Clue("session", "sid"),
    f"{_IBB} data": Clue("session", "sid"),
    f"{_IBB} close": Clue("session", "sid"),
    # Its text, which is why it is looked into.
    f"{ACCEPT_NS} thread": Clue("thread"),
    f"{CLIENT_NS} thread": Clue("thread"),
    # What a backend asks of the balancer, as the only child of an iq to its component's own JID.
    f"{CONTROL_NS} drain": Clue("control", value="drain"),
    **_GRANTS,
}
