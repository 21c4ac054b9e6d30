"""An application written against ASGI itself, which does what its path says."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs
from xml.etree.ElementTree import Element

from backends import StanzaError


class Plain:
    """Remembers what it got."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.bodies: list[bytes] = []
        self.seen: list[str] = []
        self.go = asyncio.Event()
        self.running = 0
        self.most = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await self.lifespan(scope, receive, send)
        self.scopes.append(scope)
        event = await receive()
        assert (event["type"], event["more_body"]) == ("http.request", False)
        self.bodies.append(event["body"])
        action, _, argument = scope["path"].removeprefix("/").partition("/")
        act = getattr(self, f"do_{action.replace(':', '_')}", self.do_echo)
        await act(scope, receive, Answer(send), argument)
        return None

    async def lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        for what in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{what}"
            self.seen.append(what)
            scope["state"]["began"] = True
            await send({"type": f"lifespan.{what}.complete"})

    async def do_echo(self, scope: Any, receive: Any, answer: Answer, argument: str) -> None:
        await answer(200, self.bodies[-1], content_type="application/xml")

    async def do_status(self, scope: Any, receive: Any, answer: Answer, argument: str) -> None:
        await answer(int(argument), b"because")

    async def do_headers(self, scope: Any, receive: Any, answer: Answer, argument: str) -> None:
        given = {k: v[0] for k, v in parse_qs(scope["query_string"].decode()).items()}
        await answer(int(given.pop("status", "200")), argument.encode(), **given)

    async def do_ask(self, scope: Any, receive: Any, answer: Answer, argument: str) -> None:
        payload = Element(f"{{urn:example:ask}}{argument}")
        to = scope["client"][0]
        try:
            found = await scope["extensions"]["xmpp"]["iq"](to, payload)
        except StanzaError as error:
            await answer(200, f"{error.status} {error.etype} {error.text}".encode())
        else:
            await answer(200, found.tag.encode())

    async def do_send(self, scope: Any, receive: Any, answer: Answer, argument: str) -> None:
        xmpp, to = scope["extensions"]["xmpp"], scope["client"][0]
        xmpp["message"](to, "one", Element("{urn:example:x}x"))
        xmpp["presence"](to, show="away", status="two")
        xmpp["raw"](f"<message to='{to}' type='chat'><body>three</body></message>")
        await asyncio.to_thread(xmpp["message"], to, "four")
        await answer(204, b"")

    async def do_wait(self, scope: Any, receive: Any, answer: Answer, argument: str) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.go.wait()
        self.running -= 1
        await answer(204, b"")

    async def do_stream(self, scope: Any, receive: Any, answer: Answer, argument: str) -> None:
        await answer.start(200, [(b"content-type", b"application/xml")])
        for piece in (b"<a xmlns='urn:a'>", b"<b/>", b"</a>"):
            await answer.body(piece, more_body=True)
        await answer.body(b"", more_body=False)
        assert (await receive())["type"] == "http.disconnect"
        self.seen.append("disconnected")

    async def do_never(self, scope: Any, receive: Any, answer: Answer, argument: str) -> None:
        assert (await receive())["type"] == "http.disconnect"
        try:
            await answer(200, b"too late")
        except OSError:
            self.seen.append("too late")

    async def do_nothing(self, scope: Any, receive: Any, answer: Answer, argument: str) -> None:
        """End without an answer."""

    async def do_half(self, scope: Any, receive: Any, answer: Answer, argument: str) -> None:
        await answer.start(200, [])
        raise ZeroDivisionError

    async def do_wrong(self, scope: Any, receive: Any, answer: Answer, argument: str) -> None:
        await answer.body(b"without a start", more_body=False)

    async def do_large(self, scope: Any, receive: Any, answer: Answer, argument: str) -> None:
        await answer(200, b"<" * 300_000)


class Answer:
    """Sends a response."""

    def __init__(self, send: Any) -> None:
        self._send = send

    async def __call__(self, status: int, body: bytes, **headers: str) -> None:
        given = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        await self.start(status, given)
        await self.body(body, more_body=False)

    async def start(self, status: int, headers: Any) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, body: bytes, *, more_body: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more_body})
