"""Which backend gets a new conversation.

The cost of a pick does not grow with the number of backends: `Hash` and `LeastOutstanding` take
constant time once warm, `RoundRobin` and `Random` the logarithm.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from hashlib import blake2b
from itertools import accumulate
from typing import ClassVar, Final, Protocol
from zlib import crc32

from balancer.pool import Backend

#: Keys fall into this many slots, and a slot has one owner.  65,536 keep the shares within one
#: per cent of the weights, and the table in half a megabyte.
SLOTS: Final = 1 << 16


class Strategy(Protocol):
    """Picks among the backends it was last told of.

    ``finds_again`` tells whether the same key leads to the same backend while it is there.
    """

    finds_again: ClassVar[bool]

    def update(self, backends: Iterable[Backend]) -> None:
        """Learn the membership and weights; what is picked from then on."""

    def pick(self, key: str, *, spill: bool) -> Backend | None:
        """The backend for a new conversation.

        Args:
            key: what the conversation is known by; only `Hash` uses it.
            spill: whether a full backend is passed over where the strategy would insist on it.

        Returns:
            ``None`` when there is no backend at all.  When all are full it is the one that would
            have been picked anyway: its stanzas wait for it, in order.
        """


class Hash:
    """Weighted rendezvous hashing over backend names.

    Each slot goes to the backend with the highest score ``-weight / ln(h(name, slot))``, which
    depends on no other backend: any two balancers agree, a newcomer takes its share and nothing
    else moves, and who leaves gives its slots to the others by their weights.  (Thaler and
    Ravishankar, 1998; weights after Schindelhauer and Schomaker, 2005.)  Owners are found when a
    slot is first asked for, so that a change of membership costs nothing at once.
    """

    finds_again: ClassVar[bool] = True

    def __init__(self) -> None:
        self._backends: list[Backend] = []
        self._owners: list[Backend | None] = []

    def update(self, backends: Iterable[Backend]) -> None:
        self._backends = list(backends)
        self._owners = [None] * SLOTS

    def pick(self, key: str, *, spill: bool) -> Backend | None:
        if not self._backends:
            return None
        slot = crc32(key.encode()) % SLOTS
        owner = self._owners[slot]
        if owner is None:
            owner = self._owners[slot] = max(self._backends, key=lambda each: score(each, slot))
        if spill and not owner.available():
            free = [each for each in self._backends if each.available()]
            return max(free, key=lambda each: score(each, slot), default=owner)
        return owner


def score(backend: Backend, slot: int) -> float:
    """How much a backend wants a slot: the highest score owns it."""
    drawn = blake2b(b"%d/%s" % (slot, backend.name.encode()), digest_size=8).digest()
    return -backend.share / math.log((int.from_bytes(drawn) + 0.5) / 2.0**64)


class RoundRobin:
    """Smooth weighted round robin: whoever has waited longest for its share is next.

    A heap of virtual times: a pick moves its backend on by ``1 / weight``.
    """

    finds_again: ClassVar[bool] = False

    def __init__(self) -> None:
        self._turns: list[tuple[float, int, Backend]] = []

    def update(self, backends: Iterable[Backend]) -> None:
        known = {backend: time for time, _, backend in self._turns}
        start = min(known.values(), default=0.0)
        self._turns = [
            (known.get(backend, start + 1 / backend.share), order, backend)
            for order, backend in enumerate(backends)
        ]
        heapq.heapify(self._turns)

    def pick(self, key: str, *, spill: bool) -> Backend | None:
        passed: list[tuple[float, int, Backend]] = []
        while self._turns and not self._turns[0][2].available():
            passed.append(heapq.heappop(self._turns))
        if not self._turns:  # all are full, or there is nobody
            self._turns, passed = passed, []  # popped in order, so it is a heap
            if not self._turns:
                return None
        time, order, picked = heapq.heappop(self._turns)
        # Who is full loses its turns; it has no claim to them when it has room again.
        for _, at, each in passed:
            heapq.heappush(self._turns, (time + 1 / each.share, at, each))
        heapq.heappush(self._turns, (time + 1 / picked.share, order, picked))
        return picked


class _Drawn:
    """Draws by weight; who is full is drawn again, and after some tries looked for."""

    finds_again: ClassVar[bool] = False
    _TRIES: Final = 8

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._backends: list[Backend] = []
        self._bounds: list[float] = []

    def update(self, backends: Iterable[Backend]) -> None:
        self._backends = list(backends)
        self._bounds = list(accumulate(each.share for each in self._backends))

    def _draw(self) -> Backend | None:
        if not self._backends:
            return None
        for _ in range(self._TRIES):
            drawn = self._backends[bisect_right(self._bounds, self._random() * self._bounds[-1])]
            if drawn.available():
                return drawn
        return next((each for each in self._backends if each.available()), drawn)


class Random(_Drawn):
    """By chance, in proportion to the weights.

    Args:
        random: returns a number in [0, 1).
    """

    def pick(self, key: str, *, spill: bool) -> Backend | None:
        return self._draw()


class LeastOutstanding(_Drawn):
    """The less busy of two drawn by weight.

    Two choices come within a constant of the exact minimum (Mitzenmacher, 2001), do not herd
    onto a newcomer, and cost the same with a thousand backends.

    Args:
        random: returns a number in [0, 1).
    """

    def pick(self, key: str, *, spill: bool) -> Backend | None:
        one, other = self._draw(), self._draw()
        if one is None or other is None:
            return one or other
        return min(one, other, key=lambda each: each.busy / each.share)


def strategy(name: str, random: Callable[[], float]) -> Strategy:
    """The strategy of that name: ``hash``, ``round-robin``, ``least-outstanding``, ``random``."""
    match name:
        case "hash":
            return Hash()
        case "round-robin":
            return RoundRobin()
        case "least-outstanding":
            return LeastOutstanding(random)
        case "random":
            return Random(random)
    raise ValueError(f"no strategy is called {name!r}")
