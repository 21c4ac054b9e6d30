"""The way to the backends: give, hold, know what arrived, and give again.

Each backend has a queue for what it cannot take yet and a ledger of what it has not acknowledged;
what nobody can take waits in a queue of its own.  When a backend dies, `take_back` returns all
that it may not have handled, in order.
"""

from __future__ import annotations

from collections.abc import Iterator

from balancer.counts import Counts
from balancer.decisions import GONE, NOBODY, STOPPING, Decision, Drop, Forward, Rules, Tell, timeout
from balancer.hold import Budget, Held, Queue
from balancer.inflight import Inflight
from balancer.ledger import MAX_CHECKS, OURS, Check, Mark
from balancer.pool import Backend
from balancer.retries import RetryBudget
from balancer.stanza import CONTROL_NS, PING_NS, Stanza, quoted, with_last_child
from balancer.upward import Upward

#: How a backend can tell that another may have seen a stanza before.
REDELIVERED = f"<redelivered xmlns='{CONTROL_NS}'/>".encode()

_new = tuple.__new__

#: XEP-0198 §4: a request for an acknowledgement.
ACK_REQUEST = b"<r xmlns='urn:xmpp:sm:3'/>"


class Delivery:
    """What goes to the backends of one component.

    Args:
        rules: what the operator decided.
        identity: the address that the balancer's checks come from; nobody else's.
        upward: the way back, for what nobody takes.
        counts: where the ends of stanzas are counted.
    """

    def __init__(self, rules: Rules, identity: str, upward: Upward, counts: Counts) -> None:
        self.identity = identity
        self.inflight = Inflight(rules.iq_timeout)
        self.budget = Budget(*rules.budget)
        self.retries = RetryBudget(rules.max_unacked)
        self._rules = rules
        self._upward = upward
        self._counts = counts
        self._checks = 0
        self._nobody: Queue[Stanza] = Queue(self.budget)
        self._waiting: dict[Backend, Queue[Stanza]] = {}

    def __repr__(self) -> str:
        return f"<Delivery {self.held} held>"

    @property
    def held(self) -> int:
        """Stanzas that wait, are unacknowledged, or are requests without an answer yet."""
        unacknowledged = sum(backend.ledger.unfinished for backend in self._waiting)
        return self.budget.used + len(self.inflight) + unacknowledged

    def configure(self, rules: Rules) -> None:
        """Go on under other rules; what is held or in flight keeps the times it was given."""
        self._rules = rules
        self.inflight.timeout = rules.iq_timeout
        self.budget.limit(*rules.budget)
        self.retries.reserve = rules.max_unacked
        for backend in self._waiting:
            backend.ledger.limit(*rules.window)
            backend.room = 0

    def queued(self, backend: Backend) -> int:
        """Stanzas that wait for a backend."""
        return len(self._waiting[backend])

    def queue_sizes(self) -> Iterator[tuple[Backend | None, int, int]]:
        """What waits for each backend, and for anybody: stanzas and bytes."""
        yield None, len(self._nobody), self._nobody.size
        for backend, queue in self._waiting.items():
            yield backend, len(queue), queue.size

    def join(self, backend: Backend) -> None:
        """A backend is there."""
        backend.ledger.limit(*self._rules.window)
        self._waiting[backend] = Queue(self.budget)

    def leave(self, backend: Backend) -> None:
        """A backend has gone, and everything it had was taken back."""
        assert not self._waiting[backend], "its stanzas would be lost"
        self._upward.asked.forget(backend)
        del self._waiting[backend]

    # Giving.

    def give(
        self, owner: Backend | None, held: Held[Stanza] | Stanza, now: float
    ) -> list[Decision]:
        """Give a stanza to its owner, behind what already waits for it; hold it while nobody can.

        Args:
            owner: whose it is; ``None`` when there is nobody.
            held: the stanza, as it was held if it was: it keeps its deadline.
            now: the time.
        """
        stanza = held if type(held) is Stanza else held.item  # type: ignore[union-attr]
        if owner is None:
            self._counts.no_backend += type(held) is Stanza
            queue = self._nobody
        else:
            queue = self._waiting[owner]
            # An answer that a backend waits for goes past its window: what fills that may be
            # handlers which wait for just this.
            answers = stanza.is_reply and owner.takes()
            if (not queue and owner.has_room()) or answers:
                if type(held) is Held and "redelivered" not in stanza.clues:
                    self._waited(held.deadline, now)
                return self._write(owner, stanza, now)
        if owner is not None:
            owner.room = 0
        if type(held) is Held:
            queue.put_back(held)
            return []
        # One backend may not use up what all wait in.
        alone = owner is None or len(self._waiting) == 1
        room = alone or len(queue) * 2 < self.budget.stanzas
        if room and queue.put(stanza, len(stanza.data), now):
            return []
        reason = "queue_full" if self.budget.timeout else "no_backend"
        return self._upward.answer(stanza, NOBODY, reason)

    def _write(self, owner: Backend, stanza: Stanza, now: float) -> list[Decision]:
        ledger = owner.ledger
        kind, _, _, _, type_, data, _ = stanza
        request = kind == "iq" and type_ in ("get", "set")
        if request:
            holder = self.inflight.open(owner, stanza, now, ledger.sent + 1)
            if holder is not None:
                return self.give(holder, stanza, now)
        decisions: list[Decision] = [_new(Forward, (owner, data))]
        if ledger.add(stanza, not request):
            decisions.append(self.ask(owner, now))
        owner.room = ledger.free() if owner.has_room() and not self._waiting[owner] else 0
        return decisions

    def serve(self, backend: Backend, now: float) -> list[Decision]:
        """A backend may have room: what waits for it comes first, in order."""
        queue = self._waiting[backend]
        decisions: list[Decision] = []
        while queue and backend.has_room():
            stanza, _, deadline = queue.pop()
            self._waited(deadline, now)
            decisions += self._write(backend, stanza, now)
        return decisions

    def _waited(self, deadline: float, now: float) -> None:
        self._counts.queue_wait.observe(max(0.0, now - deadline + self.budget.timeout))

    def nobodys(self) -> Iterator[Held[Stanza]]:
        """What waits for anybody, oldest first; it is the caller's to give again."""
        for _ in range(len(self._nobody)):
            yield self._nobody.pop()

    # Acknowledgements.

    def ask(self, backend: Backend, now: float, *, regular: bool = False) -> Tell:
        """A barrier: XEP-0199's ping, or XEP-0198's request from who speaks that."""
        self._checks += 1
        id = f"check-{self._checks}"
        backend.ledger.ask(id, now, regular=regular)
        if backend.acks is not None:
            return Tell(backend, ACK_REQUEST)
        to = quoted(f"{self._rules.jid}/{backend.name}")
        ping = f"<iq type='get' id='{id}' from='{self.identity}' to={to}>"
        return Tell(backend, f"{ping}<ping xmlns='{PING_NS}'/></iq>".encode())

    def may_ask(self, backend: Backend) -> bool:
        """Whether another check makes sense: a stopped process answers all of them one day."""
        return len(backend.ledger.checks) < MAX_CHECKS

    def answered(self, backend: Backend, id: str | None) -> Check | None:
        """A backend has answered a check of ours: what was written before it was received."""
        check = backend.ledger.answered(id)
        if check is not None:
            self.received(backend, check.mark)
        return check

    def received(self, backend: Backend, mark: Mark) -> None:
        """A backend has received everything up to a mark of its ledger."""
        self._counts.delivered += backend.ledger.acknowledge(mark)

    def settle(self, backend: Backend, reply: Stanza, now: float) -> bool:
        """Take a backend's answer to a request; tells whether somebody waits for it."""
        if not self.inflight.settle(backend, reply, now):
            return False
        self._counts.delivered += 1
        return True

    # Taking back.

    def take_back(
        self, backend: Backend, reason: str, now: float
    ) -> tuple[list[Decision], list[Held[Stanza]]]:
        """Take from a backend that is dead all that it may not have handled.

        Args:
            backend: that backend.
            reason: what became of it, for the counters.
            now: the time.

        Returns:
            Answers to what is not given again, and what is to be given again, in order.
        """
        decisions: list[Decision] = []
        again: list[Held[Stanza]] = []
        for stanza in self._lost(backend, decisions):
            refusal = self._refusal(stanza)
            if refusal is None:
                self._counts.redelivered += 1
                backend.record.redispatched[reason] += 1
                again.append(self._marked(stanza, backend, now))
            else:
                decisions += self._upward.answer(stanza, GONE, refusal)
        for held in self._waiting[backend].pop_all():
            if held.item.is_reply:
                decisions.append(self._orphan(held.item))
            else:
                again.append(held)
        return decisions, again

    def _lost(self, backend: Backend, decisions: list[Decision]) -> Iterator[Stanza]:
        """What the ledger and the requests in flight say was not handled, oldest first."""
        first = backend.ledger.acknowledged + 1
        requests = {each.position: each.request for each in self.inflight.abandon(backend)}
        for position, request in requests.items():
            if position < first:  # received, but never answered
                yield request
        for position, stanza in enumerate(backend.ledger.take(), first):
            if stanza.is_request:
                if position in requests:
                    yield stanza
            elif stanza is OURS:
                continue
            elif stanza.is_reply or "grant" in stanza.clues:
                # Its asker is gone; and every backend has its own copy of a grant.
                decisions.append(self._orphan(stanza))
            else:
                yield stanza

    def _refusal(self, stanza: Stanza) -> str | None:
        """Why a stanza is not given to a second backend, or ``None`` if it is."""
        kind = f"iq-{stanza.type}" if stanza.kind == "iq" else stanza.kind
        if kind not in self._rules.redeliver or not stanza.data:
            return "backend_lost"
        if "redelivered" in stanza.clues:
            return "backends_lost"
        if not self.retries.take():
            self._counts.not_retried += 1
            return "retry_budget"
        return None

    def _marked(self, stanza: Stanza, backend: Backend, now: float) -> Held[Stanza]:
        data = with_last_child(stanza.data, REDELIVERED)
        clues = {**stanza.clues, "redelivered": backend.name}
        marked = stanza._replace(data=data, clues=clues)
        return Held(marked, len(data), now + self.budget.timeout)

    def _orphan(self, stanza: Stanza) -> Drop:
        self._counts.orphaned["reply"] += 1
        return Drop(stanza, "orphan_reply")

    def waiting_for(self, backend: Backend) -> list[Held[Stanza]]:
        """Take what waits for a backend."""
        return self._waiting[backend].pop_all()

    def abandon(self, backend: Backend) -> list[Decision]:
        """Answer what a backend has not acknowledged or answered, and will not."""
        decisions: list[Decision] = []
        for stanza in self._lost(backend, decisions):
            decisions += self._upward.answer(stanza, STOPPING, "stopping")
        return decisions

    # Time.

    def expire(self, backends: list[Backend], now: float) -> list[Decision]:
        """Answer what has waited too long.

        Args:
            backends: filled with those that did not answer a request in time.
            now: the time.
        """
        decisions: list[Decision] = []
        for backend, request, _, _ in self.inflight.expire(now):
            backends.append(backend)
            late = timeout(f"{backend.name} did not answer in {self._rules.iq_timeout:g} s")
            decisions += self._upward.answer(request, late, "iq_timeout")
        for queue in (self._nobody, *self._waiting.values()):
            for stanza in queue.pop_expired(now):
                decisions += self._upward.answer(stanza, NOBODY, "queue_timeout")
        return decisions

    def give_up(self) -> list[Decision]:
        """The balancer stops: answer whatever waits for a backend."""
        return [
            each
            for queue in (self._nobody, *self._waiting.values())
            for held in queue.pop_all()
            for each in self._upward.answer(held.item, STOPPING, "stopping")
        ]
