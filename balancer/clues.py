"""Which children of a stanza say something that routing needs, and what they say.

Names are expat's: the namespace, `SEPARATOR`, the local name.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from balancer.stanza import ACCEPT_NS, CLIENT_NS, CONTROL_NS, SEPARATOR

_COMMANDS: Final = "http://jabber.org/protocol/commands"
_DISCO: Final = "http://jabber.org/protocol/disco"
_IBB: Final = "http://jabber.org/protocol/ibb"


class Clue(NamedTuple):
    """What a child is to routing.

    The value of an attribute, if it begins with ``value``; without an attribute, that value itself
    by the child's mere presence.
    """

    name: str
    attribute: str | None = None
    value: str = ""


#: What an administrator asks of us, by the node (see `adhoc`).
_ADMIN: Final = Clue("admin", "node", CONTROL_NS)

#: XEP-0355 and XEP-0356, every version their servers speak.
_GRANTS: Final = {
    f"urn:xmpp:{what}:{version} {what}": (Clue("grant", value=f"urn:xmpp:{what}:{version}"),)
    for what in ("delegation", "privilege")
    for version in (1, 2)
}
#: Those whose content matters too.
DELEGATIONS: Final = frozenset(
    name.replace(" ", SEPARATOR) for name in _GRANTS if name.endswith("delegation")
)

_CHILDREN: Final[dict[str, tuple[Clue, ...]]] = {
    f"{_COMMANDS} command": (Clue("session", "sessionid"), _ADMIN),
    f"{_DISCO}#info query": (_ADMIN,),
    f"{_DISCO}#items query": (_ADMIN,),
    f"{_IBB} open": (Clue("session", "sid"),),
    f"{_IBB} data": (Clue("session", "sid"),),
    f"{_IBB} close": (Clue("session", "sid"),),
    # Its text, which is why it is looked into.
    f"{ACCEPT_NS} thread": (Clue("thread"),),
    f"{CLIENT_NS} thread": (Clue("thread"),),
    # What a backend asks of the balancer, as the only child of an iq to its component's own JID.
    f"{CONTROL_NS} drain": (Clue("control", value="drain"),),
    f"{CONTROL_NS} weight": (Clue("control", value="weight"), Clue("weight", "value")),
    **_GRANTS,
}
CHILDREN: Final = {name.replace(" ", SEPARATOR): clues for name, clues in _CHILDREN.items()}
