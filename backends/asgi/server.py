"""An ASGI server whose requests are stanzas."""

from __future__ import annotations

import asyncio

from slixmpp.stanza.rootstanza import RootStanza

from backends.asgi.cycle import App, Cycle
from backends.asgi.extension import extension
from backends.asgi.http_over_xmpp import HTTP_NS, http_answer_of, http_request_of, is_http
from backends.asgi.lifespan import Lifespan
from backends.asgi.request import request_of
from backends.asgi.response import answer_of
from backends.backend import DRAIN, Backend
from backends.errors import StanzaError

#: Seconds for a response; a balancer gives a request 60.
TIMEOUT = 55.0


class AsgiServer:
    """Serves an application: every stanza is a request to it.

    The answer to an iq is always sent.  A response to a message or to presence is dropped unless
    it is an error, or asks to be sent with the header ``xmpp-reply: true``.  The iqs that
    `dispatching.ANSWERED` names are answered before they reach the application.

    Args:
        app: the application.
        backend: whose stanzas; it should have no handlers of its own for them.
        timeout: how many seconds a request may take, then it is answered with
            ``remote-server-timeout``.
        reply: whether messages are answered as if each response asked for it.
    """

    def __init__(
        self, app: App, backend: Backend, *, timeout: float = TIMEOUT, reply: bool = False
    ) -> None:
        self.app = app
        self.backend = backend
        self._timeout = timeout
        self._reply = reply
        self._lifespan = Lifespan(app)
        backend.iq(self.handle)
        backend.message(self.handle)
        backend.presence(self.handle)
        backend.plugin["xep_0030"].add_feature(HTTP_NS)

    def __repr__(self) -> str:
        return f"<AsgiServer {self.app!r} on {self.backend!r}>"

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; see `Backend.run`."""
        self.backend.run(lambda: self.serve(signals=True))

    async def serve(self, *, signals: bool = False, drain: float = DRAIN) -> None:
        """Start the application, serve until `Backend.stop` is called, end the application.

        Raises:
            LifespanError: the application could not start, or not end.
        """
        await self._lifespan.startup()
        try:
            await self.backend.serve(signals=signals, drain=drain)
        finally:
            await self._lifespan.shutdown()

    async def handle(self, stanza: RootStanza) -> None:
        """Let the application handle a stanza; it may go on after its response is sent."""
        http = is_http(stanza)
        request = http_request_of(stanza) if http else request_of(stanza)
        scope = request.scope(str(stanza["from"]), stanza["to"].domain)
        scope["state"] = self._lifespan.state.copy()
        scope["extensions"] = {"xmpp": extension(self.backend, stanza)}
        cycle = Cycle(self.app, scope, request, self._timeout)
        running = asyncio.create_task(cycle.run())
        try:
            response = await asyncio.shield(cycle.response)
            try:
                if http:
                    answer: object = http_answer_of(response, request.method)
                else:
                    answer = answer_of(stanza, response, self._reply)
            except StanzaError as error:
                answer = error
            self.backend.answer(stanza, answer)
            await running
        finally:
            running.cancel()
