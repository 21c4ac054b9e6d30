"""Who has a conversation: the backend that a stanza from the server belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, cast

from balancer.affinity import CONVERSATIONS, Recall
from balancer.decisions import Rules
from balancer.pool import Backend, Pool
from balancer.stanza import MAX_ID, Stanza
from balancer.strategy import Strategy

#: Entries and seconds for which an error still finds the backend that caused it.
RETURNS: Final = (50_000, 120.0)

#: Entries and seconds of multi-step exchanges: XEP-0050 sessions, XEP-0047 bytestreams.
SESSIONS: Final = (50_000, 3600.0)


#: Addresses whose owner is kept at hand.
FOUND: Final = 200_000

#: Which address decides, as the index of a stanza's field.
_ADDRESS: Final = {"recipient": 1, "recipient-full": 1, "sender": 2, "sender-full": 2}


class Conversations:
    """Finds the owner of a conversation, and picks one for a new one.

    Args:
        rules: what the operator decided.
        strategy: picks the backend of a new conversation.
    """

    def __init__(self, rules: Rules, strategy: Strategy) -> None:
        self._known = Recall(rules.affinity_entries, rules.affinity_ttl)
        self._sessions = Recall(*SESSIONS)
        self._returns = Recall(*RETURNS)
        self._found: dict[str, Backend] = {}  # by address; see `owner`
        #: How often another backend was chosen than affinity and strategy ask for, by reason.
        self.fallbacks: Counter[str] = Counter()
        self.configure(rules, strategy)

    def __repr__(self) -> str:
        return f"<Conversations {len(self._known)} known, {len(self._sessions)} sessions>"

    def configure(self, rules: Rules, strategy: Strategy) -> None:
        """Go on under other rules; the strategy must be told who is there."""
        self._spill = rules.spill
        self._key: Callable[[Stanza], str] = CONVERSATIONS[rules.affinity]
        self._by_thread = rules.affinity == "thread"
        self._known.limit(rules.affinity_entries, rules.affinity_ttl)
        # A hash finds a conversation's backend again by itself; any other choice is remembered.
        self._remembers = rules.affinity != "none" and not strategy.finds_again
        self._strategy = strategy
        # Where the address alone decides, what was found holds until somebody comes or goes.
        by_address = strategy.finds_again and not rules.spill and rules.affinity in _ADDRESS
        self._address = _ADDRESS[rules.affinity] if by_address else None
        self._found.clear()

    def update(self, pool: Pool) -> None:
        """Learn who may be given new conversations."""
        self._strategy.update([each for each in pool if each.eligible() or each.lingers])
        self._found.clear()

    def moves_by_itself(self) -> bool:
        """Whether a newcomer takes conversations from those who have them."""
        return self._strategy.finds_again

    def owner(self, stanza: Stanza, now: float) -> Backend | None:
        """The backend that a stanza belongs to, if there is one."""
        if self._address is not None and not stanza[6] and stanza[4] != "error":
            address = cast(str | None, stanza[self._address]) or ""
            found = self._found.get(address)
            if found is None:
                found = self._owner(stanza, now)
                if found is not None:
                    if len(self._found) >= FOUND:
                        self._found.clear()
                    self._found[address] = found
            return found
        if stanza.type == "error" and stanza.kind != "iq":
            caused_by = self._returns.get((stanza.to, stanza.sender, stanza.id), now)
            if caused_by is not None:
                return caused_by
        session = stanza.clues.get("session")
        if session is None:
            return self._owner(stanza, now)
        owner = self._sessions.get((stanza.sender, session), now)
        if owner is None:
            owner = self._owner(stanza, now)
        if owner is not None:
            self._sessions.put((stanza.sender, session), owner, now)
        return owner

    def at_hand(self) -> tuple[Mapping[str, Backend], int]:
        """What was found by address alone, and the index of that address in a stanza.

        Nothing, where more than the address decides.
        """
        return (self._found, self._address) if self._address is not None else ({}, 0)

    def _owner(self, stanza: Stanza, now: float) -> Backend | None:
        key = self._key(stanza)
        if self._by_thread and "thread" not in stanza.clues:
            self.fallbacks["no_key"] += 1
        if not self._remembers:
            owner = self._strategy.pick(key, spill=self._spill)
            hashes = self._strategy.finds_again
            if self._spill and hashes and owner is not self._strategy.pick(key, spill=False):
                self.fallbacks["owner_full"] += 1
            return owner
        owner = self._known.get(key, now)
        if owner is not None and self._spill and not owner.has_room():
            self.fallbacks["owner_full"] += 1
            owner = None
        if owner is None:
            owner = self._strategy.pick(key, spill=self._spill)
        if owner is not None:
            self._known.put(key, owner, now)
        return owner

    def explain(self, stanza: Stanza, now: float) -> tuple[str, Backend | None, str]:
        """Where a stanza would go, and why; nothing is changed or remembered.

        Returns:
            What its conversation is known by, who would get it (``None``: nobody, or that is
            decided when it comes), and the reason in a sentence.
        """
        key = self._key(stanza)
        if not key:
            return key, None, "no affinity: the strategy decides about each stanza"
        if self._remembers:
            known = self._known.get(key, now)
            if known is None:
                return key, None, "not known: the strategy decides when it begins"
            if self._spill and not known.has_room():
                return key, None, f"{known.name} has it but is full: it may go elsewhere"
            return key, known, "remembered: it began there"
        owner = self._strategy.pick(key, spill=False)
        if owner is None:
            return key, None, "nobody may be given conversations"
        chosen = self._strategy.pick(key, spill=self._spill)
        if chosen is not owner and chosen is not None:
            return key, chosen, f"the hash says {owner.name}, which is full"
        return key, owner, "the hash of the key and the backends' names and weights"

    def sent(self, backend: Backend, stanza: Stanza, now: float) -> None:
        """Note what a backend sends: errors come back to it, and its sessions stay with it."""
        if stanza.kind != "iq" and stanza.type != "error" and len(stanza.id or "") <= MAX_ID:
            self._returns.put((stanza.sender, stanza.to, stanza.id), backend, now)
        session = stanza.clues.get("session")
        if session is not None:
            self._sessions.put((stanza.to, session), backend, now)

    def forget(self, backend: Backend) -> None:
        """A backend has gone: its conversations are anybody's."""
        self.fallbacks["owner_down"] += self._known.forget(backend)
        self.fallbacks["owner_down"] += self._sessions.forget(backend)
        self._returns.forget(backend)

    def expire(self, now: float) -> None:
        """Forget what has been silent for too long."""
        for table in (self._known, self._sessions, self._returns):
            table.expire(now)
