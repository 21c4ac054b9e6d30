"""What a backend was sent and has not acknowledged.

XMPP is processed in order and an iq must be answered, so an iq of ours is a *barrier*: with its
answer, a result or an error, everything written before it was received (RFC 6120 §8.2.3, §10.1).
A backend that speaks XEP-0198 acknowledges to the stanza instead.

The ledger is a window too: a backend that has too much unacknowledged gets nothing more.

Stanzas are numbered from 1, and all counts run on for ever, so that a barrier is nothing but the
counts at its time, and to take one is to subtract them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from balancer.stanza import KINDS, Stanza

#: Barriers that may be under way to one backend at a time, besides those that fill its window.
MAX_CHECKS = 16

#: Bytes up to which a stanza is small: room for small ones is counted in stanzas alone.
SMALL = 4096

#: What stands for an answer of ours in the ledger of a backend that counts (XEP-0198): it takes
#: a number, and is nobody's stanza.
OURS = Stanza("", None, None, None, None, b"")


class Mark(NamedTuple):
    """How far a ledger had come: stanzas, their bytes, and those that are done once received.

    Requests are not done then, but with their answers.
    """

    stanzas: int = 0
    size: int = 0
    plain: int = 0


class Check:
    """A barrier under way: everything up to ``mark`` was written before it.

    Only a ``regular`` one, of those that are made at intervals, says something by its absence:
    a burst of stanzas has many barriers in an instant, and they are late together.
    """

    __slots__ = ("asked", "failed", "id", "mark", "regular")

    def __init__(self, id: str, mark: Mark, asked: float, regular: bool) -> None:
        self.id = id
        self.mark = mark
        self.asked = asked
        self.regular = regular
        self.failed = False


class Ledger:
    """The unacknowledged stanzas of one backend, oldest first.

    Args:
        stanzas: how many may be unacknowledged.
        size: how many bytes they may have.
    """

    __slots__ = ("_asked", "_limit", "_size_limit", "acknowledged", "checks", "entries", "kinds",
                 "plain", "received", "sent", "sent_size")  # fmt: skip

    def __init__(self, stanzas: int = 1000, size: int = 8 << 20) -> None:
        self.entries: list[Stanza] = []
        self.checks: deque[Check] = deque()
        self.sent = 0
        self.sent_size = 0
        self.plain = 0
        self.kinds: Counter[str] = Counter()  # of what is no longer in it
        self.acknowledged = 0  # the number of the last stanza that is known to be received
        self.received = Mark()  # the same, with what it takes to subtract
        self._asked = self.received  # at the last barrier
        self.limit(stanzas, size)

    def __repr__(self) -> str:
        return f"<Ledger {len(self.entries)}/{self._limit} unacked {self.size} bytes>"

    def __len__(self) -> int:
        return len(self.entries)

    def limit(self, stanzas: int, size: int) -> None:
        """Set other bounds; what is unacknowledged already stays."""
        self._limit = stanzas
        self._size_limit = size

    @property
    def size(self) -> int:
        """The bytes that are unacknowledged."""
        return self.sent_size - self.received.size

    @property
    def unfinished(self) -> int:
        """The stanzas that are unacknowledged, without requests and what is ours."""
        return self.plain - self.received.plain

    def add(self, stanza: Stanza, plain: bool) -> bool:
        """Note that a stanza is being written to the backend.

        Args:
            stanza: that stanza.
            plain: whether it is done when it is received: it is neither a request nor ours.

        Returns:
            Whether a quarter of the window was used since the last barrier.
        """
        self.entries.append(stanza)
        self.sent += 1
        self.sent_size += len(stanza[5])
        self.plain += plain
        stanzas, size, _ = self._asked
        return (self.sent - stanzas) * 4 >= self._limit or (
            (self.sent_size - size) * 4 >= self._size_limit
        )

    def extend(self, stanzas: Sequence[Stanza], size: int, plain: int) -> None:
        """Note that stanzas are being written for which `free` said that there is room.

        Args:
            stanzas: those stanzas.
            size: their bytes.
            plain: how many of them are done when they are received.
        """
        self.entries += stanzas
        self.sent += len(stanzas)
        self.sent_size += size
        self.plain += plain

    def free(self) -> int:
        """How many `SMALL` stanzas fit before the next barrier is due or the window is full."""
        stanzas, size, _ = self._asked
        return max(
            0,
            min(
                self._limit // 4 - (self.sent - stanzas),
                self._limit - len(self.entries),
                (self._size_limit // 4 - (self.sent_size - size)) // SMALL,
                (self._size_limit - self.size) // SMALL,
            )
            - 1,
        )

    def sent_by_kind(self) -> Counter[str]:
        """How many stanzas of each kind were ever sent, without what is ours."""
        counted = self.kinds + Counter(stanza.kind for stanza in self.entries)
        del counted[OURS.kind]
        return counted

    def _note_kinds(self, stanzas: list[Stanza]) -> None:
        # Not when they are sent: with many backends every look at another one's data is a cache
        # miss, and here they are looked at anyway.
        kinds = [stanza[0] for stanza in stanzas]
        for kind in KINDS:
            self.kinds[kind] += kinds.count(kind)

    def is_full(self) -> bool:
        """Whether the window is used up."""
        return (
            self.sent - self.acknowledged >= self._limit
            or self.sent_size - self.received[1] >= self._size_limit
        )

    def has_news(self) -> bool:
        """Whether anything was written since the last barrier."""
        return self.sent != self._asked.stanzas

    def mark(self) -> Mark:
        """How far it has come."""
        return Mark(self.sent, self.sent_size, self.plain)

    def ask(self, id: str, now: float, *, regular: bool = False) -> None:
        """Note that a barrier is being written."""
        self._asked = self.mark()
        self.checks.append(Check(id, self._asked, now, regular))

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

    def acknowledge(self, mark: Mark) -> int:
        """Forget the stanzas up to a mark; they were received.

        Returns:
            How many of them are done with that.
        """
        count = mark.stanzas - self.acknowledged
        if count <= 0:
            return 0
        self._note_kinds(self.entries[:count])
        del self.entries[:count]
        done = mark.plain - self.received.plain
        self.received = mark
        self.acknowledged = mark.stanzas
        return done

    def mark_at(self, number: int) -> Mark:
        """The mark after the stanza of that number, which is unacknowledged."""
        some = self.entries[: number - self.acknowledged]
        _, size, plain = self.received
        size += sum(len(stanza.data) for stanza in some)
        plain += sum(stanza is not OURS and not stanza.is_request for stanza in some)
        return Mark(number, size, plain)

    def take(self) -> list[Stanza]:
        """Everything unacknowledged, in order; the ledger is empty then."""
        taken, self.entries = self.entries, []
        self._note_kinds(taken)
        self.received = self.mark()
        self.acknowledged = self.sent
        return taken
