"""Handlers at work: many at once up to a bound, and those of one conversation in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable


class Jobs:
    """Runs handlers.

    Those of one key run one after another, in the order in which they were given (RFC 6120
    §10.1); one that waits for its predecessor takes no place from others.

    Args:
        bound: how many may run at once.
        full: called when the bound is reached: there are as many as may run, or more.
        room: called when it is no longer.

    Raises:
        ValueError: the bound is less than 1.
    """

    def __init__(
        self,
        bound: int,
        full: Callable[[], None] = lambda: None,
        room: Callable[[], None] = lambda: None,
    ) -> None:
        if bound < 1:
            raise ValueError(f"at least one handler must be able to run, not {bound}")
        self.bound = bound
        self.running = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._last: dict[Hashable, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(bound)
        self._full, self._room = full, room
        self._idle = asyncio.Event()
        self._idle.set()

    def __repr__(self) -> str:
        return f"<Jobs {self.running}/{self.bound} running, {self.waiting} waiting>"

    def __len__(self) -> int:
        """How many run or wait."""
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        """How many wait for a place, or for the one before them."""
        return len(self._tasks) - self.running

    def start(self, job: Callable[[], Awaitable[None]], key: Hashable | None = None) -> None:
        """Run a job as soon as may be.

        Args:
            job: must not raise.
            key: jobs of the same one run in order; without one, it is independent.
        """
        before = self._last.get(key) if key is not None else None
        task = asyncio.create_task(self._run(job, before))
        self._tasks.add(task)
        self._idle.clear()
        if key is not None:
            self._last[key] = task
        task.add_done_callback(lambda done: self._ended(done, key))
        if len(self._tasks) == self.bound:
            self._full()

    async def _run(
        self, job: Callable[[], Awaitable[None]], before: asyncio.Task[None] | None
    ) -> None:
        if before is not None:
            await asyncio.wait({before})
        async with self._places:
            self.running += 1
            try:
                await job()
            finally:
                self.running -= 1

    def _ended(self, task: asyncio.Task[None], key: Hashable | None) -> None:
        self._tasks.discard(task)
        if key is not None and self._last.get(key) is task:
            del self._last[key]
        if len(self._tasks) == self.bound - 1:
            self._room()
        if not self._tasks:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until none runs or waits."""
        await self._idle.wait()

    async def cancel(self) -> None:
        """End all of them now."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
