"""The lifespan of an ASGI application: it is told when it starts and when it ends."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog

from backends.asgi.cycle import App, Event

log = structlog.get_logger("asgi")

#: Seconds to answer that it has started or ended, and then to return.
TIMEOUT: Final = 60.0
GRACE: Final = 5.0


class LifespanError(RuntimeError):
    """The application could not start, or not end."""


class Lifespan:
    """The lifespan part of the ASGI specification; an application need not know it.

    Args:
        app: the application.
    """

    def __init__(self, app: App) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._answers: asyncio.Queue[Event] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Let the application start.

        Raises:
            LifespanError: it says that it cannot.
        """
        self._task = asyncio.create_task(self._run())
        await self._tell("startup")

    async def shutdown(self) -> None:
        """Let it end.

        Raises:
            LifespanError: it says that it cannot.
        """
        await self._tell("shutdown")
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=GRACE)
            self._task.cancel()

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._events.get, self._answers.put)
        except Exception as error:
            # The specification: one that raises here is served without a lifespan.
            log.debug("the application has no lifespan", error=repr(error))

    async def _tell(self, what: str) -> None:
        if self._task is None or self._task.done():
            return
        await self._events.put({"type": f"lifespan.{what}"})
        answering = asyncio.create_task(self._answers.get())
        await asyncio.wait(
            {answering, self._task}, return_when=asyncio.FIRST_COMPLETED, timeout=TIMEOUT
        )
        if not answering.done():
            answering.cancel()
            if not self._task.done():
                raise LifespanError(f"no answer to {what} in {TIMEOUT:g} s")
            return
        answer = answering.result()
        if answer["type"] == f"lifespan.{what}.failed":
            raise LifespanError(answer.get("message") or f"{what} failed")
