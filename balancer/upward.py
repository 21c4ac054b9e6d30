"""The way to the server: what backends send it, and our own answers to what came from it.

While the server is away both wait.  Backends' stanzas wait within bounds, and what finds no room
is answered to its sender.  What answers a request of the server's may not be lost: it waits for
as long as it takes, and when there is no room for a backend's answer a short error takes its
place.  There are only as many of those as there were requests.
"""

from __future__ import annotations

from typing import NamedTuple

from balancer.asked import Asked
from balancer.counts import Counts
from balancer.decisions import (
    NO_SERVER,
    SERVER_LOST,
    STOPPING,
    Answer,
    Decision,
    Drop,
    Forward,
    Rules,
    Trouble,
)
from balancer.hold import NEVER, Budget, Held, Queue
from balancer.ledger import OURS
from balancer.pool import Backend
from balancer.stanza import Stanza, error_reply

#: Backends' own requests that are remembered, and for how many seconds.
ASKED = (50_000, 300.0)

#: Bytes an answer of ours may have: far below what a server takes from a component.
MAX_ANSWER = 128 * 1024


class _Up(NamedTuple):
    """What waits for the server: a backend's stanza, or, with the reason, our answer to one."""

    backend: Backend | None
    stanza: Stanza
    data: bytes
    reason: str = ""


class Upward:
    """What goes to the server.

    Args:
        rules: what the operator decided.
        counts: where the ends of stanzas are counted.
    """

    def __init__(self, rules: Rules, counts: Counts) -> None:
        self.connected = False
        self.asked = Asked(*ASKED)
        self._counts = counts
        self._budget = Budget(*rules.budget)
        self._queue: Queue[_Up] = Queue(self._budget)

    def __repr__(self) -> str:
        return f"<Upward {'connected' if self.connected else 'away'} {self.held} held>"

    @property
    def queued(self) -> int:
        """Everything that waits for the server."""
        return len(self._queue)

    @property
    def queued_size(self) -> int:
        """The bytes of that."""
        return self._queue.size

    @property
    def held(self) -> int:
        """Stanzas that wait for the server, and those whose answers do."""
        return len(self._queue)

    def configure(self, rules: Rules) -> None:
        """Go on under other rules."""
        self._budget.limit(*rules.budget)

    def send(self, backend: Backend, stanza: Stanza, data: bytes, now: float) -> list[Decision]:
        """Send a backend's stanza, as ``data``, when the server is there."""
        if self.connected:
            self._counts.delivered += 1
            self._counts.to_server[stanza.kind] += 1
            if stanza.is_request:
                self._ask(backend, stanza, now)
            return [Forward(None, data)]
        up = _Up(backend, stanza, data)
        if not stanza.is_reply:
            if self._queue.put(up, len(data), now):
                return []
            return self._not_sent(up, "queue_full")
        if self._budget.has_room(len(data)):
            self._queue.put_back(Held(up, len(data), NEVER))
            return []
        # Its asker must hear something; short is better than nothing.
        asked = stanza._replace(to=stanza.sender, sender=stanza.to, type="get")
        return self.answer(asked, NO_SERVER, "queue_full")

    def answer(self, stanza: Stanza, trouble: Trouble, reason: str) -> list[Decision]:
        """Answer a stanza of the server's with an error, if it may be answered."""
        data = error_reply(stanza, *trouble)
        if data is None:
            self._counts.dropped[reason, stanza.kind] += 1
            return [Drop(stanza, reason)]
        if len(data) > MAX_ANSWER:
            self._counts.orphaned["unanswerable"] += 1
            return [Drop(stanza, "unanswerable")]
        return self.answer_with(stanza, data, reason)

    def answer_with(self, stanza: Stanza, data: bytes, reason: str) -> list[Decision]:
        """Answer a stanza of the server's, in our own words."""
        if self.connected:
            self._counts.answered[reason] += 1
            self._counts.to_server[stanza.kind] += 1
            return [Answer(None, data, reason)]
        # The server still knows who asked, and hears it when it is back.
        self._queue.put_back(Held(_Up(None, stanza, data, reason), len(data), NEVER))
        return []

    def answer_backend(
        self, backend: Backend, stanza: Stanza, trouble: Trouble, reason: str
    ) -> list[Decision]:
        """Answer a backend's stanza with an error, if the backend is there and it may be."""
        data = error_reply(stanza, *trouble)
        if backend.gone:
            self._counts.orphaned["backend_gone"] += 1
            return [Drop(stanza, "backend_gone")]
        if data is None:
            self._counts.dropped[reason, stanza.kind] += 1
            return [Drop(stanza, reason)]
        self._counts.answered[reason] += 1
        return [self.tell(backend, data, stanza.kind, reason)]

    def tell(self, backend: Backend, data: bytes, kind: str, reason: str) -> Answer:
        """Send a stanza of our own to a backend."""
        backend.record.told[kind] += 1
        if backend.acks is not None:
            backend.ledger.add(OURS, plain=False)  # it counts this one too
        return Answer(backend, data, reason)

    def up(self, now: float) -> list[Decision]:
        """The server is there: everything that waited goes out in order."""
        self.connected = True
        held = [each.item for each in self._queue.pop_all()]
        return [self._forward(up, now) for up in held]

    def down(self, now: float) -> list[Decision]:
        """The server has gone: what backends have asked it will not be answered."""
        if not self.connected:
            return []
        self.connected = False
        decisions: list[Decision] = []
        for backend, request in self.asked.give_up(now):
            data = error_reply(request, *SERVER_LOST)
            if not backend.gone and data is not None:
                self._counts.server_lost += 1
                decisions.append(self.tell(backend, data, "iq", "server_lost"))
        return decisions

    def tick(self, now: float) -> list[Decision]:
        """Time passes: answer what has waited too long."""
        self.asked.expire(now)
        return [
            each
            for up in self._queue.pop_expired(now)
            for each in self._not_sent(up, "queue_timeout")
        ]

    def give_up(self) -> list[Decision]:
        """The balancer stops and the server is away: answer what waits for it."""
        held = [each.item for each in self._queue.pop_all()]
        decisions: list[Decision] = []
        for up in held:
            if up.backend is None or up.stanza.is_reply:
                # Who asked cannot be told any more.
                self._counts.dropped["server_away", up.stanza.kind] += 1
                decisions.append(Drop(up.stanza, "server_away"))
            else:
                decisions += self.answer_backend(up.backend, up.stanza, STOPPING, "stopping")
        return decisions

    def _forward(self, up: _Up, now: float) -> Forward:
        self._counts.to_server[up.stanza.kind] += 1
        if up.backend is None:
            self._counts.answered[up.reason] += 1
        else:
            self._counts.delivered += 1
            if up.stanza.is_request:
                self._ask(up.backend, up.stanza, now)
        return Forward(None, up.data)

    def _ask(self, backend: Backend, request: Stanza, now: float) -> None:
        self.asked.open(backend, request, f"{backend.tag}/{request.id}", now)

    def _not_sent(self, up: _Up, reason: str) -> list[Decision]:
        assert up.backend is not None, "our own answers have no deadline"
        return self.answer_backend(up.backend, up.stanza, NO_SERVER, reason)
