"""How long things take: counts by bucket, cheap enough for the data path."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

#: Upper bounds in seconds: OpenTelemetry's for requests, and 30 for the slow ones.
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30)

#: For what the balancer itself takes: from 50 µs up.
FINE: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 1)

#: Of a burst, how many one observation may stand for; and after how many seconds it is none.
EVERY: Final = 32
PAUSE: Final = 0.005


class Histogram:
    """Observations by bucket.

    Args:
        bounds: the upper bound of each bucket, inclusive, rising; one more takes the rest.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def __repr__(self) -> str:
        return f"<Histogram {sum(self.counts)} observed>"

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, so many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def add(self, other: Histogram) -> None:
        """Take in what another one of the same bounds has counted."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


class Sampled(Histogram):
    """A histogram of what is too short and too frequent to be timed every time.

    Of a burst, one in `EVERY` stands for all since the last; what comes seldom is all timed.
    """

    __slots__ = ("_next", "_waiting")

    def __init__(self, bounds: tuple[float, ...] = FINE) -> None:
        super().__init__(bounds)
        self._waiting = 0
        self._next = 0.0

    def due(self, count: int, now: float) -> int:
        """So many more have come.

        Returns:
            How many the next observation is to stand for; 0 when it need not be made.
        """
        self._waiting += count
        if self._waiting < EVERY and now < self._next:
            return 0
        due, self._waiting = self._waiting, 0
        self._next = now + PAUSE
        return due
