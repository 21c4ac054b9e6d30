"""What the kit costs a request, beside a handler written for bare slixmpp; no socket, no server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree.ElementTree import Element

from slixmpp import ComponentXMPP
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from backends import Backend
from backends.asgi import AsgiServer
from tests.bench.measures import RUNS, Measure

JID, NAMESPACE = "svc.bench", "urn:example:bench"
COUNT, AT_ONCE = 4000, 50

HEADER = (
    "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'"
    " xmlns='jabber:component:accept' id='1'><handshake/><enabled xmlns='urn:xmpp:sm:3'/>"
)


class Drain(asyncio.Transport):
    """A transport that counts the answers which it swallows."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0

    def write(self, data: Any) -> None:
        self.answers += bytes(data).count(b'type="result"')

    def is_reading(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return False


def bare() -> ComponentXMPP:
    """A handler as slixmpp's documentation writes one."""
    component = ComponentXMPP(JID, "secret", "127.0.0.1", 1)  # type: ignore[no-untyped-call]

    def answer(iq: Any) -> None:
        reply = iq.reply()
        reply.append(Element(f"{{{NAMESPACE}}}answer"))
        reply.send()

    path = f"{{jabber:component:accept}}iq/{{{NAMESPACE}}}query"
    component.register_handler(Callback("bench", MatchXPath(path), answer))
    return component


def kit() -> ComponentXMPP:
    """The same with the kit."""
    backend = Backend(JID, "secret")

    @backend.iq(NAMESPACE)
    async def answer(_: Any) -> Element:
        return Element(f"{{{NAMESPACE}}}answer")

    return backend


def asgi() -> ComponentXMPP:
    """A Starlette application."""

    async def answer(_: Request) -> PlainTextResponse:
        return PlainTextResponse("answer")

    backend = Backend(JID, "secret")
    AsgiServer(Starlette(routes=[Route("/orders/{number}", answer)]), backend)
    return backend


async def _seconds(component: ComponentXMPP) -> float:
    """CPU seconds for one request."""
    drain = Drain()
    filters = asyncio.ensure_future(component.run_filters())
    component.init_plugins()  # type: ignore[no-untyped-call]
    component.connection_made(drain)
    component.data_received(HEADER.encode())
    # What it sends by itself is out of the way first.
    await asyncio.sleep(0.05)
    begun = time.process_time()
    for start in range(0, COUNT, AT_ONCE):
        requests = (
            f"<iq type='get' id='{number}' from='user@x/{number}' to='{JID}/orders/{number}'>"
            f"<query xmlns='{NAMESPACE}'/></iq>"
            for number in range(start, start + AT_ONCE)
        )
        component.data_received("".join(requests).encode())
        while drain.answers < start + AT_ONCE:  # noqa: ASYNC110 - every turn is work here
            await asyncio.sleep(0)
    spent = time.process_time() - begun
    filters.cancel()
    await asyncio.wait({filters})
    return spent / COUNT


def _against_bare(name: str, made: Callable[[], ComponentXMPP], target: float) -> Measure:
    async def one(make: Callable[[], ComponentXMPP]) -> float:
        return await _seconds(make())

    measure = Measure(name, "of a bare slixmpp handler", target)
    for _ in range(RUNS):
        measure.baselines.append(asyncio.run(one(bare)))
        measure.figures.append(asyncio.run(one(made)))
    measure.notes["µs per request"] = min(measure.figures) * 1e6
    measure.notes["bare µs"] = min(measure.baselines) * 1e6
    return measure


def the_kit() -> Iterator[Measure]:
    """CPU for one request and its answer."""
    yield _against_bare("CPU per request, a handler of the kit", kit, 2.0)
    yield _against_bare("CPU per request, a Starlette application", asgi, 6.0)
