"""Which children of a stanza say something that routing needs, and what they say.

Names are expat's: the namespace, a space, the local name.
"""

from __future__ import annotations

from typing import Final

from balancer.stanza import ACCEPT_NS, CLIENT_NS, CONTROL_NS

_COMMANDS: Final = "http://jabber.org/protocol/commands"
_IBB: Final = "http://jabber.org/protocol/ibb"
#: Children of which routing wants one attribute: ``(clue, attribute)``.
ATTRIBUTE_CLUES: Final = {
    f"{_COMMANDS} command": ("session", "sessionid"),
    f"{_IBB} open": ("session", "sid"),
    f"{_IBB} data": ("session", "sid"),
    f"{_IBB} close": ("session", "sid"),
}
#: XEP-0355 and XEP-0356, every version their servers speak.
GRANTS: Final = {
    f"urn:xmpp:{what}:{version} {what}": f"urn:xmpp:{what}:{version}"
    for what in ("delegation", "privilege")
    for version in (1, 2)
}
#: What a backend asks of the balancer, as the only child of an iq to its component's own JID.
CONTROLS: Final = {f"{CONTROL_NS} drain": "drain"}
DELEGATIONS: Final = frozenset(name for name in GRANTS if name.endswith("delegation"))
THREADS: Final = frozenset({f"{ACCEPT_NS} thread", f"{CLIENT_NS} thread"})
