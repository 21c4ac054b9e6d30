"""Is it well: what a backend's checks and answers say about it.

    STARTING ──checked, slow start over──▶ UP ◀──one fails, one passes──▶ DEGRADED
        └─────────fall failures─────────▶ DOWN ◀──────fall failures──────────┘
                                          DOWN ──rise passes──▶ STARTING
    STARTING, UP, DEGRADED ──too many errors──▶ EJECTED ──time──▶ STARTING

One that is degraded goes on as before; it is shown, so that nobody is surprised.

That is the operational state.  What the operator wants of it, its `Order`, is another matter: a
backend can be in maintenance and well, or ready and down.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

#: Steps in which slow start raises a weight; each moves conversations, so there are few.
SLOW_START_STEPS = 10

#: How much longer than ``timeout`` a check may take when its backend is heard meanwhile: it is
#: alive and busy with what was written before the check.
PATIENCE = 5


class State(Enum):
    """How a backend is, as far as can be seen."""

    STARTING = "starting"
    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"
    EJECTED = "ejected"


class Order(Enum):
    """What the operator wants of a backend."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


class HealthRules(NamedTuple):
    """When a backend counts as well; times in seconds."""

    interval: float = 2.0
    timeout: float = 2.0
    rise: int = 2
    fall: int = 3
    slow_start: float = 0.0
    eject_after: int = 5
    eject_time: float = 10.0
    eject_max: float = 300.0


class Health:
    """The health of one backend.

    Args:
        rules: when it counts as well.
        now: when it came.
    """

    __slots__ = ("_errors", "_streak", "_until", "ejections", "heard", "next_check", "passed_once",
                 "round_trip", "rules", "since", "state")  # fmt: skip

    def __init__(self, rules: HealthRules, now: float) -> None:
        self.rules = rules
        self.state = State.STARTING
        self.since = now
        self.heard = now
        self.next_check = now
        self.round_trip: float | None = None
        self.ejections = 0
        self.passed_once = False
        self._streak = 0  # passes in a row, or, below zero, failures
        self._errors = 0  # in a row
        self._until = 0.0

    def __repr__(self) -> str:
        return f"<Health {self.state.value} since {self.since:.1f}>"

    def works(self) -> bool:
        """Whether it may be given conversations."""
        return self.state not in (State.DOWN, State.EJECTED)

    def schedule(self, now: float, chance: float) -> None:
        """Note that a check was made.

        The next is due 5 to 20 % before the interval is over: jitter, so that many backends are
        not asked in the same instant, and on this side, so that the promise holds to notice a
        stopped process within ``interval * fall + timeout``.

        Args:
            now: the time.
            chance: a random number in [0, 1).
        """
        pause = self.rules.interval * (0.95 - 0.15 * chance)
        self.next_check = max(now, self.next_check + pause)

    def is_overdue(self, asked: float, now: float) -> bool:
        """Whether a check that was asked then has failed by now."""
        waited = now - asked
        if waited < self.rules.timeout:
            return False
        return self.heard <= asked or waited >= self.rules.timeout * PATIENCE

    def passed(self, now: float, round_trip: float) -> bool:
        """A check was answered; tells whether the state is another now."""
        self._streak = max(self._streak, 0) + 1
        self.passed_once = True
        self.round_trip = round_trip
        if self.state is State.DOWN and self._streak >= self.rules.rise:
            return self._enter(State.STARTING, now)
        if self.state is State.DEGRADED:
            return self._enter(State.UP, now)
        return self._settled(now)

    def failed(self, now: float) -> bool:
        """A check was not answered; tells whether the state is another now."""
        self._streak = min(self._streak, 0) - 1
        if self.state is not State.DOWN and -self._streak >= self.rules.fall:
            return self._enter(State.DOWN, now)
        if self.state is State.UP:
            return self._enter(State.DEGRADED, now)
        return False

    def answers_badly(self, bad: bool) -> bool:
        """An iq was answered, well or badly or not at all; tells whether that is too much."""
        if not bad:
            self._errors = 0
            return False
        self._errors += 1
        return self._errors >= self.rules.eject_after and self.works()

    def eject(self, now: float) -> None:
        """Give it a rest, a longer one each time."""
        self.ejections += 1
        self._errors = 0
        rest = self.rules.eject_time * self.ejections
        self._until = now + min(rest, self.rules.eject_max)
        self._enter(State.EJECTED, now)

    def spare(self) -> None:
        """It should be ejected, but nobody else is there: begin to count anew."""
        self._errors = 0

    def tick(self, now: float) -> bool:
        """Time passes; tells whether the state is another now."""
        if self.state is State.EJECTED and now >= self._until:
            return self._enter(State.STARTING, now)
        if self.state is State.UP and now - self.since >= self.rules.eject_max:
            self.ejections = 0  # it has behaved for so long that the past is forgotten
        return self._settled(now)

    def share(self, now: float) -> float:
        """The part of its weight that counts: slow start raises it linearly, in steps."""
        if not self.works():
            return 0.0
        over = self.rules.slow_start
        if self.state is not State.STARTING or over <= 0:
            return 1.0
        steps = int((now - self.since) / over * SLOW_START_STEPS)
        return min(1.0, max(1, steps) / SLOW_START_STEPS)

    def _settled(self, now: float) -> bool:
        over = now - self.since >= self.rules.slow_start
        if self.state is State.STARTING and self.passed_once and over:
            return self._enter(State.UP, now)
        return False

    def _enter(self, state: State, now: float) -> bool:
        self.state = state
        self.since = now
        return True
