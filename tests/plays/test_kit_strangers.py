"""What anybody can send costs a backend of the kit neither its connection nor its answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from xml.etree.ElementTree import Element, SubElement

import pytest

from backends import Backend, StanzaError
from backends.asgi import AsgiServer
from tests.kit.stage import behind, on, serving
from tests.servers import XmppServer, client, disconnect
from tests.stage import JID, balancing, until

pytestmark = pytest.mark.asyncio


async def asked(user: Any, xml: str) -> str:
    """The type of the answer to an iq with the id ``q``."""
    answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def look(stanza: Any) -> Any:
        if stanza.name == "iq" and stanza["id"] == "q" and not answered.done():
            answered.set_result(stanza["type"])
        return stanza

    user.add_filter("in", look)
    user.send_raw(xml)
    try:
        return await asyncio.wait_for(answered, 20)
    finally:
        user.del_filter("in", look)


def ping(backend: Backend, to: Any) -> Any:
    iq = backend.make_iq_get(ito=to)
    iq.append(Element("{urn:xmpp:ping}ping"))
    return iq


async def test_what_is_nested_too_deeply_is_refused(prosody: XmppServer) -> None:
    async with balancing(prosody) as service:
        backend = behind(service)

        @backend.iq("urn:known")
        async def known(iq: Any) -> None:
            """Handled, if it comes so far."""

        async with serving(backend):
            alice = await client(prosody, "alice", "phone")
            for namespace in ("urn:known", "urn:unknown"):
                deep = f"<q xmlns='{namespace}'>{'<a>' * 3000}{'</a>' * 3000}</q>"
                assert await asked(alice, f"<iq type='get' id='q' to='{JID}'>{deep}</iq>") == (
                    "error"
                )
            assert backend.counts["connected"] == 1
            await disconnect(alice)


async def test_what_xml_has_no_place_for_is_not_sent(prosody: XmppServer) -> None:
    async with balancing(prosody) as service:
        backend = behind(service)

        @backend.iq("urn:text")
        async def fail(iq: Any) -> None:
            raise StanzaError("not-allowed", "\x1b[31mred \ud800")

        @backend.iq("urn:element")
        async def answer(iq: Any) -> Element:
            said = Element("{urn:element}said", {"a": "\x00"})
            SubElement(said, "{urn:element}b").tail = "\x1b"
            return said

        async with serving(backend):
            alice = await client(prosody, "alice", "phone")
            for namespace, type_ in (("urn:text", "error"), ("urn:element", "result")):
                xml = f"<iq type='get' id='q' to='{JID}'><q xmlns='{namespace}'/></iq>"
                assert await asked(alice, xml) == type_
            assert backend.counts["connected"] == 1
            await disconnect(alice)


async def test_what_is_too_large_when_it_is_written_is_not_sent(prosody: XmppServer) -> None:
    async with balancing(prosody) as service:
        backend = behind(service)

        @backend.iq("urn:back")
        async def back(iq: Any) -> Element:
            payload: Element = iq.xml[0]
            iq.xml.remove(payload)
            return payload

        async with serving(backend):
            alice = await client(prosody, "alice", "phone")
            tail = "'" * 100_000  # six times as much, escaped
            xml = f"<iq type='get' id='q' to='{JID}'><q xmlns='urn:back'><b/>{tail}</q></iq>"
            assert await asked(alice, xml) == "error"
            assert backend.counts["connected"] == 1
            await disconnect(alice)


async def test_nobody_says_who_he_is(prosody: XmppServer) -> None:
    async with balancing(prosody) as service:
        backend = behind(service)
        seen: list[list[str]] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                name = b"xmpp-stanza-from"
                seen.append([value.decode() for key, value in scope["headers"] if key == name])
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b""})

        AsgiServer(app, backend)
        async with serving(backend):
            alice = await client(prosody, "alice", "phone")
            forged = "xmlns:e='urn:e' e:from='bob@localhost'"
            xml = f"<iq {forged} type='get' id='q' to='{JID}'><q xmlns='urn:x'/></iq>"
            assert await asked(alice, xml) == "result"
            assert seen == [[f"alice@{prosody.domain}/phone"]]
            await disconnect(alice)


@pytest.mark.parametrize("bare", [False, True])
async def test_handlers_that_ask_get_their_answers_however_much_waits(
    prosody: XmppServer, bare: bool
) -> None:
    got: Counter[str] = Counter()

    def asking(backend: Backend) -> Backend:
        @backend.message
        async def ask(message: Any) -> None:
            try:
                await backend.request(ping(backend, f"bob@{prosody.domain}/pc"), timeout=30)
                got["answered"] += 1
            except TimeoutError:
                got["timed out"] += 1

        return backend

    async def crowd(many: int) -> None:
        alice, bob = await client(prosody, "alice", "pc"), await client(prosody, "bob", "pc")
        one = f"<message to='{JID}'><body>x</body></message>"
        alice.send_raw(one * many)
        await until(lambda: got.total() == many, 60)
        assert got["timed out"] == 0
        for each in (alice, bob):
            await disconnect(each)

    if bare:
        async with serving(asking(on(prosody, concurrency=5, in_order=False))):
            await crowd(50)
    else:
        async with (
            balancing(prosody, max_unacked=100) as service,
            serving(asking(behind(service, in_order=False, concurrency=10))),
        ):
            await crowd(400)
