"""What a backend and the balancer say to each other and nobody else hears."""

from __future__ import annotations

import pytest

from tests.raw import RawBackend
from tests.servers import XmppServer, client, disconnect
from tests.stage import JID, backends, balancing, until

pytestmark = pytest.mark.asyncio

SM = "urn:xmpp:sm:3"


async def test_acknowledgements_to_the_stanza(prosody: XmppServer) -> None:
    async with balancing(prosody) as service:
        router = service.components[JID].router
        alice = await client(prosody, "alice", "phone")
        async with RawBackend(service.listener.port, f"{JID}/a") as backend:
            await backend.join()
            backend.say(f"<enable xmlns='{SM}'/>")
            await backend.hear(f"<enabled xmlns='{SM}'/>".encode())
            backend.say(f"<enable xmlns='{SM}'/>")
            assert b"<unexpected-request" in await backend.hear(b"</failed>")
            backend.say(f"<resume xmlns='{SM}' h='0' previd='x'/>")
            assert b"<item-not-found" in await backend.hear(b"</failed>")
            for number in range(3):
                alice.send_message(JID, str(number))
            heard = await backend.hear(b"<body>2</body></message>")
            assert heard.count(b"<message") == 3
            ledger = next(iter(router.pool)).ledger
            await until(lambda: len(ledger) == 3)
            await backend.hear(b"<r xmlns='urn:xmpp:sm:3'/>")  # the health check of who counts
            backend.say(f"<a xmlns='{SM}' h='2'/>")
            await until(lambda: len(ledger) == 1)
            # And the other way round.
            backend.say(f"<message from='{JID}' to='alice@localhost'><body>x</body></message>")
            backend.say(f"<r xmlns='{SM}'/>")
            assert b"h='1'" in await backend.hear(b"'/>")
        await until(lambda: not len(router.pool))
        # It is gone with one unacknowledged: another gets that one, and only that.
        async with backends(service, 1) as (worker,):
            await until(lambda: worker.got)
            assert worker.got == ["2"]
            assert not router.missing()
        await disconnect(alice)


async def test_a_backend_says_what_it_weighs(prosody: XmppServer) -> None:
    async with balancing(prosody) as service:
        component = service.components[JID]
        async with RawBackend(service.listener.port, f"{JID}/a") as backend:
            await backend.join()
            for value, answer in (("7", b"type='result'"), ("0", b"a number from 1 to 256")):
                backend.say(
                    f"<iq type='set' id='w{value}' from='{JID}' to='{JID}'>"
                    f"<weight xmlns='urn:xmpp-balancer:0' value='{value}'/></iq>"
                )
                assert answer in await backend.hear(b"iq>" if value == "0" else b"/>")
            (there,) = component.router.pool
            assert there.weight == 7
            component.reconfigure(component.config, service.config.health)
            assert there.weight == 7, "a reload leaves it"


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        (f"<a xmlns='{SM}' h='1'/>", b"policy-violation"),
        (f"<a xmlns='{SM}'/>", b"invalid-xml"),
        (f"<enable xmlns='{SM}'/><a xmlns='{SM}' h='7'/>", b"undefined-condition"),
        ("<strange xmlns='urn:x'/>", b"unsupported-stanza-type"),
    ],
)
async def test_wrong_acknowledgements(prosody: XmppServer, said: str, condition: bytes) -> None:
    async with (
        balancing(prosody) as service,
        RawBackend(service.listener.port, f"{JID}/a") as backend,
    ):
        await backend.join()
        backend.say(said)
        assert condition in await backend.hear_all()


async def test_an_r_before_enable_is_refused_kindly(prosody: XmppServer) -> None:
    async with (
        balancing(prosody) as service,
        RawBackend(service.listener.port, f"{JID}/a") as backend,
    ):
        await backend.join()
        backend.say(f"<r xmlns='{SM}'/>")
        assert b"<unexpected-request" in await backend.hear(b"</failed>")


async def test_a_backend_drains_itself(server: XmppServer) -> None:
    async with balancing(server) as service, backends(service, 1) as (other,):
        pool = service.components[JID].router.pool
        alice = await client(server, "alice", "phone")
        async with RawBackend(service.listener.port, f"{JID}/leaving") as backend:
            await backend.join()
            backend.say(
                f"<iq type='set' id='d' from='{JID}' to='{JID}'>"
                "<drain xmlns='urn:xmpp-balancer:0'/></iq>"
            )
            assert b"type='result' id='d'" in await backend.hear(b"</stream:stream>")
            # What it still has to say is heard.
            backend.say(f"<message from='{JID}' to='{alice.boundjid}'><body>bye</body></message>")
            heard: list[str] = []
            alice.add_event_handler("message", lambda message: heard.append(message["body"]))
            backend.say("</stream:stream>")
            await backend.hear_all()
            await until(lambda: heard == ["bye"])
        await until(lambda: len(pool) == 1)
        for number in range(5):
            alice.send_message(JID, str(number))
        await until(lambda: len(other.got) == 5)
        await disconnect(alice)


async def test_what_waited_comes_after_the_handshake(prosody: XmppServer) -> None:
    async with balancing(prosody, queue_timeout=20.0) as service:
        alice = await client(prosody, "alice", "phone")
        alice.send_message(JID, "early")
        await until(lambda: service.components[JID].router.queued)
        async with RawBackend(service.listener.port, f"{JID}/a") as backend:
            await backend.join()
            assert b"<body>early</body>" in await backend.hear(b"</message>")
        await disconnect(alice)


@pytest.mark.parametrize("name", ["..", ".", "a&#10;b"])
async def test_a_name_that_nobody_could_type(prosody: XmppServer, name: str) -> None:
    async with (
        balancing(prosody) as service,
        RawBackend(service.listener.port, f"{JID}/{name}") as backend,
    ):
        with pytest.raises(AssertionError, match="improper-addressing"):
            await backend.join()
