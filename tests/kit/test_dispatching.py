"""From a stanza to its answer, without a connection."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from slixmpp.exceptions import IqTimeout
from slixmpp.stanza.rootstanza import RootStanza

from backends import Handlers, StanzaError
from backends.answers import answer_to
from backends.dispatching import Dispatch
from backends.errors import received
from backends.jobs import Jobs
from tests.kit.stanzas import stanza

pytestmark = pytest.mark.asyncio

IQ = "<iq type='get' id='1' from='a@x/r' to='svc.localhost'><q xmlns='urn:a'/></iq>"


class Stage:
    """A dispatch, what it sends, and what it says is done."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.sent: list[Any] = []
        self.done: list[str] = []
        self.broken = False
        self.handlers = Handlers()
        self.jobs = Jobs(10)
        self.dispatch = Dispatch(self, self.handlers, self.jobs, in_order=True, timeout=None)

    def send(self, data: Any) -> None:
        if self.broken:
            raise ConnectionError("there is no room")
        self.sent.append(data)
        if isinstance(data, RootStanza):
            self.dispatch.sends(data)

    async def offer(self, xml: str) -> bool:
        """As the stream does it; whether it has handlers here."""
        offered = stanza(xml)
        self.dispatch.arrives(lambda: self.done.append(xml))
        handled = self.dispatch.handles(offered)
        if handled:
            self.dispatch.run(offered)
        self.dispatch.passed()
        await self.jobs.idle()
        return handled


async def test_a_request_is_answered_once() -> None:
    stage = Stage()

    @stage.handlers.iq("urn:a")
    async def answers_itself_and_fails(iq: Any) -> None:
        stage.send(answer_to(iq, None))
        raise ZeroDivisionError

    assert await stage.offer(IQ)
    assert [each["type"] for each in stage.sent] == ["result"]
    assert stage.done == [IQ]


async def test_what_has_no_handler_is_done_at_once() -> None:
    stage = Stage()
    assert not await stage.offer(IQ)
    assert (stage.sent, stage.done) == ([], [IQ])


async def test_an_error_is_never_answered() -> None:
    stage = Stage()

    @stage.handlers.filter("message")
    async def fail(message: Any) -> None:
        raise ZeroDivisionError

    xml = "<message type='error' from='a@x' to='svc.localhost'/>"
    await stage.offer(xml)
    assert (stage.sent, stage.done, stage.counts["failed"]) == ([], [xml], 1)


async def test_one_that_cannot_be_told_is_done_all_the_same() -> None:
    stage = Stage()
    stage.broken = True

    @stage.handlers.message
    async def answer(message: Any) -> str:
        return "hello"

    xml = "<message from='a@x' to='svc.localhost'><body>x</body></message>"
    await stage.offer(xml)
    assert (stage.sent, stage.done) == ([], [xml])


async def test_an_uncaught_timeout_is_no_secret_and_no_defect_of_the_sender() -> None:
    stage = Stage()

    @stage.handlers.iq
    async def ask(iq: Any) -> None:
        raise IqTimeout(iq)

    await stage.offer(IQ)
    assert received(stage.sent[0]).condition == "remote-server-timeout"


async def test_everybody_can_be_refused() -> None:
    stage = Stage()
    stage.handlers.iq(lambda iq: asyncio.sleep(0))
    stage.handlers.filter("iq")(lambda iq: asyncio.sleep(0))
    stage.dispatch.refusal = StanzaError("service-unavailable")
    await stage.offer(IQ)
    await stage.offer("<iq type='result' id='2' from='a@x/r' to='svc.localhost'/>")
    assert [received(each).condition for each in stage.sent] == ["service-unavailable"]
    assert len(stage.done) == 2
