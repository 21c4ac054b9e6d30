"""What happens to backends: they come and go, fill up, fall ill and recover.

Whatever it is, the same two questions follow: who may be given conversations now, and what
becomes of the stanzas of who may not.  Whether they are well
is seen in `checkup`, what is ordered of them in `orders`.
"""

from __future__ import annotations

from collections.abc import Iterable

from balancer.conversation import Conversations
from balancer.decisions import Changed, Decision, Forward, Rules
from balancer.delivery import Delivery
from balancer.health import Health, Order
from balancer.hold import Held
from balancer.moves import Moves
from balancer.pool import Backend, Pool
from balancer.records import Records
from balancer.stanza import Stanza

#: With more backends than this, only every so many-th look at how busy they are is a real one.
MANY = 64
LOOKS = 16


class Crew:
    """The backends of one component.

    Args:
        rules: what the operator decided.
        conversations: who has which; it is told who is eligible.
        delivery: what they have, and what waits for them.
    """

    def __init__(
        self,
        rules: Rules,
        conversations: Conversations,
        delivery: Delivery,
    ) -> None:
        self.pool = Pool()
        self.records = Records()
        self._rules = rules
        self._conversations = conversations
        self._delivery = delivery
        self._moves = Moves()
        self._looks = 0

    def __repr__(self) -> str:
        return f"<Crew {self.pool!r}>"

    def configure(self, rules: Rules, now: float) -> list[Decision]:
        """Go on under other rules, strategy or weights."""
        self._rules = rules
        for backend in self.pool:
            backend.health.rules = rules.health
        return self.shuffle(now, whatever=True)

    def changed(self, backend: Backend, why: str) -> Changed:
        """Note that a backend is in another state, if it shows."""
        backend.record.enter(backend.state)
        return Changed(backend, why)

    def update(self, now: float) -> None:
        """Somebody's eligibility or share is another."""
        for backend in self.pool:
            backend.share = backend.weight * backend.health.share(now)
        self._conversations.update(self.pool)

    # Coming and going.

    def join(self, backend: Backend, first: Iterable[Stanza], now: float) -> list[Decision]:
        """A backend is there.

        If its name was taken, it gets what the old connection may not have handled.

        Args:
            backend: the newcomer.
            first: what it must hear before anything else.
            now: the time.
        """
        backend.health = Health(self._rules.health, now)
        old = self.pool.get(backend.name)
        if old is not None:
            self.pool.remove(old)
        self.pool.add(backend)
        backend.record = self.records.here(backend)
        backend.record.enter(backend.state)
        self._delivery.join(backend)
        decisions = [each for stanza in first for each in self._delivery.give(backend, stanza, now)]
        decisions += self.enter(backend, now)
        return decisions + (self._clear(old, "replaced", now) if old is not None else [])

    def leave(self, backend: Backend, now: float, *, orderly: bool = False) -> list[Decision]:
        """A backend has gone: what it may not have handled, and what waited for it, moves.

        Args:
            backend: that backend.
            now: the time.
            orderly: whether it was meant to go.
        """
        self.pool.remove(backend)
        if not orderly:
            backend.record.enter("down")
            backend.record.check_failures["not_connected"] += bool(backend.ledger.checks)
        self.records.gone(backend.name, now, orderly=orderly)
        return self._clear(backend, "left" if orderly else "lost", now)

    def _clear(self, backend: Backend, reason: str, now: float) -> list[Decision]:
        backend.gone = True
        decisions = self.move_everything(backend, reason, now)
        self._delivery.leave(backend)
        return decisions + self.finish_moves(now)

    def move_everything(self, backend: Backend, reason: str, now: float) -> list[Decision]:
        """A backend is dead, or as good as: another gets what it had."""
        self._moves.cancel(backend)
        self._conversations.forget(backend)
        self.update(now)
        decisions, again = self._delivery.take_back(backend, reason, now)
        decisions += self._give_again(again, now)
        # A stanza is given to two backends at most: the sooner the second has acknowledged it,
        # the smaller the chance that both die with it.
        heirs = {each.backend for each in decisions if type(each) is Forward and each.backend}
        return decisions + self.ask(heirs, now)

    def ask(self, backends: Iterable[Backend], now: float) -> list[Decision]:
        """Barriers for those that have been sent something since their last."""
        return [
            self._delivery.ask(each, now)
            for each in backends
            if each.ledger.has_news() and self._delivery.may_ask(each)
        ]

    def _give_again(self, again: Iterable[Held[Stanza]], now: float) -> list[Decision]:
        return [
            each
            for held in again
            for each in self._delivery.give(self._conversations.owner(held.item, now), held, now)
        ]

    def enter(self, backend: Backend, now: float) -> list[Decision]:
        """A backend may be given (more) conversations; with hashing it takes them from others."""
        backend.lingers = False
        self.update(now)
        decisions: list[Decision] = []
        others = [each for each in self.pool if each is not backend]
        moves = self._conversations.moves_by_itself()
        if moves or self._moves:  # while some wait for others, it may be given what is theirs
            decisions += self._begin_move(backend, others, now)
        if moves:
            for each in others:
                decisions += self._give_again_from(each, now)
        return decisions + self.serve_nobodys(now)

    def exit(self, backend: Backend, now: float, *, forget: bool) -> list[Decision]:
        """A backend may not be given conversations any more; it is there, and finishes."""
        if not forget and not self._conversations.moves_by_itself():
            self.update(now)  # it keeps those that it has
            return self._give_again_from(backend, now)
        backend.lingers = True
        decisions = self._begin_move(backend, [backend], now)
        if not backend.frozen:
            decisions += self._exited([backend], now)
        return decisions

    def _exited(self, backends: list[Backend], now: float) -> list[Decision]:
        """They have finished; all at once, or one would be given what another leaves."""
        if not backends:
            return []
        for backend in backends:
            backend.lingers = False
            if backend.order is not Order.DRAIN:  # one that is drained ends what it has begun
                self._conversations.forget(backend)
        self.update(now)
        return [each for backend in backends for each in self._give_again_from(backend, now)]

    def _begin_move(self, backend: Backend, after: Iterable[Backend], now: float) -> list[Decision]:
        if self._rules.affinity == "none":
            return []
        deadline = now + self._rules.settle_time
        return self.ask(self._moves.begin([backend], after, deadline), now)

    def finish_moves(self, now: float) -> list[Decision]:
        over = self._moves.finished(now)
        decisions = self._exited([each for each in over if each.lingers], now)
        for backend in over:
            decisions += self._delivery.serve(backend, now)
        return decisions

    def _give_again_from(self, backend: Backend, now: float) -> list[Decision]:
        """What waits for a backend may belong to another now; what it asked for does not."""
        return [
            each
            for held in self._delivery.waiting_for(backend)
            for each in self._delivery.give(
                backend if held.item.is_reply else self._conversations.owner(held.item, now),
                held,
                now,
            )
        ]

    def shuffle(self, now: float, *, whatever: bool = False) -> list[Decision]:
        """Weights or rules are others: anybody's conversations may be somebody else's now.

        Nobody is given more until all have acknowledged what they have.

        Args:
            now: the time.
            whatever: also where conversations do not move by themselves; rules are others.
        """
        decisions: list[Decision] = []
        moves = whatever or self._conversations.moves_by_itself()
        if moves and self._rules.affinity != "none":
            deadline = now + self._rules.settle_time
            decisions += self.ask(self._moves.begin(self.pool, self.pool, deadline), now)
        self.update(now)
        for backend in self.pool:
            decisions += self._give_again_from(backend, now)
        return decisions + self.serve_nobodys(now)

    # Room.

    def full(self, backend: Backend) -> None:
        """A backend's socket takes nothing more for now."""
        backend.congested = True
        backend.room = 0

    def room(self, backend: Backend, now: float) -> list[Decision]:
        """A backend's socket takes stanzas again: what waited for it comes first."""
        backend.congested = False
        return self._delivery.serve(backend, now)

    def is_busy(self, was: bool) -> bool:
        """Whether the backends' windows are three quarters full, or still half if they were."""
        if len(self.pool) > MANY:  # so many have room for many reads: not every one is counted
            self._looks = (self._looks + 1) % LOOKS
            if self._looks and not was:
                return False
        eligible = [each for each in self.pool if each.eligible()]
        used = sum(len(each.ledger.entries) for each in eligible)
        return used * 4 > len(eligible) * self._rules.max_unacked * (2 if was else 3)

    def serve_nobodys(self, now: float) -> list[Decision]:
        """Somebody is there: serve those for whom there was nobody."""
        return self._give_again(self._delivery.nobodys(), now)

    # Time, and the end.

    def tick(self, now: float) -> list[Decision]:
        """Time passes: finish moves whose time is over."""
        self.records.tick(now)
        return self.finish_moves(now)

    def ask_all(self, now: float) -> list[Decision]:
        """Ask every backend for what it has received."""
        return self.ask(self.pool, now)

    def give_up(self, marks: dict[Backend, int]) -> list[Decision]:
        """Answer what backends have and did not acknowledge or answer, though they were asked.

        Args:
            marks: up to which number of its ledger each was asked for.
        """
        return [
            each
            for backend, mark in marks.items()
            if not backend.gone and (backend.outstanding or backend.ledger.acknowledged < mark)
            for each in self._delivery.abandon(backend)
        ]
