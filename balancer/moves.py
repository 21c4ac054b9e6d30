"""How a conversation moves from one backend to another without being overtaken by itself.

What the old owner was sent it must have received before the new owner is given what follows
(RFC 6120 §10.1).  So for the time of one barrier, milliseconds as a rule:

* a backend that *comes* is frozen, what is for it waits, until all others have acknowledged what
  they had when it came;
* a backend that *leaves* (it is drained, ejected, put to rest) is frozen too and lingers as the
  owner of its conversations, until it has acknowledged what it has; then they move.

Who takes longer than ``settle_time`` is not waited for: late is worse than out of order.
"""

from __future__ import annotations

from collections.abc import Iterable

from balancer.pool import Backend


class _Move:
    __slots__ = ("deadline", "marks")

    def __init__(self, marks: dict[Backend, int], deadline: float) -> None:
        self.marks = marks
        self.deadline = deadline

    def is_over(self, now: float) -> bool:
        for backend, mark in list(self.marks.items()):
            if not backend.gone and backend.ledger.acknowledged < mark:
                return now >= self.deadline
            del self.marks[backend]  # it need not be looked at again
        return True


class Moves:
    """The moves under way, by the backend that is frozen for them."""

    def __init__(self) -> None:
        self._moves: dict[Backend, _Move] = {}

    def __repr__(self) -> str:
        return f"<Moves of {' '.join(each.name for each in self._moves) or 'nobody'}>"

    def __len__(self) -> int:
        return len(self._moves)

    def begin(
        self, backends: Iterable[Backend], after: Iterable[Backend], deadline: float
    ) -> list[Backend]:
        """Freeze backends until others have acknowledged what they have now.

        What a backend waits for already it goes on waiting for.

        Returns:
            Those others; nobody is frozen when there are none.
        """
        marks = {each: each.ledger.sent for each in after if each.ledger}
        if marks:
            move = _Move(marks, deadline)
            for backend in backends:
                before = self._moves.get(backend)
                more = before is not None and not before.marks.keys() <= marks.keys()
                if before is not None and more:
                    self._moves[backend] = _Move({**before.marks, **marks}, deadline)
                else:
                    self._moves[backend] = move
                backend.frozen = True
                backend.room = 0
        return list(marks)

    def cancel(self, backend: Backend) -> None:
        """There is no move of this backend any more."""
        self._moves.pop(backend, None)
        backend.frozen = backend.lingers = False

    def finished(self, now: float) -> list[Backend]:
        """Whose move is over; it is not frozen any more."""
        ended = {move for move in set(self._moves.values()) if move.is_over(now)}
        over = [backend for backend, move in self._moves.items() if move in ended]
        for backend in over:
            del self._moves[backend]
            backend.frozen = False
        return over
