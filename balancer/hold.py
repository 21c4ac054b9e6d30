"""What waits for somebody to take it: a queue bounded in count, bytes and time."""

from __future__ import annotations

from collections import deque
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

#: The deadline of what waits for as long as it takes.
NEVER = float("inf")


class Held(NamedTuple, Generic[T]):
    """Something that waits, its size in bytes, and until when."""

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

    def has_room(self, size: int) -> bool:
        """Whether something of that many bytes may be held."""
        return self.timeout > 0 and self.used < self.stanzas and self.used_size + size <= self.size

    def is_filling(self) -> bool:
        """Whether an eighth of it is used: more than what is on its way at any moment."""
        return self.used * 8 >= self.stanzas or self.used_size * 8 >= self.size

    def is_nearly_full(self) -> bool:
        """Whether three quarters of it are used; the rest is for what is already on its way."""
        return self.used * 4 >= self.stanzas * 3 or self.used_size * 4 >= self.size * 3


class Queue(Generic[T]):
    """First in, first out, within a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held: deque[Held[T]] = deque()
        self.size = 0  # bytes

    def __repr__(self) -> str:
        return f"<Queue {len(self._held)} held>"

    def __len__(self) -> int:
        return len(self._held)

    def put(self, item: T, size: int, now: float) -> bool:
        """Hold an item of ``size`` bytes for as long as the budget says.

        Returns:
            False when there is no room for it.
        """
        if not self._budget.has_room(size):
            return False
        self.put_back(Held(item, size, now + self._budget.timeout))
        return True

    def put_back(self, held: Held[T]) -> None:
        """Hold what was held before, or what may not be refused, until its own deadline."""
        self._budget.used += 1
        self._budget.used_size += held.size
        self.size += held.size
        self._held.append(held)

    def pop(self) -> Held[T]:
        """What has waited longest."""
        held = self._held.popleft()
        self._budget.used -= 1
        self._budget.used_size -= held.size
        self.size -= held.size
        return held

    def pop_expired(self, now: float) -> list[T]:
        """The items whose time is over."""
        if not any(held.deadline <= now for held in self._held):
            return []
        everything = self.pop_all()
        for held in everything:
            if held.deadline > now:
                self.put_back(held)
        return [held.item for held in everything if held.deadline <= now]

    def pop_all(self) -> list[Held[T]]:
        """Everything, in order."""
        return [self.pop() for _ in range(len(self._held))]
