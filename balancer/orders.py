"""What an operator, or a backend itself, wants: drain, maintenance, ready, another weight.

An order holds for a backend's name until it is set otherwise, so it outlives a reconnect.
"""

from __future__ import annotations

from balancer.crew import Crew
from balancer.decisions import Changed, Close, Decision, Rules
from balancer.delivery import Delivery
from balancer.health import Order
from balancer.pool import Backend


class Orders:
    """The orders for one component's backends.

    Args:
        rules: what the operator decided for good.
        crew: the backends.
        delivery: what they have.
    """

    def __init__(self, rules: Rules, crew: Crew, delivery: Delivery) -> None:
        self._rules = rules
        self._crew = crew
        self._delivery = delivery
        self.by_name: dict[str, Order] = {}
        self._draining: dict[Backend, float] = {}  # until when

    def __repr__(self) -> str:
        return f"<Orders for {' '.join(self.by_name) or 'nobody'}>"

    def configure(self, rules: Rules) -> None:
        """Go on under other rules."""
        self._rules = rules

    def of(self, name: str) -> Order:
        """What is wanted of the backend of that name, there or not."""
        return self.by_name.get(name, Order.READY)

    def order(self, name: str, order: Order, now: float) -> list[Decision]:
        """Set what is wanted of a backend.

        One that has gone, and is still remembered, is in that state when it comes back.

        Raises:
            KeyError: nobody of that name is known.
        """
        backend = self._crew.pool.get(name)
        known = name in self._crew.records or name in self.by_name
        if backend is None and not known:
            raise KeyError(name)
        self.by_name[name] = order
        if order is Order.READY:
            del self.by_name[name]
        if backend is None:
            return []
        if order is Order.DRAIN:
            return self.drain(backend, "ordered", now)
        self._draining.pop(backend, None)
        backend.order, backend.ordered = order, now
        changed = self._crew.changed(backend, "ordered")
        if order is Order.READY:
            return [changed, *self._crew.enter(backend, now)]
        return [changed, *self._crew.exit(backend, now, forget=True)]

    def weigh(self, name: str, weight: int, now: float) -> list[Decision]:
        """Set a backend's weight.

        Raises:
            KeyError: nobody of that name is there.
        """
        backend = self._crew.pool.get(name)
        if backend is None:
            raise KeyError(name)
        backend.weight = weight
        changed = Changed(backend, f"weight {weight}")
        counts = backend.eligible() or backend.lingers
        return [changed, *self._crew.shuffle(now)] if counts else [changed]

    def drain(self, backend: Backend, why: str, now: float) -> list[Decision]:
        """New conversations go elsewhere; what the backend has it finishes, then it is closed."""
        if backend in self._draining:
            return []
        backend.order, backend.ordered = Order.DRAIN, now
        self._draining[backend] = now + self._rules.iq_timeout
        changed = self._crew.changed(backend, why)
        return [changed, *self._crew.exit(backend, now, forget=False)]

    def tick(self, now: float) -> list[Decision]:
        """Time passes: close who has finished."""
        decisions: list[Decision] = []
        for backend, deadline in list(self._draining.items()):
            if backend.gone:
                del self._draining[backend]
            else:
                decisions += self._drained(backend, deadline, now)
        return decisions

    def _drained(self, backend: Backend, deadline: float, now: float) -> list[Decision]:
        done = not (backend.busy or backend.asking or self._delivery.queued(backend))
        if not done and now < deadline:
            return self._crew.ask([backend], now)
        del self._draining[backend]
        return self.close(backend, now)

    def close(self, backend: Backend, now: float) -> list[Decision]:
        """A backend's stream is to be ended; what it still sends is welcome until it is."""
        backend.closing = True
        backend.room = 0
        self._crew.update(now)
        return [Close(backend)]
