"""A backend that breaks a rule loses its own stream; nobody else notices anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from balancer.connector import LinkState
from tests.raw import RawBackend
from tests.servers import XmppServer, client, disconnect
from tests.stage import JID, backends, balancing, until

pytestmark = pytest.mark.asyncio

FINE = f"<message from='x@{JID}' to='alice@localhost'>"
OFFENCES: dict[str, tuple[str | bytes, str]] = {
    "a foreign from": (
        "<message from='x@elsewhere.localhost' to='alice@localhost'><body/></message>",
        "invalid-from",
    ),
    "a subdomain as from": (
        f"<message from='x@sub.{JID}' to='alice@localhost'><body/></message>",
        "invalid-from",
    ),
    "an empty node in from": (f"<message from='@{JID}' to='localhost'/>", "invalid-from"),
    "an empty resource in from": (f"<message from='{JID}/' to='localhost'/>", "invalid-from"),
    "no from": ("<message to='alice@localhost'/>", "improper-addressing"),
    "no to": (f"<message from='x@{JID}'/>", "improper-addressing"),
    "broken XML": (f"{FINE}<body></message>", "not-well-formed"),
    "an undeclared prefix": (f"{FINE}<a:b/></message>", "not-well-formed"),
    "an undeclared entity": (f"{FINE}<body>&bomb;</body></message>", "not-well-formed"),
    "bytes that are not UTF-8": (FINE.encode() + b"<body>\xff</body></message>", "not-well-formed"),
    "a comment": (f"{FINE}<!-- note --></message>", "restricted-xml"),
    "a processing instruction": (f"{FINE}<?php ?></message>", "restricted-xml"),
    "a DTD": ("<!DOCTYPE x [<!ENTITY a 'b'>]>", "not-well-formed"),
    "an oversize stanza": (f"{FINE}<body>{'x' * 600_000}</body></message>", "policy-violation"),
    "deep nesting": (f"{FINE}{'<a>' * 1000}", "policy-violation"),
    "text between stanzas": ("hello", "bad-format"),
    "an unknown stanza": ("<letter xmlns='urn:x'/>", "unsupported-stanza-type"),
    "a prefixed stanza": ("<c:iq xmlns:c='jabber:client'/>", "bad-namespace-prefix"),
}


async def test_an_offender_loses_only_its_own_stream(server: XmppServer) -> None:
    async with balancing(server) as service, backends(service, 2) as crew:
        component = service.components[JID]
        link = component.connector.link
        alice = await client(server, "alice", "phone")
        for what, (said, condition) in OFFENCES.items():
            async with RawBackend(service.listener.port, f"{JID}/offender") as offender:
                await offender.join()
                offender.say(said)
                heard = await offender.hear_all()
                assert f"<{condition} xmlns=".encode() in heard, (what, heard)
                assert heard.endswith(b"</stream:error></stream:stream>"), what
            await until(lambda: len(component.router.pool) == 2)
        # The others go on, over the same connection to the server as before.
        assert component.connector.link is link
        assert component.connector.state is LinkState.UP
        for backend in crew:
            assert await backend.plugin["xep_0199"].ping(JID, ifrom=f"me@{JID}", timeout=10) < 10
        assert await alice.plugin["xep_0199"].ping(JID, timeout=10) < 10
        await disconnect(alice)


async def test_a_dtd_in_the_prolog_is_refused(prosody: XmppServer) -> None:
    async with balancing(prosody) as service, RawBackend(service.listener.port) as offender:
        offender.say("<?xml version='1.0'?><!DOCTYPE stream:stream [<!ENTITY a 'b'>]>")
        heard = await offender.hear_all()
        assert b"<restricted-xml xmlns=" in heard


async def test_an_iq_without_id_or_with_a_wrong_type_is_answered_to_its_sender_alone(
    prosody: XmppServer,
) -> None:
    async with (
        balancing(prosody) as service,
        RawBackend(service.listener.port, f"{JID}/raw") as backend,
    ):
        await backend.join()
        backend.say(f"<iq type='get' from='x@{JID}' to='localhost'><q xmlns='urn:q'/></iq>")
        assert b"<bad-request xmlns=" in await backend.hear(b"</iq>")
        backend.say(f"<iq type='ask' id='7' from='x@{JID}' to='localhost'/>")
        heard = await backend.hear(b"</iq>")
        assert b"id='7'" in heard
        assert b"<bad-request xmlns=" in heard
        assert len(service.components[JID].router.pool) == 1


async def test_an_address_of_which_a_server_leaves_nothing_is_answered_to_its_sender_alone(
    server: XmppServer,
) -> None:
    """Prosody 0.12 would close the stream of all backends for it."""
    async with (
        balancing(server) as service,
        RawBackend(service.listener.port, f"{JID}/raw") as backend,
    ):
        await backend.join()
        link = service.components[JID].connector.link
        for number, to in enumerate(("\u00ad", "a@\u00ad", "\u2060@localhost", "@localhost")):
            backend.say(f"<presence id='{number}' from='x@{JID}' to='{to}'/>")
            heard = await backend.hear(b"</presence>")
            assert b"<jid-malformed xmlns=" in heard
            assert f"id='{number}'".encode() in heard
        backend.say(
            f"<iq type='get' id='7' from='x@{JID}' to='localhost'>"
            "<ping xmlns='urn:xmpp:ping'/></iq>"
        )
        assert b"id='7'" in await backend.hear(b">")
        assert service.components[JID].connector.link is link


async def test_jabber_client_stanzas_of_a_backend_are_delivered(server: XmppServer) -> None:
    """slixmpp's ``use_jc_ns``; Prosody would answer them with service-unavailable."""
    async with (
        balancing(server) as service,
        RawBackend(service.listener.port) as backend,
    ):
        await backend.join()
        alice = await client(server, "alice", "phone")
        got: list[str] = []
        alice.add_event_handler("message", lambda message: got.append(message["body"]))
        backend.say(
            f"<message xmlns='jabber:client' from='x@{JID}' to='alice@localhost' type='chat'>"
            "<body>from another namespace</body></message>"
        )
        await until(lambda: got == ["from another namespace"])
        await disconnect(alice)


async def test_a_taken_name_replaces_its_old_connection(prosody: XmppServer) -> None:
    async with (
        balancing(prosody) as service,
        RawBackend(service.listener.port, f"{JID}/one") as old,
        RawBackend(service.listener.port, f"{JID}/one") as new,
    ):
        await old.join()
        await new.join()
        assert b"<conflict xmlns=" in await old.hear_all()
        new.say(
            f"<iq type='get' id='1' from='{JID}' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"
        )
        assert b"id='1'" in await new.hear(b">")


@pytest.mark.timeout(240)
async def test_half_a_million_made_up_names_leave_memory_where_it_was(
    prosody: XmppServer,
) -> None:
    """A parser forgets nothing (DESIGN §3.8), so it must be renewed; here on a backend's link."""
    async with (
        balancing(prosody) as service,
        RawBackend(service.listener.port, f"{JID}/raw") as backend,
    ):
        await backend.join()

        async def send(first: int, count: int) -> None:
            # Errors without an id are dropped by the server, so that only the balancer works.
            for start in range(first, first + count, 1000):
                backend.say(
                    "".join(
                        f"<iq type='result' id='{n}' from='x@{JID}' to='localhost'>"
                        f"<name-made-up-by-a-stranger-{n} attribute-{n}='' xmlns='urn:{n}'/></iq>"
                        for n in range(start, start + 1000)
                    )
                )
                await backend.writer.drain()
            backend.say(
                f"<iq type='get' id='done' from='x@{JID}' to='localhost'>"
                "<ping xmlns='urn:xmpp:ping'/></iq>"
            )
            await backend.hear(b"id='done'")

        await send(0, 50_000)
        before = _resident()
        await send(50_000, 500_000)
        assert _resident() - before < 20 << 20


def _resident() -> int:
    """Bytes of memory that this process, the balancer in it, has now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


async def test_an_offender_that_talks_on_hears_why_all_the_same(prosody: XmppServer) -> None:
    async with (
        balancing(prosody) as service,
        RawBackend(service.listener.port, f"{JID}/offender") as offender,
    ):
        await offender.join()
        offender.say("hello")
        offender.say(f"{FINE}<body>{'x' * 4_000_000}</body></message>")
        heard = await offender.hear_all()
        assert heard.endswith(b"</stream:error></stream:stream>")
