"""What backends have asked the server and wait for.

Replies find their way without this table: their id says whose they are.  It is for the day the
server goes away with the questions: then each is answered here, and an answer that still comes
later is not let through.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque

from balancer.pool import Backend
from balancer.stanza import Stanza


class _Question:
    __slots__ = ("backend", "deadline", "request")

    def __init__(self, backend: Backend, request: Stanza, deadline: float) -> None:
        self.backend = backend
        self.request = request
        self.deadline = deadline


class Asked:
    """Backends' own requests that are under way, by the id they travel under.

    Args:
        limit: how many may be remembered.
        ttl: seconds after which nobody expects an answer any more.
    """

    def __init__(self, limit: int, ttl: float) -> None:
        self.limit = limit
        self.evicted: Counter[str] = Counter()  # by reason
        self._ttl = ttl
        self._questions: OrderedDict[str, deque[_Question]] = OrderedDict()
        self._given_up: OrderedDict[str, float] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Asked {len(self)}/{self.limit}>"

    def __len__(self) -> int:
        return len(self._questions)

    def open(self, backend: Backend, request: Stanza, id: str, now: float) -> None:
        """Remember a request that is being written to the server under ``id``."""
        backend.asking += 1
        # An error needs its addresses only; its payload could be long.
        question = _Question(backend, request._replace(data=b""), now + self._ttl)
        self._questions.setdefault(id, deque()).append(question)
        self._questions.move_to_end(id)
        if len(self._questions) > self.limit:
            self.evicted["capacity"] += self._forget(next(iter(self._questions)))

    def settle(self, id: str, sender: str | None) -> bool:
        """Take a reply.

        Args:
            id: the id it came under.
            sender: who replies; it tells apart requests under one id to several.

        Returns:
            False when we have answered that request ourselves.
        """
        questions = self._questions.get(id)
        if questions is None:
            return self._given_up.pop(id, None) is None
        fitting = next((each for each in questions if each.request.to == sender), questions[0])
        fitting.backend.asking -= 1
        questions.remove(fitting)
        if not questions:
            del self._questions[id]
        return True

    def give_up(self, now: float) -> list[tuple[Backend, Stanza]]:
        """The server has gone: every request that will not be answered, in order."""
        lost = [
            (question.backend, question.request)
            for questions in self._questions.values()
            for question in questions
        ]
        self._given_up.update(dict.fromkeys(self._questions, now + self._ttl))
        for id in list(self._questions):
            self.evicted["server_lost"] += self._forget(id)
        return lost

    def forget(self, backend: Backend) -> None:
        """A backend has gone, and nobody else wants its answers."""
        if not backend.asking:
            return
        for id, questions in list(self._questions.items()):
            if all(each.backend is backend for each in questions):
                self.evicted["backend_lost"] += self._forget(id)

    def expire(self, now: float) -> None:
        """Forget what nobody expects an answer to any more."""
        while self._questions:
            id, questions = next(iter(self._questions.items()))
            if questions[-1].deadline > now:
                break
            self.evicted["expired"] += self._forget(id)
        while self._given_up and next(iter(self._given_up.values())) <= now:
            self._given_up.popitem(last=False)

    def _forget(self, id: str) -> int:
        questions = self._questions.pop(id)
        for question in questions:
            question.backend.asking -= 1
        return len(questions)
