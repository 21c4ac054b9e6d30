"""How much may be sent twice: a budget, so that a crash loop cannot multiply traffic.

A token is a stanza that may be given to a second backend.  Traffic earns them, 20 % of it, and
time a few (at least 10 in a minute); a full window is there from the start, so that the first
death of a backend never finds the budget empty.  What is earned beyond that fades in a minute.
(After Finagle's RetryBudget, which deposits 20 % of requests, and at least 10.)
"""

from __future__ import annotations

import math

RATIO = 0.2
AT_LEAST = 10
WINDOW = 60.0


class RetryBudget:
    """The tokens of one component.

    Args:
        reserve: stanzas that may be sent twice even after no traffic at all.
    """

    def __init__(self, reserve: int) -> None:
        self.reserve = max(AT_LEAST, reserve)
        self._tokens = float(self.reserve)
        self._accepted = 0
        self._then = 0.0

    def __repr__(self) -> str:
        return f"<RetryBudget {self._tokens:.0f}>"

    def take(self) -> bool:
        """Whether one more stanza may be sent twice; it counts as done."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def tick(self, accepted: int, now: float) -> None:
        """Earn what traffic and time give.

        Args:
            accepted: stanzas that have ever been accepted.
            now: the time.
        """
        passed, self._then = now - self._then, now
        beyond = self._tokens - self.reserve
        if beyond > 0:
            self._tokens = self.reserve + beyond * math.exp(-passed / WINDOW)
        else:
            self._tokens = min(self.reserve, self._tokens + AT_LEAST * passed / WINDOW)
        self._tokens += RATIO * (accepted - self._accepted)
        self._accepted = accepted
