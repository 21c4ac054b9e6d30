"""Where to connect next, and how long to wait before: one balancer or several, full jitter."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

#: Seconds: the bounds of the pause, and what a connection must last to count as a success.
#: One that is made and lost at once is no reason to hurry.
MINIMUM: Final = 0.2
MAXIMUM: Final = 30.0
STABLE: Final = 5.0

#: Where the pause begins after a refusal that a repetition will hardly change.  A conflict is one:
#: somebody of our name is there, and whoever hurries drives the other one out, for ever.
REFUSED: Final = 5.0
REFUSALS: Final = frozenset({"conflict", "host-unknown", "invalid-namespace", "not-authorized"})

DEFAULT_PORT: Final = 5348


class Address(NamedTuple):
    """Where a balancer, or a server, accepts components."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address(text: str, port: int = DEFAULT_PORT) -> Address:
    """Read ``HOST``, ``HOST:PORT`` or ``[HOST]:PORT``.

    Raises:
        ValueError: it is none of them.
    """
    host, bracket, rest = text.removeprefix("[").partition("]")
    if not bracket:
        host, _, rest = text.partition(":")
        rest = f":{rest}" if rest else ""
    if not host or (rest and not rest.removeprefix(":").isdecimal()):
        raise ValueError(f"{text!r} is not HOST:PORT")
    return Address(host, int(rest.removeprefix(":")) if rest else port)


class Attempts:
    """Which address is next, and after what pause.

    All are tried in turn, without a pause the first time round: a balancer on standby refuses, so
    that the next one, which is active, is found at once.  The pauses between the rounds grow, each
    with full jitter, so that not all backends come back in the same instant.

    Args:
        addresses: whom to try.
        chance: returns a random number in [0, 1).
        minimum, maximum: bounds of the pause, in seconds.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        chance: Callable[[], float] = random.random,
        minimum: float = MINIMUM,
        maximum: float = MAXIMUM,
    ) -> None:
        if not addresses:
            raise ValueError("there is no address to connect to")
        self.addresses = tuple(addresses)
        self._chance = chance
        self._minimum = minimum
        self._maximum = maximum
        self._failures = 0
        self._refused = False
        self._next = 0

    def next(self) -> tuple[Address, float]:
        """Whom to try now, and the seconds to wait before."""
        return self.addresses[self._next], self._pause()

    def _pause(self) -> float:
        rounds, first = divmod(self._failures, len(self.addresses))
        if self._refused:
            return self._between(REFUSED, rounds)
        if not rounds or first:
            return 0.0
        return self._chance() * min(self._maximum, self._minimum * 2.0 ** min(rounds, 30))

    def _between(self, least: float, rounds: int) -> float:
        # Half of it is jitter: a refusal is not worth an immediate repetition, ever.
        most = max(least, min(self._maximum, least * 2.0 ** min(rounds, 30)))
        return most / 2 + self._chance() * most / 2

    def failed(self, condition: str | None = None) -> None:
        """A connection could not be made, or did not last.

        Args:
            condition: of the stream error (RFC 6120 §4.9.3), if there was one.
        """
        self._failures += 1
        # With another address left in this round, that one may say something else.
        self._refused = condition in REFUSALS and self._failures % len(self.addresses) == 0
        self._next = (self._next + 1) % len(self.addresses)

    def ended(self, lasted: float, condition: str | None = None) -> None:
        """A connection that had been made has ended.

        Args:
            lasted: for how many seconds it was there.
            condition: of the stream error, if there was one.
        """
        if lasted < STABLE or condition in REFUSALS:
            self.failed(condition)
        else:
            # The same address first, after a short pause: all of its backends come back now.
            self._failures = len(self.addresses)
            self._refused = False
