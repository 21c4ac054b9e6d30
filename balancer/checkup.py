"""Whether backends are well: their checks are made, their answers judged, and the crew told.

The rules are in `health`; here is what follows from them.
"""

from __future__ import annotations

from collections.abc import Callable

from balancer.crew import Crew
from balancer.decisions import Decision, Refuse
from balancer.delivery import Delivery
from balancer.health import State
from balancer.ledger import Check
from balancer.pool import Acks, Backend
from balancer.stanza import Stanza

#: Seconds after the last stanza in which a backend is asked what it has received.
QUIET = 0.5


class Checkup:
    """Looks after the backends of one component.

    Args:
        crew: those backends.
        delivery: what they have.
        chance: returns a random number in [0, 1), for jitter.
    """

    def __init__(self, crew: Crew, delivery: Delivery, chance: Callable[[], float]) -> None:
        self.suppressed = 0  # ejections that would have left nobody
        self._crew = crew
        self._delivery = delivery
        self._chance = chance

    def __repr__(self) -> str:
        return f"<Checkup of {self._crew.pool!r}>"

    def check_answered(self, backend: Backend, reply: Stanza, now: float) -> list[Decision]:
        """A backend has answered a check, with a result or an error: both prove the same."""
        backend.pongs += 1
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
        if check is not None:
            backend.record.check_time.observe(now - check.asked)
        if check is not None and backend.health.passed(now, now - check.asked):
            decisions.append(self._crew.changed(backend, "it answers its checks"))
            if was_down:
                decisions += self._crew.enter(backend, now)
        decisions += self._delivery.serve(backend, now)
        decisions += self._crew.finish_moves(now)
        return decisions

    def answered_badly(self, backend: Backend, reason: str, now: float) -> list[Decision]:
        """A backend has answered a request with an error of its own, or not in time.

        Args:
            backend: that backend.
            reason: which of the two, for the counters.
            now: the time.
        """
        if not backend.health.answers_badly(True):
            return []
        if not any(each.eligible() for each in self._crew.pool if each is not backend):
            self.suppressed += 1
            backend.health.spare()
            return []
        backend.health.eject(now)
        backend.record.ejections[reason] += 1
        return [
            self._crew.changed(backend, "too many of its answers in a row were errors or missing"),
            *self._crew.exit(backend, now, forget=True),
        ]

    def tick(self, now: float) -> list[Decision]:
        """Time passes: check who is due, see who does not answer."""
        decisions: list[Decision] = []
        for backend in list(self._crew.pool):
            decisions += self._look_at(backend, now)
        silent: list[Backend] = []
        decisions += self._delivery.expire(silent, now)
        for backend in silent:
            decisions += self.answered_badly(backend, "iq_timeout", now)
        return decisions

    def _look_at(self, backend: Backend, now: float) -> list[Decision]:
        """Check one backend's health."""
        health, ledger = backend.health, backend.ledger
        decisions: list[Decision] = []
        if health.tick(now):
            decisions.append(self._crew.changed(backend, "its time has come"))
        if backend.eligible() and backend.weight * health.share(now) != backend.share:
            decisions += self._crew.enter(backend, now)  # slow start, or back from ejection
        for check in list(ledger.checks):
            if check.failed or not check.regular or not health.is_overdue(check.asked, now):
                continue
            check.failed = True
            backend.record.check_failures["timeout"] += 1
            if not health.failed(now):
                continue
            is_down = health.state is State.DOWN
            why = f"{health.rules.fall} checks failed" if is_down else "a check failed"
            decisions.append(self._crew.changed(backend, why))
            if is_down:
                decisions += self._crew.move_everything(backend, "down", now)
        # A window that is full of what is unacknowledged should not have to wait for long.
        stuck = backend.acks is not None and ledger.is_full()
        due = now >= health.next_check
        if due:
            health.schedule(now, self._chance())
            backend.record.checks += 1
        wanted = due or stuck or self._is_quiet(backend, now)
        if wanted and not backend.closing and self._delivery.may_ask(backend):
            decisions.append(self._delivery.ask(backend, now, regular=due))
        return decisions

    def _is_quiet(self, backend: Backend, now: float) -> bool:
        """Whether a backend was sent its last stanza some time ago, and was not asked since.

        It may close its stream at any time, and what it has not acknowledged would be sent twice.
        """
        if backend.ledger.sent != backend.seen:
            backend.seen = backend.ledger.sent
            backend.quiet_since = now
        return now - backend.quiet_since >= QUIET and backend.ledger.has_news()
