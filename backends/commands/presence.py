"""Who is here: the available resources of those whose presence we get (RFC 6121 §4)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from slixmpp import JID
from slixmpp.stanza import Presence

#: Addresses whose presence is kept; anybody may send some.
LIMIT: Final = 100_000
#: Resources of one bare JID; a server allows some ten.
RESOURCES: Final = 100


class Here:
    """Keeps who is available.

    Args:
        left: called with the bare address of one whose last resource has gone.
    """

    def __init__(self, left: Callable[[str], None] = lambda _: None) -> None:
        self._resources: defaultdict[str, set[str]] = defaultdict(set)
        self._changed = asyncio.Condition()
        self._left = left

    def __repr__(self) -> str:
        return f"<Here {' '.join(sorted(self._resources))}>"

    def __contains__(self, jid: str | JID) -> bool:
        """Whether that one is available: any resource of a bare address, or that resource."""
        wanted = JID(jid)
        there = self._resources.get(wanted.bare, set())
        return wanted.resource in there if wanted.resource else bool(there)

    async def heard(self, presence: Presence) -> None:
        """Take note of presence that came in."""
        sender: JID = presence["from"]
        kind = presence.xml.get("type")
        if kind is None and self._has_room(sender.bare):
            self._resources[sender.bare].add(sender.resource)
        elif kind in ("unavailable", "unsubscribed"):
            there = self._resources.get(sender.bare, set())
            was = bool(there)
            there.discard(sender.resource)
            if not sender.resource:
                there.clear()
            if was and not there:
                del self._resources[sender.bare]
                self._left(sender.bare)
        async with self._changed:
            self._changed.notify_all()

    def _has_room(self, bare: str) -> bool:
        there = self._resources.get(bare)
        return len(self._resources) < LIMIT if there is None else len(there) < RESOURCES

    def missing(self, jids: Iterable[str | JID]) -> list[str]:
        """Which of them are not here."""
        return [str(jid) for jid in jids if jid not in self]

    async def until_all(self, jids: Iterable[str | JID]) -> None:
        """Wait until all of them are here."""
        wanted = list(jids)
        async with self._changed:
            await self._changed.wait_for(lambda: not self.missing(wanted))
