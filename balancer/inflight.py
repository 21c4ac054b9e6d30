"""Who still waits for an answer: the iq requests that backends have been given.

Every request is answered once: by the backend that has it, by another that got it when the first
one died, or by us when time runs out.  What answers nothing (any more) is not let through.
"""

from __future__ import annotations

from typing import NamedTuple

from balancer.pool import Backend
from balancer.stanza import Stanza

Key = tuple[str | None, str | None, str | None]

#: Bytes of requests that are kept whole until they are answered.  Beyond, only their addresses
#: are: enough for an error, not for another backend.
KEPT = 32 << 20

_NEVER = float("inf")
_new = tuple.__new__


class Unanswered(NamedTuple):
    """A request that its backend has not answered.

    ``position`` is its number in the backend's ledger; ``request.data`` is empty when there was
    no room to keep it.
    """

    backend: Backend
    request: Stanza
    position: int
    deadline: float = 0.0


class Inflight:
    """The requests in flight to backends.

    Args:
        timeout: seconds a backend has for its answer.
        kept: bytes of requests that are kept whole.
    """

    def __init__(self, timeout: float, kept: int = KEPT) -> None:
        self.timeout = timeout
        self._room = kept
        self._waiting: dict[Key, Unanswered] = {}
        self._again: dict[Key, list[Unanswered]] = {}  # under an id in use, oldest first
        self._count = 0
        self._next = _NEVER  # no deadline is before this

    def __repr__(self) -> str:
        return f"<Inflight {self._count} in flight>"

    def __len__(self) -> int:
        return self._count

    def open(
        self, backend: Backend, request: Stanza, now: float, position: int = 0
    ) -> Backend | None:
        """Remember that a backend is given a request.

        Args:
            backend: who gets it.
            request: what it is asked.
            now: the time.
            position: its number in the backend's ledger.

        Returns:
            Another backend, when that one has a request under the same id, and must get this one
            so that each answer finds its question; then nothing is remembered.
        """
        _, to, sender, id, _, data, _ = request
        key = (sender, to, id)
        first = self._waiting.get(key)
        if first is not None and first[0] is not backend:
            return first[0]
        size = len(data)
        if size > self._room:
            request = request._replace(data=b"")
            size = 0
        deadline = now + self.timeout
        self._next = min(self._next, deadline)
        unanswered = _new(Unanswered, (backend, request, position, deadline))
        if first is None:
            self._waiting[key] = unanswered
        else:
            self._again.setdefault(key, []).append(unanswered)
        self._room -= size
        self._count += 1
        backend.outstanding += 1
        return None

    def holder(self, sender: str | None, to: str | None, id: str | None) -> Backend | None:
        """The backend that has a request, if it is in flight."""
        there = self._waiting.get((sender, to, id))
        return there.backend if there is not None else None

    def settle(self, backend: Backend, reply: Stanza, now: float) -> bool:
        """Take a backend's answer.

        Args:
            backend: who answers.
            reply: its answer.
            now: the time.

        Returns:
            Whether somebody waits for it.
        """
        _, to, sender, id, _, _, _ = reply
        key = (to, sender, id)
        there = self._waiting.get(key)
        if there is None or there[0] is not backend:
            return False
        self._close(key)
        # A reload with another timeout makes a few of these wrong; to keep one time is cheaper.
        backend.record.iq_time.observe(max(0.0, now - there[3] + self.timeout))
        return True

    def expire(self, now: float) -> list[Unanswered]:
        """Give up on the requests whose time is over, in order."""
        if now < self._next:
            return []
        everything = [
            (key, each)
            for key, first in self._waiting.items()
            for each in (first, *self._again.get(key, ()))
        ]
        late = [(key, each) for key, each in everything if each.deadline <= now]
        for key, unanswered in late:
            self._close(key)
            unanswered.backend.record.iq_time.observe(self.timeout)
        self._next = min(
            (each.deadline for _, each in everything if each.deadline > now), default=_NEVER
        )
        return sorted((each for _, each in late), key=lambda each: each.deadline)

    def abandon(self, backend: Backend) -> list[Unanswered]:
        """Give up on everything that a backend had, in the order in which it got it."""
        if not backend.outstanding:
            return []
        keys = [key for key, each in self._waiting.items() if each.backend is backend]
        had: list[Unanswered] = []
        for key in keys:
            while key in self._waiting:
                had.append(self._close(key))
        had.sort(key=lambda each: each.position)
        return had

    def _close(self, key: Key) -> Unanswered:
        """The oldest request under that key is over; the next takes its place."""
        closed = self._waiting.pop(key)
        if self._again:
            others = self._again.get(key)
            if others:
                self._waiting[key] = others.pop(0)
                if not others:
                    del self._again[key]
        self._room += len(closed[1][5])
        self._count -= 1
        closed[0].outstanding -= 1
        return closed
