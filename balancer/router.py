"""The one place that decides: forward, hold, answer or drop.

A stanza comes in with the time; what is to be done with it comes out as a list of decisions,
which the service carries out in order.  Nothing here waits, writes or calls back.

    from_server(stanza)            a stanza for the component
    from_backend(backend, stanza)  a stanza of one of its backends
    server_up, server_down         what happens to the link to the server
    tick                           time passes

What happens to backends (they come, go, fill up, fall ill) is in `crew`, how they are in `checkup`,
what is ordered of them in `orders`.

Sticky iq, outward: a backend's request leaves under the id ``tag/id``, so the reply says itself
where it belongs and no table is needed.  Inward: a request handed to a backend is in `Inflight`
until it is answered, and is answered once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from balancer.checkup import Checkup
from balancer.conversation import Conversations
from balancer.counts import Counts
from balancer.crew import Crew
from balancer.decisions import (
    BAD_IQ,
    BAD_TO,
    BAD_WEIGHT,
    STOPPING,
    Administer,
    Decision,
    Drop,
    Refuse,
    Rules,
)
from balancer.delivery import Delivery
from balancer.health import Order, State
from balancer.orders import Orders
from balancer.pool import Backend, Pool
from balancer.records import Record
from balancer.stanza import IQ_TYPES, MAX_ID, Stanza, bare, domain, is_address, quoted, with_id
from balancer.strategy import Strategy
from balancer.upward import Upward

#: Seconds within which a backend that is at work has acknowledged something.
MOVING: Final = 0.5

#: What a backend may weigh.
WEIGHTS: Final = frozenset(map(str, range(1, 257)))

#: Grants that are replayed; a server has a handful.
MAX_GRANTS: Final = 64


class Router:
    """Decides for one component.

    Args:
        rules: what the operator decided.
        strategy: picks the backend of a new conversation.
        chance: returns a random number in [0, 1), for jitter.
        resource: the resource the balancer's own checks come from; hard to guess.
    """

    def __init__(
        self,
        rules: Rules,
        strategy: Strategy,
        chance: Callable[[], float] = lambda: 0.0,
        resource: str = "xmpp-balancer",
    ) -> None:
        self.rules = rules
        self.counts = Counts()
        self.upward = Upward(rules, self.counts)
        self.delivery = Delivery(rules, f"{rules.jid}/{resource}", self.upward, self.counts)
        self.conversations = Conversations(rules, strategy)
        self.crew = Crew(rules, self.conversations, self.delivery)
        self.checkup = Checkup(self.crew, self.delivery, chance)
        self.orders = Orders(rules, self.crew, self.delivery)
        self.grants: dict[tuple[str, str], Stanza] = {}
        self.stopping = False
        self._busy = False
        self._marks: dict[Backend, int] = {}

    def configure(self, rules: Rules, strategy: Strategy, now: float) -> list[Decision]:
        """Go on under other rules; what is held or in flight keeps the times it was given."""
        self.rules = rules
        self.upward.configure(rules)
        self.delivery.configure(rules)
        self.conversations.configure(rules, strategy)
        self.orders.configure(rules)
        return self.crew.configure(rules, now)

    def missing(self) -> int:
        """Accepted stanzas that are unaccounted for: 0, or there is a defect (see `counts`)."""
        return self.counts.missing(self.held)

    def __repr__(self) -> str:
        link = "connected" if self.connected else "away"
        return f"<Router {self.rules.jid} {len(self.pool)} backends, server {link}>"

    def known(self) -> Iterator[tuple[str, Record, Backend | None]]:
        """Every backend that is there, or was not long ago."""
        for name, record in self.crew.records:
            yield name, record, self.pool.get(name)

    def state(self, name: str) -> str:
        """The state of a backend that is known: what is ordered, else how it is."""
        backend = self.pool.get(name)
        if backend is not None:
            return backend.state
        order = self.orders.of(name)
        return State.DOWN.value if order is Order.READY else order.value

    @property
    def pool(self) -> Pool:
        """Who is there."""
        return self.crew.pool

    @property
    def connected(self) -> bool:
        """Whether the server is there."""
        return self.upward.connected

    @property
    def queued(self) -> int:
        """What waits for a backend or for the server."""
        return self.delivery.budget.used + self.upward.queued

    @property
    def held(self) -> int:
        """Stanzas that were accepted and have not come to an end."""
        return self.delivery.held + self.upward.held

    def crowded(self, now: float) -> bool:
        """Whether to read no more from the server for a moment.

        When backends as a whole have enough to do, and when much waits for some that are at work:
        it is they who set the pace.  One that stands still must not hold up the others, though:
        for it the server is made to wait only when the queue is nearly full and no backend at all
        has room (DESIGN §3.6).
        """
        self._busy = self.crew.is_busy(self._busy)
        # What backends wait for comes from the server too: while they ask, it is read until the
        # queue is nearly full, or both could wait for ever.
        patient = len(self.upward.asked) > 0 and not self.delivery.budget.is_nearly_full()
        if self._busy and not patient:
            return True
        budget = self.delivery.budget
        if not budget.is_filling():
            return False
        if budget.is_nearly_full() and not any(each.available() for each in self.pool):
            return True
        queued = self.delivery.queued
        moving = sum(queued(each) for each in self.pool if now - each.moved < MOVING)
        return moving * 8 >= budget.used and not patient

    # From the server.

    def from_server(self, stanza: Stanza, now: float) -> list[Decision]:
        """Decide about a stanza for the component."""
        kind, _, _, id, type_, _, clues = stanza
        if clues and "grant" in clues and self._is_grant(stanza):
            return self._granted(stanza, now)
        self.counts.accepted += 1
        self.counts.from_server[kind] += 1
        if kind == "iq":
            if id is None or len(id) > MAX_ID or type_ not in IQ_TYPES:
                return self.upward.answer(stanza, BAD_IQ, "bad_request")
            if type_ in ("result", "error"):
                return self._reply_from_server(stanza, now)
            if "admin" in clues and self._is_from_admin(stanza):
                return [Administer(stanza)]
            if self.stopping:
                return self.upward.answer(stanza, STOPPING, "stopping")
        return self.delivery.give(self.conversations.owner(stanza, now), stanza, now)

    def _reply_from_server(self, stanza: Stanza, now: float) -> list[Decision]:
        assert stanza.id is not None
        expected = self.upward.asked.settle(stanza.id, stanza.sender)
        tag, _, original = stanza.id.partition("/")
        backend = self.pool.by_tag(tag)
        if backend is None or not expected:
            return [self._orphan(stanza, "orphan_reply" if expected else "late_reply")]
        own = stanza._replace(id=original, data=with_id(stanza.data, original))
        return self.delivery.give(backend, own, now)

    def _is_from_admin(self, stanza: Stanza) -> bool:
        return stanza.to == self.rules.jid and bare(stanza.sender or "") in self.rules.admins

    def administered(self, stanza: Stanza, answer: bytes) -> list[Decision]:
        """An administrator's request was done: answer it."""
        return self.upward.answer_with(stanza, answer, "admin")

    def _is_grant(self, stanza: Stanza) -> bool:
        # Only a server grants, so it comes from a bare domain; a user could write anything.
        sender = stanza.sender or ""
        return stanza.kind == "message" and bool(sender) and sender == domain(sender)

    def _granted(self, stanza: Stanza, now: float) -> list[Decision]:
        assert stanza.sender is not None
        key = (stanza.sender, stanza.clues["grant"])
        if key in self.grants or len(self.grants) < MAX_GRANTS:
            self.grants[key] = stanza
        self.counts.from_server[stanza.kind] += 1
        self.counts.accepted += len(self.pool)  # each gets one
        return [each for backend in self.pool for each in self.delivery.give(backend, stanza, now)]

    # From a backend.

    def from_backend(self, backend: Backend, stanza: Stanza, now: float) -> list[Decision]:
        """Decide about a stanza of a backend, checked so that it cannot hurt its neighbours."""
        backend.received += 1
        kind, to, _, _, type_, data, clues = stanza
        reply = kind == "iq" and type_ in ("result", "error")
        if reply and self.delivery.settle(backend, stanza, now):
            # It has the addresses of the request that it answers, so these need no check.
            self._accept_from(kind)
            decisions = self._answered(backend, stanza, now)
            if clues:
                self.conversations.sent(backend, stanza, now)
            return decisions + self.upward.send(backend, stanza, data, now)
        if not stanza.sender or not to:
            return [Refuse(backend, "improper-addressing", "a stanza needs `from` and `to`")]
        if domain(stanza.sender) != self.rules.jid or not is_address(stanza.sender):
            given = stanza.sender[:100]
            text = f"`from` must be an address in the domain {self.rules.jid}, not {given}"
            return [Refuse(backend, "invalid-from", text)]
        if reply and to == self.delivery.identity:
            return self.checkup.check_answered(backend, stanza, now)
        self._accept_from(kind)
        if not is_address(to):
            return self.upward.answer_backend(backend, stanza, BAD_TO, "jid_malformed")
        if kind == "iq":
            if stanza.id is None or len(stanza.id) > MAX_ID or type_ not in IQ_TYPES:
                return self.upward.answer_backend(backend, stanza, BAD_IQ, "bad_request")
            if reply:
                return [self._orphan(stanza, "late_reply")]
            if "control" in clues and to == self.rules.jid and type_ == "set":
                return self._controlled(backend, stanza, now)
            if self.stopping:
                return self.upward.answer_backend(backend, stanza, STOPPING, "stopping")
            data = with_id(data, f"{backend.tag}/{stanza.id}")
        self.conversations.sent(backend, stanza, now)
        return self.upward.send(backend, stanza, data, now)

    def _accept_from(self, kind: str) -> None:
        self.counts.accepted += 1
        self.counts.from_backends[kind] += 1

    def _answered(self, backend: Backend, reply: Stanza, now: float) -> list[Decision]:
        """What an answer says of the backend's health."""
        if reply.type == "error" and b"<internal-server-error" in reply.data:
            return self.checkup.answered_badly(backend, "iq_error", now)
        backend.health.answers_badly(False)
        return []

    def _controlled(self, backend: Backend, stanza: Stanza, now: float) -> list[Decision]:
        """A backend asks the balancer itself: it wants to be drained, or another weight."""
        weight = stanza.clues.get("weight", "")
        if stanza.clues["control"] == "weight" and weight not in WEIGHTS:
            return self.upward.answer_backend(backend, stanza, BAD_WEIGHT, "bad_request")
        assert stanza.to is not None
        assert stanza.sender is not None
        assert stanza.id is not None
        result = (
            f"<iq type='result' id={quoted(stanza.id)}"
            f" from={quoted(stanza.to)} to={quoted(stanza.sender)}/>"
        )
        self.counts.answered["control"] += 1
        answer = self.upward.tell(backend, result.encode(), "iq", "control")
        if stanza.clues["control"] == "weight":
            backend.announced = int(weight)
            return [answer, *self.orders.weigh(backend.name, int(weight), now)]
        return [answer, *self.orders.drain(backend, "it asked to be drained", now)]

    # Backends come and go; what else happens to them is between `crew` and the service.

    def join(self, backend: Backend, now: float) -> list[Decision]:
        """A backend is there, in the state that its name was ordered into.

        It hears the grants, and those who waited for a backend are served.
        """
        self.counts.accepted += len(self.grants)
        backend.order = self.orders.of(backend.name)
        return self.crew.join(backend, self.grants.values(), now)

    # The server.

    def server_up(self, now: float) -> list[Decision]:
        """The server is there: what the backends sent meanwhile goes out in order."""
        self.grants.clear()  # the server sends them anew at every login
        return self.upward.up(now)

    def server_down(self, now: float) -> list[Decision]:
        """The server is away: what backends send is held, and their questions are answered."""
        return self.upward.down(now)

    # Time, and the end.

    def tick(self, now: float) -> list[Decision]:
        """Time passes.  To be called some times a second."""
        self.delivery.retries.tick(self.counts.accepted, now)
        decisions = self.checkup.tick(now) + self.crew.tick(now) + self.orders.tick(now)
        self.conversations.expire(now)
        return decisions + self.upward.tick(now)

    def stop(self, now: float) -> list[Decision]:
        """The balancer is about to stop: no new requests, and what was received is asked for."""
        self.stopping = True
        self._marks = {backend: backend.ledger.sent for backend in self.pool}
        return self.crew.ask_all(now)

    def is_settled(self) -> bool:
        """Whether all requests are answered, and all acknowledged that was sent before `stop`."""
        return not self.delivery.inflight and all(
            backend.gone or backend.ledger.acknowledged >= mark
            for backend, mark in self._marks.items()
        )

    def give_up(self) -> list[Decision]:
        """The balancer stops: answer whatever still waits for a backend or for the server."""
        decisions = self.crew.give_up(self._marks) + self.delivery.give_up()
        if not self.connected:
            decisions += self.upward.give_up()
        return decisions

    def _orphan(self, stanza: Stanza, reason: str) -> Drop:
        self.counts.orphaned[reason] += 1
        return Drop(stanza, reason)
