"""What is remembered of a backend beyond its connection: counts by name, for observers.

A backend that comes back under its name goes on counting where it was.  One that was lost is
shown as down for an hour, so that somebody is told; one that left in good order is forgotten after
a minute, when the last of its numbers have been read.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Final, Protocol

from balancer.histogram import Histogram
from balancer.ledger import Ledger

#: Seconds after which a backend is forgotten that left in good order, and one that was lost.
FORGET_LEFT: Final = 60.0
FORGET_LOST: Final = 3600.0

#: Names that are remembered of backends that have gone: a deployment may give new ones every time.
MAX_GONE: Final = 1000

#: Seconds between two points of a backend's recent traffic, and how many points there are.
PACE: Final = 5.0
POINTS: Final = 60


class Connected(Protocol):
    """What is counted of a backend while it is there: `pool.Backend`."""

    name: str
    ledger: Ledger
    received: int  # stanzas from it
    pongs: int  # of these, answers to checks


class Record:
    """The counts of one name; stanzas by kind, everything else by reason."""

    __slots__ = ("_backend", "_received", "_sent", "_state", "check_failures", "check_time",
                 "checks", "disconnects", "ejections", "in_size", "iq_time", "left", "orderly",
                 "out_size", "recent", "redispatched", "seen", "state_changes",
                 "told")  # fmt: skip

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()  # stanzas of our own to it
        self._backend: Connected | None = None  # its connection, if it has one
        self._sent: Counter[str] = Counter()  # on connections that have ended
        self._received = 0
        self.in_size = 0  # bytes from it, on connections that have ended
        self.out_size = 0
        self.state_changes: Counter[str] = Counter()
        self.disconnects: Counter[str] = Counter()
        self.checks = 0
        self.check_failures: Counter[str] = Counter()
        self.check_time = Histogram()
        self.ejections: Counter[str] = Counter()
        self.redispatched: Counter[str] = Counter()
        self._state = ""
        self.iq_time = Histogram()
        self.left: float | None = None  # when it went
        self.orderly = False  # how it went
        self.recent: deque[tuple[int, int]] = deque(maxlen=POINTS)  # to it and from it
        self.seen = (0, 0)  # at the last point

    def __repr__(self) -> str:
        where = "here" if self.left is None else "left" if self.orderly else "lost"
        return f"<Record {where} {self.sent().total()} sent {self.received()} received>"

    def sent(self) -> Counter[str]:
        """Stanzas to it, by kind."""
        now = self._backend.ledger.sent_by_kind() if self._backend else Counter()
        return self._sent + self.told + now

    def received(self) -> int:
        """Stanzas from it."""
        now = self._backend.received - self._backend.pongs if self._backend else 0
        return self._received + now

    def follow(self, backend: Connected | None) -> None:
        """Count on with another connection, or with none."""
        if self._backend is not None:
            self._sent += self._backend.ledger.sent_by_kind()
            self._received += self._backend.received - self._backend.pongs
        self._backend = backend

    def enter(self, state: str) -> None:
        """Note the state that is shown, and count it if it is another."""
        if state != self._state:
            self._state = state
            self.state_changes[state] += 1

    def point(self) -> None:
        """Note the traffic since the last point."""
        now = (self.sent().total(), self.received())
        self.recent.append((now[0] - self.seen[0], now[1] - self.seen[1]))
        self.seen = now

    def is_over(self, now: float) -> bool:
        """Whether it may be forgotten."""
        if self.left is None:
            return False
        return now - self.left >= (FORGET_LEFT if self.orderly else FORGET_LOST)


class Records:
    """The records of one component's backends, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Record] = {}
        self._next_point = 0.0
        # What those were that are forgotten, for sums that must not go back.
        self.forgotten_checks = Histogram()
        self.forgotten_iqs = Histogram()

    def __repr__(self) -> str:
        return f"<Records of {len(self._by_name)}>"

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[tuple[str, Record]]:
        return iter(list(self._by_name.items()))

    def here(self, backend: Connected) -> Record:
        """A backend is there: its name's record, old or new."""
        record = self._by_name.setdefault(backend.name, Record())
        record.follow(backend)
        record.left = None
        return record

    def gone(self, name: str, now: float, *, orderly: bool) -> None:
        """The backend of that name has gone, in good order or not."""
        record = self._by_name.pop(name)
        record.follow(None)
        record.left = now
        record.orderly = orderly
        self._by_name[name] = record  # the one that went first is the first to be forgotten
        gone = [each for each, record in self._by_name.items() if record.left is not None]
        for each in gone[: max(0, len(gone) - MAX_GONE)]:
            self._forget(each)

    def tick(self, now: float) -> None:
        """Time passes: forget who is over, note everybody's traffic."""
        if now < self._next_point:
            return
        self._next_point = now + PACE
        for name, record in self:
            record.point()
            if record.is_over(now):
                self._forget(name)

    def _forget(self, name: str) -> None:
        record = self._by_name.pop(name)
        self.forgotten_checks.add(record.check_time)
        self.forgotten_iqs.add(record.iq_time)
