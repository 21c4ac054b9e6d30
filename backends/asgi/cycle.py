"""One request through an ASGI application: the HTTP part of the ASGI specification, version 2.4.

``http.request``            ─▶ the body, at once: it is there
``http.response.start``     ◀─ status and headers
``http.response.body``      ◀─ the body, in pieces: a stanza is sent whole, so they are kept
``http.disconnect``         ─▶ when the response is complete, or takes too long
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import structlog

from backends.asgi.request import Request
from backends.asgi.response import Response

log = structlog.get_logger("asgi")

Event = MutableMapping[str, Any]
App = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Event]], Callable[[Event], Awaitable[None]]],
    Awaitable[None],
]

#: Seconds for an application that was told to give up.
GRACE: Final = 1.0

FAILED: Final = Response(500, [], b"")
TIMED_OUT: Final = Response(504, [], b"the application took too long")


class Disconnected(OSError):
    """What an application gets that sends when nobody waits for it any more."""


class Cycle:
    """A request and its response.

    Args:
        app: the application.
        scope: what it is told.
        request: what it may read.
        timeout: how many seconds it has for a response.
    """

    def __init__(
        self, app: App, scope: MutableMapping[str, Any], request: Request, timeout: float
    ) -> None:
        self.response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._app = app
        self._scope = scope
        self._request = request
        self._timeout = timeout
        self._read = False
        self._over = asyncio.Event()
        self._start: Event | None = None
        self._body: list[bytes] = []

    async def run(self) -> None:
        """Run the application to its end; `response` is there earlier."""
        running = asyncio.ensure_future(self._call())
        try:
            await asyncio.wait({self.response}, timeout=self._timeout)
            if not self.response.done():
                self._finish(TIMED_OUT)
                await asyncio.wait({running}, timeout=GRACE)
                running.cancel()
            await asyncio.wait({running})
        finally:
            running.cancel()

    async def _call(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
            if not self.response.done():
                log.error("the application ended without a response", path=self._request.path)
        except Disconnected:
            pass
        except Exception as error:
            log.error("the application failed", path=self._request.path, exc_info=error)
        finally:
            self._finish(FAILED)

    def _finish(self, response: Response) -> None:
        if not self.response.done():
            self.response.set_result(response)
        self._over.set()

    async def _receive(self) -> Event:
        if not self._read:
            self._read = True
            return {"type": "http.request", "body": self._request.body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def _send(self, event: Event) -> None:
        if self._over.is_set():
            raise Disconnected("nobody waits for a response any more")
        kind = event["type"]
        if kind == "http.response.start" and self._start is None:
            self._start = event
        elif kind == "http.response.body" and self._start is not None:
            self._body.append(bytes(event.get("body", b"")))
            if not event.get("more_body", False):
                self._finish(self._complete(self._start))
        else:
            raise RuntimeError(f"{kind!r} was not expected here")

    def _complete(self, start: Event) -> Response:
        # HEAD has the headers of GET and no body (RFC 9110 §9.3.2).
        body = b"" if self._request.method == "HEAD" else b"".join(self._body)
        headers = [(bytes(name), bytes(value)) for name, value in start.get("headers", ())]
        return Response(int(start["status"]), headers, body)
