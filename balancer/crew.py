"""What happens to backends: they come and go, fill up, fall ill, are drained and put to rest.

Whatever it is, the same two questions follow: who may be given conversations now, and what
becomes of the stanzas of who may not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from balancer.conversation import Conversations
from balancer.decisions import Changed, Close, Decision, Forward, Refuse, Rules
from balancer.delivery import Delivery
from balancer.health import Health, Order, State
from balancer.hold import Held
from balancer.ledger import Check
from balancer.moves import Moves
from balancer.pool import Acks, Backend, Pool
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
        chance: returns a random number in [0, 1), for jitter.
    """

    def __init__(
        self,
        rules: Rules,
        conversations: Conversations,
        delivery: Delivery,
        chance: Callable[[], float],
    ) -> None:
        self.pool = Pool()
        self.orders: dict[str, Order] = {}  # by name, so that they outlive a reconnect
        self.suppressed = 0  # ejections that would have left nobody
        self._rules = rules
        self._conversations = conversations
        self._delivery = delivery
        self._chance = chance
        self._draining: dict[Backend, float] = {}  # until when
        self._moves = Moves()
        self._looks = 0

    def __repr__(self) -> str:
        return f"<Crew {self.pool!r}>"

    def configure(self, rules: Rules, now: float) -> None:
        """Go on under other rules, strategy or weights."""
        self._rules = rules
        for backend in self.pool:
            backend.health.rules = rules.health
        self._update(now)

    def _update(self, now: float) -> None:
        """Somebody's eligibility or share is another."""
        for backend in self.pool:
            backend.share = backend.weight * backend.health.share(now)
        self._conversations.update(self.pool)

    # Coming and going.

    def join(self, backend: Backend, first: Iterable[Stanza], now: float) -> list[Decision]:
        """A backend is there, in the state its name was ordered into.

        If its name was taken, it gets what the old connection may not have handled.

        Args:
            backend: the newcomer.
            first: what it must hear before anything else.
            now: the time.
        """
        backend.health = Health(self._rules.health, now)
        backend.order = self.orders.get(backend.name, Order.READY)
        old = self.pool.get(backend.name)
        if old is not None:
            self.pool.remove(old)
        self.pool.add(backend)
        self._delivery.join(backend)
        decisions = [each for stanza in first for each in self._delivery.give(backend, stanza, now)]
        decisions += self._enter(backend, now)
        return decisions + (self._clear(old, now) if old is not None else [])

    def leave(self, backend: Backend, now: float) -> list[Decision]:
        """A backend has gone: what it may not have handled, and what waited for it, moves."""
        self.pool.remove(backend)
        return self._clear(backend, now)

    def _clear(self, backend: Backend, now: float) -> list[Decision]:
        backend.gone = True
        self._draining.pop(backend, None)
        decisions = self._move_everything(backend, now)
        self._delivery.leave(backend)
        return decisions + self._finish_moves(now)

    def _move_everything(self, backend: Backend, now: float) -> list[Decision]:
        """A backend is dead, or as good as: another gets what it had."""
        self._moves.cancel(backend)
        self._conversations.forget(backend)
        self._update(now)
        decisions, again = self._delivery.take_back(backend, now)
        decisions += self._give_again(again, now)
        # A stanza is given to two backends at most: the sooner the second has acknowledged it,
        # the smaller the chance that both die with it.
        heirs = {each.backend for each in decisions if type(each) is Forward and each.backend}
        return decisions + self._ask(heirs, now)

    def _ask(self, backends: Iterable[Backend], now: float) -> list[Decision]:
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

    def _enter(self, backend: Backend, now: float) -> list[Decision]:
        """A backend may be given (more) conversations; with hashing it takes them from others."""
        self._moves.cancel(backend)
        self._update(now)
        decisions: list[Decision] = []
        if self._conversations.moves_by_itself():
            others = [each for each in self.pool if each is not backend]
            decisions += self._begin_move(backend, others, now)
            for each in others:
                decisions += self._give_again_from(each, now)
        return decisions + self.serve_nobodys(now)

    def _exit(self, backend: Backend, now: float, *, forget: bool) -> list[Decision]:
        """A backend may not be given conversations any more; it is there, and finishes."""
        if not forget and not self._conversations.moves_by_itself():
            self._update(now)  # it keeps those that it has
            return self._give_again_from(backend, now)
        backend.lingers = True
        decisions = self._begin_move(backend, [backend], now)
        if not backend.frozen:
            decisions += self._exited(backend, now)
        return decisions

    def _exited(self, backend: Backend, now: float) -> list[Decision]:
        backend.lingers = False
        if backend.order is not Order.DRAIN:  # one that is drained ends what it has begun
            self._conversations.forget(backend)
        self._update(now)
        return self._give_again_from(backend, now)

    def _begin_move(self, backend: Backend, after: Iterable[Backend], now: float) -> list[Decision]:
        if self._rules.affinity == "none":
            return []
        return self._ask(self._moves.begin(backend, after, now + self._rules.settle_time), now)

    def _finish_moves(self, now: float) -> list[Decision]:
        decisions: list[Decision] = []
        for backend in self._moves.finished(now):
            if backend.lingers:
                decisions += self._exited(backend, now)
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

    # Health.

    def check_answered(self, backend: Backend, reply: Stanza, now: float) -> list[Decision]:
        """A backend has answered a check, with a result or an error: both prove the same."""
        return self._passed(backend, self._delivery.answered(backend, reply.id), now)

    def acknowledged(self, backend: Backend, h: int, now: float) -> list[Decision]:
        """A backend has sent an ``<a/>`` (XEP-0198 §4)."""
        if backend.acks is None:
            return [Refuse(backend, "policy-violation", "an <a/> needs an <enable/> before it")]
        upto = backend.acks.upto(h)
        if upto > backend.ledger.sent:
            return [Refuse(backend, "undefined-condition", f"h={h} is more than was sent")]
        check = backend.ledger.answered()
        self._delivery.received(backend, backend.ledger.mark_at(upto))
        return self._passed(backend, check, now)

    def enable_acks(self, backend: Backend) -> None:
        """A backend speaks XEP-0198 from here on."""
        backend.acks = Acks(backend.ledger.sent, backend.received)

    def _passed(self, backend: Backend, check: Check | None, now: float) -> list[Decision]:
        decisions: list[Decision] = []
        backend.moved = now
        was_down = backend.health.state is State.DOWN
        if check is not None and backend.health.passed(now, now - check.asked):
            decisions.append(Changed(backend, "it answers its checks"))
            if was_down:
                decisions += self._enter(backend, now)
        decisions += self._delivery.serve(backend, now)
        if self._moves:
            decisions += self._finish_moves(now)
        return decisions

    def answered(self, backend: Backend, bad: bool, now: float) -> list[Decision]:
        """A backend has answered a request, well or badly, or not in time."""
        if not backend.health.answers_badly(bad):
            return []
        if not any(each.eligible() for each in self.pool if each is not backend):
            self.suppressed += 1
            backend.health.spare()
            return []
        backend.health.eject(now)
        return [
            Changed(backend, "too many of its answers in a row were errors or missing"),
            *self._exit(backend, now, forget=True),
        ]

    def tick(self, now: float) -> list[Decision]:
        """Time passes: check who is due, see who does not answer, finish moves and drains."""
        decisions: list[Decision] = []
        for backend in list(self.pool):
            decisions += self._look_at(backend, now)
        silent: list[Backend] = []
        decisions += self._delivery.expire(silent, now)
        for backend in silent:
            decisions += self.answered(backend, bad=True, now=now)
        decisions += self._finish_moves(now)
        for backend, deadline in list(self._draining.items()):
            decisions += self._drained(backend, deadline, now)
        return decisions

    def _look_at(self, backend: Backend, now: float) -> list[Decision]:
        """Check one backend's health."""
        health, ledger = backend.health, backend.ledger
        decisions: list[Decision] = []
        if health.tick(now):
            decisions.append(Changed(backend, "its time has come"))
        if backend.eligible() and backend.weight * health.share(now) != backend.share:
            decisions += self._enter(backend, now)  # slow start, or back from ejection
        for check in list(ledger.checks):
            if check.failed or not check.regular or not health.is_overdue(check.asked, now):
                continue
            check.failed = True
            if health.failed(now):
                decisions.append(Changed(backend, f"{health.rules.fall} checks failed"))
                decisions += self._move_everything(backend, now)
        # A window that is full of what is unacknowledged should not have to wait for long.
        stuck = backend.acks is not None and ledger.is_full()
        due = now >= health.next_check
        if due:
            health.schedule(now, self._chance())
        if (due or stuck) and not backend.closing and self._delivery.may_ask(backend):
            decisions.append(self._delivery.ask(backend, now, regular=due))
        return decisions

    # What the operator, or the backend itself, wants.

    def order(self, name: str, order: Order, now: float) -> list[Decision]:
        """Set what is wanted of a backend; it holds for its name until it is set otherwise.

        Raises:
            KeyError: nobody of that name is there.
        """
        backend = self.pool.get(name)
        if backend is None:
            raise KeyError(name)
        self.orders[name] = order
        if order is Order.DRAIN:
            return self.drain(backend, "ordered", now)
        self._draining.pop(backend, None)
        backend.order = order
        if order is Order.READY:
            del self.orders[name]
            return [Changed(backend, "ordered"), *self._enter(backend, now)]
        return [Changed(backend, "ordered"), *self._exit(backend, now, forget=True)]

    def weigh(self, name: str, weight: int, now: float) -> list[Decision]:
        """Set a backend's weight.

        Raises:
            KeyError: nobody of that name is there.
        """
        backend = self.pool.get(name)
        if backend is None:
            raise KeyError(name)
        backend.weight = weight
        changed = Changed(backend, f"weight {weight}")
        return [changed, *self._enter(backend, now)] if backend.eligible() else [changed]

    def drain(self, backend: Backend, why: str, now: float) -> list[Decision]:
        """New conversations go elsewhere; what the backend has it finishes, then it is closed."""
        if backend in self._draining:
            return []
        backend.order = Order.DRAIN
        self._draining[backend] = now + self._rules.iq_timeout
        return [Changed(backend, why), *self._exit(backend, now, forget=False)]

    def _drained(self, backend: Backend, deadline: float, now: float) -> list[Decision]:
        done = not (backend.busy or backend.asking or self._delivery.queued(backend))
        if not done and now < deadline:
            return self._ask([backend], now)
        del self._draining[backend]
        return self.close(backend, now)

    def close(self, backend: Backend, now: float) -> list[Decision]:
        """A backend's stream is to be ended; what it still sends is welcome until it is."""
        backend.closing = True
        backend.room = 0
        self._update(now)
        return [Close(backend)]

    # The end.

    def ask_all(self, now: float) -> list[Decision]:
        """Ask every backend for what it has received."""
        return self._ask(self.pool, now)

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
