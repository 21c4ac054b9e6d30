"""The link to the server: it breaks, it is refused, it stands by; backends notice a pause."""

from __future__ import annotations

from typing import Any

import pytest

from balancer.connector import LinkState
from tests.raw import RawBackend
from tests.servers import XmppServer, client, disconnect, free_ports
from tests.stage import JID, SECRET, Backend, backends, balancing, configured, until

pytestmark = pytest.mark.asyncio


async def test_a_restart_of_the_server_is_only_a_pause_for_backends(server: XmppServer) -> None:
    async with balancing(server, queue_timeout=20.0) as service, backends(service, 2) as crew:
        lost: list[object] = []
        for backend in crew:
            backend.add_event_handler("disconnected", lost.append)
        connector = service.components[JID].connector
        await server.stop()
        await until(lambda: connector.state is not LinkState.UP)
        # What a backend sends meanwhile waits, and arrives in order.
        sent = [str(number) for number in range(50)]
        for number in sent:
            crew[0].send_raw(
                f"<iq type='get' id='{number}' from='x@{JID}' to='localhost'>"
                "<ping xmlns='urn:xmpp:ping'/></iq>"
            )
        answered: list[str] = []

        def note(stanza: Any) -> Any:
            if stanza["id"] in sent:  # the balancer's own checks come in between
                answered.append(stanza["id"])
            return stanza

        crew[0].add_filter("in", note)
        await until(lambda: service.components[JID].router.held == 50)
        await server.start()
        await until(lambda: connector.state is LinkState.UP)
        await until(lambda: len(answered) >= 50)
        assert answered == sent
        alice = await client(server, "alice", "phone")
        assert await alice.plugin["xep_0199"].ping(JID, timeout=10) < 10
        assert not lost
        await disconnect(alice)


async def test_a_wrong_secret_is_reported_as_what_it_is(server: XmppServer) -> None:
    service = configured(server.component_port, secret="wrong")
    await service.start()
    connector = service.components[JID].connector
    await until(lambda: connector.state is LinkState.REFUSED)
    assert "not-authorized" in connector.reason
    await service.stop()


async def test_an_unknown_host_is_reported_as_what_it_is(prosody: XmppServer) -> None:
    service = configured(prosody.component_port, jid="nobody.localhost")
    await service.start()
    connector = service.components["nobody.localhost"].connector
    await until(lambda: connector.state is LinkState.REFUSED)
    assert "host-unknown" in connector.reason
    await service.stop()


async def test_a_second_balancer_stands_by_and_takes_over(prosody: XmppServer) -> None:
    async with balancing(prosody) as active:
        second = configured(prosody.component_port)
        await second.start()
        try:
            connector = second.components[JID].connector
            await until(lambda: connector.state is LinkState.STANDBY)
            # It says so to backends, which will find the active one.
            async with RawBackend(second.listener.port) as backend:
                with pytest.raises(AssertionError, match="stands by"):
                    await backend.join()
            assert active.components[JID].connector.state is LinkState.UP

            await active.stop()
            await until(lambda: connector.state is LinkState.UP)
            async with backends(second, 1) as (worker,):
                ping = await worker.plugin["xep_0199"].ping(JID, ifrom=f"me@{JID}", timeout=10)
                assert ping < 10
        finally:
            await second.stop()


async def test_a_balancer_that_finds_its_jid_taken_sends_its_backends_away(
    prosody: XmppServer,
) -> None:
    rival = configured(prosody.component_port)
    await rival.start()
    await until(lambda: rival.components[JID].connector.state is LinkState.UP)
    (free,) = free_ports("127.0.0.1", 1)
    service = configured(free)  # its server is away, so backends are welcome and wait
    await service.start()
    try:
        component, port = service.components[JID], service.listener.port
        async with RawBackend(port, f"{JID}/a") as one, RawBackend(port, f"{JID}/b") as two:
            await one.join()
            await two.join()
            config = service.config
            server = config.server.model_copy(update={"port": prosody.component_port})
            await service.reload(config.model_copy(update={"server": server}))
            for backend in (one, two):
                assert b"stands by" in await backend.hear_all()
            assert component.connector.state is LinkState.STANDBY
            assert not len(component.router.pool)
    finally:
        await service.stop()
        await rival.stop()


async def test_backends_may_come_before_the_server(server: XmppServer) -> None:
    await server.stop()
    service = configured(server.component_port, queue_timeout=20.0)
    await service.start()
    try:
        async with backends(service, 1) as (worker,):
            assert isinstance(worker, Backend)
            connector = service.components[JID].connector
            assert connector.state is not LinkState.UP
            await server.start()
            await until(lambda: connector.state is LinkState.UP)
            assert await worker.plugin["xep_0199"].ping(JID, ifrom=f"me@{JID}", timeout=10) < 10
    finally:
        await service.stop()


async def test_the_secret_is_not_in_any_repr() -> None:
    assert SECRET not in repr(configured(1))
