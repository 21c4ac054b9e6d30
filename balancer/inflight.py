"""Who still waits for an answer: the iq requests that backends have been given.

Every request is answered once: by the backend that has it, by another that got it when the first
one died, or by us when time runs out.  What answers nothing (any more) is not let through.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from balancer.pool import Backend
from balancer.stanza import Stanza

Key = tuple[str | None, str | None, str | None]

#: Bytes of requests that are kept whole until they are answered.  Beyond, only their addresses
#: are: enough for an error, not for another backend.
KEPT = 32 << 20


class Unanswered(NamedTuple):
    """A request that its backend will not answer.

    ``position`` is its number in the backend's ledger; ``request.data`` is empty when there was
    no room to keep it.
    """

    backend: Backend
    request: Stanza
    position: int


class _Waiting:
    """One requester's id; it has several requests when it used it again before the answer."""

    __slots__ = ("deadline", "requests")

    def __init__(self, first: Unanswered, deadline: float) -> None:
        self.requests = [first]
        self.deadline = deadline


class Inflight:
    """The requests in flight to backends.

    Args:
        timeout: seconds a backend has for its answer.
        kept: bytes of requests that are kept whole.
    """

    def __init__(self, timeout: float, kept: int = KEPT) -> None:
        self.timeout = timeout
        self._room = kept
        self._waiting: OrderedDict[Key, _Waiting] = OrderedDict()  # by deadline
        self._count = 0

    def __repr__(self) -> str:
        return f"<Inflight {self._count} in flight>"

    def __len__(self) -> int:
        return self._count

    def open(self, backend: Backend, request: Stanza, now: float, position: int = 0) -> None:
        """Remember that a backend has been given a request.

        Args:
            backend: who has it.
            request: what it was asked.
            now: the time.
            position: its number in the backend's ledger.
        """
        key = (request.sender, request.to, request.id)
        size = len(request.data)
        if size > self._room:
            request, size = request._replace(data=b""), 0
        self._room -= size
        self._count += 1
        backend.outstanding += 1
        unanswered = Unanswered(backend, request, position)
        again = self._waiting.get(key)
        if again is None:
            self._waiting[key] = _Waiting(unanswered, now + self.timeout)
            return
        holder = again.requests[0].backend
        assert holder is backend, "a repeated request goes where the first one went"
        again.requests.append(unanswered)
        again.deadline = now + self.timeout
        self._waiting.move_to_end(key)

    def holder(self, sender: str | None, to: str | None, id: str | None) -> Backend | None:
        """The backend that has a request, if it is in flight."""
        waiting = self._waiting.get((sender, to, id))
        return waiting.requests[0].backend if waiting is not None else None

    def settle(self, backend: Backend, reply: Stanza) -> bool:
        """Take a backend's answer.

        Returns:
            Whether somebody waits for it.
        """
        key = (reply.to, reply.sender, reply.id)
        waiting = self._waiting.get(key)
        if waiting is None or waiting.requests[0].backend is not backend:
            return False
        self._closed(waiting.requests.pop(0))
        if not waiting.requests:
            del self._waiting[key]
        return True

    def expire(self, now: float) -> list[Unanswered]:
        """Give up on the requests whose time is over."""
        late: list[Unanswered] = []
        while self._waiting:
            key, waiting = next(iter(self._waiting.items()))
            if waiting.deadline > now:
                break
            late += self._give_up(key)
        return late

    def abandon(self, backend: Backend) -> list[Unanswered]:
        """Give up on everything that a backend had, in the order in which it got it."""
        if not backend.outstanding:
            return []
        keys = [key for key, each in self._waiting.items() if each.requests[0].backend is backend]
        given_up = [each for key in keys for each in self._give_up(key)]
        given_up.sort(key=lambda each: each.position)
        return given_up

    def _give_up(self, key: Key) -> list[Unanswered]:
        waiting = self._waiting.pop(key)
        for each in waiting.requests:
            self._closed(each)
        return waiting.requests

    def _closed(self, unanswered: Unanswered) -> None:
        self._room += len(unanswered.request.data)
        self._count -= 1
        unanswered.backend.outstanding -= 1
