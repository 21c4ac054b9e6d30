"""What can be seen of a backend without a connection."""

from __future__ import annotations

import asyncio
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from backends import Backend, Handlers, StanzaError
from backends.errors import error_reply
from tests.kit.stanzas import stanza

pytestmark = pytest.mark.asyncio


async def test_its_name_is_the_resource_of_the_header() -> None:
    assert 'to="svc.x/it\'s &lt;me&gt;"' in Backend("svc.x", "s", name="it's <me>").stream_header
    assert 'to="svc.x/w"' in Backend("svc.x/w", "s").stream_header
    assert 'to="svc.x"' in Backend("svc.x", "s").stream_header
    # A bare server knows no such name, and refuses.
    assert 'to="svc.x"' in Backend("svc.x/w", "s", balancer=False).stream_header


async def test_errors_are_in_the_stream_s_namespace_on_the_wire() -> None:
    backend = Backend("svc.localhost", "s")
    message = stanza("<message from='a@x' to='svc.localhost'><body>x</body></message>")
    backend.send(error_reply(message, StanzaError("conflict")))
    (sent,) = backend.outbox
    assert not isinstance(sent, str)
    assert [child.tag for child in sent.xml] == ["{jabber:component:accept}error"]


async def test_no_attribute_is_lost() -> None:
    backend = Backend("svc.localhost", "s")
    payload = Element("{urn:a}a", {"{urn:b}b": "c"})
    iq = backend.make_iq_set(payload, ito="a@x")
    backend.send(iq)
    (sent,) = backend.outbox
    assert isinstance(sent, str)
    assert 'ns1:b="c"' in sent


async def test_handlers_can_be_shared() -> None:
    handlers = Handlers()
    one, two = (Backend("svc.x", "s", handlers=handlers) for _ in range(2))

    @one.message
    async def hear(_: Any) -> None: ...

    assert one.handlers is two.handlers
    message = stanza("<message><body>x</body></message>")
    assert [rule.handler for rule in two.handlers.of(message)] == [hear]


async def test_a_balancer_that_does_not_drain_is_left_all_the_same() -> None:
    backend = Backend("svc.x", "s")
    backend.online = True

    async def refuse(*_: Any) -> None:
        raise StanzaError("service-unavailable")

    backend.request = refuse  # type: ignore[assignment]
    async with asyncio.timeout(5):
        await backend._drain(60.0)


async def test_a_defect_of_the_connection_ends_it() -> None:
    backend = Backend("svc.x", "s")

    async def fail() -> None:
        raise ZeroDivisionError

    backend.stay_connected = fail  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(backend.serve(), 5)


@pytest.mark.parametrize(
    "options", [{"servers": ["x:y"]}, {"servers": []}, {"weight": 0}, {"concurrency": 0}]
)
async def test_what_is_no_backend(options: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        Backend("svc.x", "s", **options)
