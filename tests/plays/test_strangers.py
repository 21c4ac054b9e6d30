"""What anybody can send costs nobody the link to the server, nor any other stanza."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from balancer.service import Service
from balancer.stanza import CONTROL_NS
from balancer.tap import Tap, Taps
from tests.servers import XmppServer, client, disconnect
from tests.stage import JID, backends, balancing, until

pytestmark = pytest.mark.asyncio

#: Payloads that a server forwards and some parser does not like.
ODD = {
    "a namespace with a space": "<x xmlns='a b'/>",
    "a namespace that is no URI": "<x xmlns=':::['/>",
    "an xml:id that is no name": "<x xmlns='urn:x' xml:id='1'/>",
    "an xml:id twice": "<x xmlns='urn:x' xml:id='a'><y xml:id='a'/></x>",
    "deeply nested": f"<x xmlns='urn:x'>{'<a>' * 300}{'</a>' * 300}</x>",
    "a long name": f"<{'a' * 60_000} xmlns='urn:x'/>",
    "many lines in a thread": f"<thread>{chr(10) * 50_000}</thread>",
}


class Watch:
    """A user, and whether the link to the server holds while she writes."""

    def __init__(self, service: Service, user: Any) -> None:
        self.component = service.components[JID]
        self._user = user
        self._replies: asyncio.Queue[str] = asyncio.Queue()
        user.add_event_handler("message", lambda message: self._replies.put_nowait(message["body"]))

    async def says(self, payload: str, text: str) -> None:
        """Something odd, then something ordinary: both are answered, in order."""
        for body, extra in ((text, payload), (f"{text}, again", "")):
            self._user.send_raw(
                f"<message to='{JID}' type='chat' id='m'>{extra}<body>{body}</body></message>"
            )
            assert await asyncio.wait_for(self._replies.get(), 20) == body

    def holds(self) -> bool:
        return self.component.tally.attempts == 1 and not self.component.router.missing()


@pytest.mark.parametrize("tapped", [False, True])
async def test_odd_payloads_pass(server: XmppServer, tapped: bool) -> None:
    async with balancing(server) as service, backends(service, 2):
        alice = await client(server, "alice", "pc")
        watch = Watch(service, alice)
        taps, tap = Taps(), Tap(xpath="c:body", bodies=True)
        if tapped:
            watch.component.taps = taps
        with taps.listening(tap):
            for what, payload in ODD.items():
                await watch.says(payload, what)
        assert watch.holds()
        if tapped:
            seen = [await tap.next() for _ in ODD]
            assert all(seen)
        await disconnect(alice)


async def test_an_odd_command_is_answered(server: XmppServer) -> None:
    admins = [f"alice@{server.domain}"]
    async with balancing(server, admins=admins) as service, backends(service, 1):
        alice = await client(server, "alice", "pc")
        watch = Watch(service, alice)
        for payload in ODD.values():
            answered = asyncio.get_running_loop().create_future()
            node = f"{CONTROL_NS}#status"
            alice.add_filter("in", _answer_to("q", answered))
            alice.send_raw(
                f"<iq to='{JID}' type='set' id='q'>"
                f"<command xmlns='http://jabber.org/protocol/commands' node='{node}'>{payload}"
                "</command></iq>"
            )
            assert await asyncio.wait_for(answered, 20) in ("result", "error")
        await watch.says("", "hello")
        assert watch.holds()
        await disconnect(alice)


def _answer_to(id: str, answered: asyncio.Future[str]) -> Any:
    def look(stanza: Any) -> Any:
        if stanza.name == "iq" and stanza["id"] == id and not answered.done():
            answered.set_result(stanza["type"])
        return stanza

    return look


async def test_our_own_answer_is_never_too_large(server: XmppServer) -> None:
    """Prosody closes the stream of a component that sends more than 512 KiB in a stanza."""
    async with balancing(server, queue_timeout=0.2) as service:
        alice = await client(server, "alice", "pc")
        watch = Watch(service, alice)
        for attributes in ('type="get"', 'type="chat"'):
            kind = "iq" if "get" in attributes else "message"
            quotes = "&quot;" * 20_000 + "'" * 20_000
            alice.send_raw(
                f'<{kind} to="{JID}" {attributes} id="{quotes}"><x xmlns="urn:x"/></{kind}>'
            )
        counts = watch.component.router.counts
        await until(lambda: counts.answered.total() + counts.orphaned.total() >= 2)
        async with backends(service, 1):
            await watch.says("", "hello")
        assert watch.holds()
        await disconnect(alice)
