"""What a backend was sent and has not acknowledged.

XMPP is processed in order and an iq must be answered, so an iq of ours is a *barrier*: with its
answer, a result or an error, everything written before it was received (RFC 6120 §8.2.3, §10.1).
A backend that speaks XEP-0198 acknowledges to the stanza instead.

The ledger is a window too: a backend that has too much unacknowledged gets nothing more.
"""

from __future__ import annotations

from collections import deque

from balancer.stanza import Stanza

#: Barriers that may be under way to one backend at a time, besides those that fill its window.
MAX_CHECKS = 16

#: What stands for an answer of ours in the ledger of a backend that counts (XEP-0198): it takes
#: a number, and is nobody's stanza.
OURS = Stanza("", None, None, None, None, b"")


class Check:
    """A barrier under way: everything up to number ``upto`` was written before it.

    Only a ``regular`` one, of those that are made at intervals, says something by its absence:
    a burst of stanzas has many barriers in an instant, and they are late together.
    """

    __slots__ = ("asked", "failed", "id", "regular", "upto")

    def __init__(self, id: str, upto: int, asked: float, regular: bool) -> None:
        self.id = id
        self.upto = upto
        self.asked = asked
        self.regular = regular
        self.failed = False


class Ledger:
    """The unacknowledged stanzas of one backend, oldest first, numbered from 1.

    Args:
        stanzas: how many may be unacknowledged.
        size: how many bytes they may have.
    """

    __slots__ = (
        "_asked",
        "_asked_size",
        "_size_limit",
        "_stanzas",
        "checks",
        "entries",
        "sent",
        "size",
    )  # fmt: skip

    def __init__(self, stanzas: int = 1000, size: int = 8 << 20) -> None:
        self.entries: deque[Stanza] = deque()
        self.checks: deque[Check] = deque()
        self.sent = 0
        self.size = 0
        self._asked = 0  # `sent` at the last barrier
        self._asked_size = 0  # bytes since
        self.limit(stanzas, size)

    def __repr__(self) -> str:
        return f"<Ledger {len(self.entries)}/{self._stanzas} unacked {self.size} bytes>"

    def __len__(self) -> int:
        return len(self.entries)

    def limit(self, stanzas: int, size: int) -> None:
        """Set other bounds; what is unacknowledged already stays."""
        self._stanzas = stanzas
        self._size_limit = size

    @property
    def acknowledged(self) -> int:
        """The number of the last stanza that is known to have been received."""
        return self.sent - len(self.entries)

    def add(self, stanza: Stanza) -> None:
        """Note that a stanza is being written to the backend."""
        size = len(stanza.data)
        self.entries.append(stanza)
        self.sent += 1
        self.size += size
        self._asked_size += size

    def is_full(self) -> bool:
        """Whether the window is used up."""
        return len(self.entries) >= self._stanzas or self.size >= self._size_limit

    def wants_barrier(self) -> bool:
        """Whether a quarter of the window was used since the last barrier."""
        return (
            self.sent - self._asked
        ) * 4 >= self._stanzas or self._asked_size * 4 >= self._size_limit

    def has_news(self) -> bool:
        """Whether anything was written since the last barrier."""
        return self.sent != self._asked

    def ask(self, id: str, now: float, *, regular: bool = False) -> None:
        """Note that a barrier is being written."""
        self.checks.append(Check(id, self.sent, now, regular))
        self._asked = self.sent
        self._asked_size = 0

    def answered(self, id: str | None = None) -> Check | None:
        """Take the barrier of that id off the list, and those before it; without id, all.

        Returns:
            The barrier, or ``None`` if none of that id is under way.
        """
        if id is None:
            found = self.checks[0] if self.checks else None
            self.checks.clear()
            return found
        if not any(check.id == id for check in self.checks):
            return None
        while True:
            check = self.checks.popleft()
            if check.id == id:
                return check

    def acknowledge(self, upto: int) -> list[Stanza]:
        """Forget the stanzas up to a number; they were received.

        Returns:
            Those stanzas, in order; `OURS` among them.
        """
        count = max(0, upto - self.acknowledged)
        received = [self.entries.popleft() for _ in range(min(count, len(self.entries)))]
        self.size -= sum(len(stanza.data) for stanza in received)
        return received

    def take(self) -> list[Stanza]:
        """Everything unacknowledged, in order; the ledger is empty then."""
        taken = list(self.entries)
        self.entries.clear()
        self.size = 0
        return taken
