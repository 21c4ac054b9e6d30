"""Whose conversation is it: what a stanza has in common with those before it.

A conversation must stay on one backend.  `conversation` names it; `Recall` remembers, within
bounds, which backend something belongs to where no hash can tell.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from balancer.pool import Backend
from balancer.stanza import Stanza, bare


def _sender(stanza: Stanza) -> str:
    # A delegated iq comes from the server, but the conversation is its user's (XEP-0355 §4.3).
    return stanza.clues.get("delegated") or stanza.sender or ""


#: The conversation that a stanza belongs to, by the name of the affinity.
CONVERSATIONS: Final[dict[str, Callable[[Stanza], str]]] = {
    "sender": lambda stanza: bare(_sender(stanza)),
    "sender-full": _sender,
    "recipient": lambda stanza: bare(stanza.to or ""),
    "recipient-full": lambda stanza: stanza.to or "",
    "thread": lambda stanza: stanza.clues.get("thread") or bare(_sender(stanza)),
    "none": lambda _stanza: "",
}


class Recall:
    """Which backend something belongs to: a table with a bound and a time to live.

    Args:
        limit: entries it may have; the one used longest ago makes room.
        ttl: seconds that an entry lives after its last use.
    """

    def __init__(self, limit: int, ttl: float) -> None:
        self.limit(limit, ttl)
        self._entries: OrderedDict[Hashable, tuple[Backend, float]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Recall {len(self)}/{self._limit}>"

    def __len__(self) -> int:
        return len(self._entries)

    def limit(self, entries: int, ttl: float) -> None:
        """Set other bounds; what is remembered already stays."""
        self._limit = entries
        self._ttl = ttl

    def put(self, key: Hashable, backend: Backend, now: float) -> None:
        """Remember, or remember anew."""
        self._entries[key] = (backend, now + self._ttl)
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def get(self, key: Hashable, now: float) -> Backend | None:
        """The backend it belongs to, if that is known."""
        entry = self._entries.get(key)
        if entry is None or entry[1] <= now:
            return None
        return entry[0]

    def expire(self, now: float) -> None:
        """Forget what was not used for its time to live."""
        while self._entries:
            key, (_, deadline) = next(iter(self._entries.items()))
            if deadline > now:
                return
            del self._entries[key]

    def forget(self, backend: Backend) -> int:
        """Forget a backend that has gone; tells how many entries that were."""
        keys = [key for key, (owner, _) in self._entries.items() if owner is backend]
        for key in keys:
            del self._entries[key]
        return len(keys)
