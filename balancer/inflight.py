"""Who still waits for an answer: the iq requests that backends have been given.

Every request is answered once: by the backend that has it, or by us when that goes away or time
runs out.  What answers nothing (any more) is not let through.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from balancer.pool import Backend
from balancer.stanza import Stanza

Key = tuple[str | None, str | None, str | None]


class _Waiting:
    """One requester's id.  ``count`` is above one when it used it again before the answer."""

    __slots__ = ("backend", "count", "deadline", "request")

    def __init__(self, backend: Backend, request: Stanza, deadline: float) -> None:
        self.backend = backend
        self.request = request
        self.deadline = deadline
        self.count = 1


class Unanswered(NamedTuple):
    """A request that its backend will not answer."""

    backend: Backend
    request: Stanza


class Inflight:
    """The requests in flight to backends.

    Args:
        timeout: seconds a backend has for its answer.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._waiting: OrderedDict[Key, _Waiting] = OrderedDict()  # by deadline

    def __repr__(self) -> str:
        return f"<Inflight {len(self._waiting)} in flight>"

    def __len__(self) -> int:
        return len(self._waiting)

    def open(self, backend: Backend, request: Stanza, now: float) -> None:
        """Remember that a backend has been given a request."""
        key = (request.sender, request.to, request.id)
        backend.outstanding += 1
        again = self._waiting.get(key)
        if again is not None:
            assert again.backend is backend, "a repeated request goes where the first one went"
            again.count += 1
            again.deadline = now + self.timeout
            self._waiting.move_to_end(key)
            return
        # Only its payload could be long, and an error needs its addresses only.
        request = request._replace(data=b"")
        self._waiting[key] = _Waiting(backend, request, now + self.timeout)

    def holder(self, sender: str | None, to: str | None, id: str | None) -> Backend | None:
        """The backend that has a request, if it is in flight."""
        waiting = self._waiting.get((sender, to, id))
        return waiting.backend if waiting is not None else None

    def settle(self, backend: Backend, reply: Stanza) -> bool:
        """Take a backend's answer.

        Returns:
            Whether somebody waits for it.
        """
        key = (reply.to, reply.sender, reply.id)
        waiting = self._waiting.get(key)
        if waiting is None or waiting.backend is not backend:
            return False
        backend.outstanding -= 1
        waiting.count -= 1
        if not waiting.count:
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
        """Give up on everything that a backend had: it has gone."""
        keys = [key for key, waiting in self._waiting.items() if waiting.backend is backend]
        return [each for key in keys for each in self._give_up(key)]

    def _give_up(self, key: Key) -> list[Unanswered]:
        waiting = self._waiting.pop(key)
        waiting.backend.outstanding -= waiting.count
        return [Unanswered(waiting.backend, waiting.request)] * waiting.count
