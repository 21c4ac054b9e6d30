"""What waits for somebody to take it: a queue bounded in count, bytes and time."""

from __future__ import annotations

from collections import deque
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class _Held(NamedTuple, Generic[T]):
    item: T
    size: int
    deadline: float


class Budget:
    """The room that several queues share.

    Args:
        stanzas: how many may be held.
        size: how many bytes they may have.
        timeout: seconds each may wait.
    """

    def __init__(self, stanzas: int, size: int, timeout: float) -> None:
        self.limit(stanzas, size, timeout)
        self.used = 0
        self.used_size = 0

    def limit(self, stanzas: int, size: int, timeout: float) -> None:
        """Set other bounds; what is held already stays."""
        self.stanzas = stanzas
        self.size = size
        self.timeout = timeout

    def __repr__(self) -> str:
        return f"<Budget {self.used}/{self.stanzas} stanzas {self.used_size}/{self.size} bytes>"

    def is_nearly_full(self) -> bool:
        """Whether three quarters of it are used; the rest is for what is already on its way."""
        return self.used * 4 >= self.stanzas * 3 or self.used_size * 4 >= self.size * 3


class Queue(Generic[T]):
    """First in, first out, within a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held: deque[_Held[T]] = deque()

    def __repr__(self) -> str:
        return f"<Queue {len(self._held)} held>"

    def __len__(self) -> int:
        return len(self._held)

    def put(self, item: T, size: int, now: float) -> bool:
        """Hold an item of ``size`` bytes.

        Returns:
            False when there is no room for it.
        """
        budget = self._budget
        if (
            not budget.timeout
            or budget.used >= budget.stanzas
            or budget.used_size + size > budget.size
        ):
            return False
        budget.used += 1
        budget.used_size += size
        self._held.append(_Held(item, size, now + budget.timeout))
        return True

    def pop(self) -> T:
        """The item that has waited longest."""
        held = self._held.popleft()
        self._budget.used -= 1
        self._budget.used_size -= held.size
        return held.item

    def pop_expired(self, now: float) -> list[T]:
        """The items whose time is over."""
        expired: list[T] = []
        while self._held and self._held[0].deadline <= now:
            expired.append(self.pop())
        return expired

    def pop_all(self) -> list[T]:
        """Everything, in order."""
        return [self.pop() for _ in range(len(self._held))]
