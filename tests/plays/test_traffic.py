"""Clients, a server, the balancer and several backends: stanzas get where they belong."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import slixmpp

from tests.servers import XmppServer, client, disconnect
from tests.stage import JID, Backend, backends, balancing, until

pytestmark = pytest.mark.asyncio

PEOPLE = ("alice", "bob", "carol", "dave")


async def test_each_message_reaches_exactly_one_backend(server: XmppServer) -> None:
    async with balancing(server) as service, backends(service, 4) as crew:
        people = [
            await client(server, user, resource) for user in PEOPLE for resource in ("phone", "pc")
        ]
        replies: list[str] = []
        for person in people:
            person.add_event_handler("message", lambda message: replies.append(message["body"]))
            for number in range(100):
                person.send_message(mto=f"bot@{JID}", mbody=f"{person.boundjid.full} {number}")

        await until(lambda: len(replies) == 100 * len(people))

        received = [body for backend in crew for body in backend.got]
        wanted = [f"{p.boundjid.full} {number}" for p in people for number in range(100)]
        assert sorted(received) == sorted(wanted)
        assert sorted(replies) == sorted(wanted)
        for person in people:  # RFC 6120 §10.1: in order, so on one backend
            own = [
                [body for body in backend.got if body.startswith(f"{person.boundjid.full} ")]
                for backend in crew
            ]
            assert sorted(map(len, own)) == [0, 0, 0, 100]
            assert max(own) == [f"{person.boundjid.full} {number}" for number in range(100)]
        for person in people:
            await disconnect(person)


async def test_messages_spread_without_affinity(server: XmppServer) -> None:
    async with (
        balancing(server, strategy="round-robin", affinity="none") as service,
        backends(service, 4, named=False) as crew,
    ):
        alice = await client(server, "alice", "phone")
        for number in range(200):
            alice.send_message(mto=f"bot@{JID}", mbody=str(number))
        await until(lambda: sum(len(backend.got) for backend in crew) == 200)
        shares = [len(backend.got) for backend in crew]
        assert max(shares) - min(shares) <= 2  # presence takes turns too
        await disconnect(alice)


async def test_identical_ids_of_four_backends_return_to_their_senders(server: XmppServer) -> None:
    async with balancing(server) as service, backends(service, 4) as crew:
        alice = await client(server, "alice", "phone")
        answered: list[dict[str, int]] = [{} for _ in crew]

        def count(counts: dict[str, int]) -> Any:
            def on_result(stanza: Any) -> None:
                if stanza["type"] != "result":  # the balancer's own checks are requests
                    return
                who = stanza["to"].user
                counts[f"{stanza['id']} {who}"] = counts.get(f"{stanza['id']} {who}", 0) + 1

            return on_result

        for number, backend in enumerate(crew):
            backend.register_handler(
                slixmpp.xmlstream.handler.Callback(
                    "any result",
                    slixmpp.xmlstream.matcher.MatchXPath("{jabber:component:accept}iq"),
                    count(answered[number]),
                )
            )
        for identity in range(1000):
            for number, backend in enumerate(crew):
                backend.send_raw(
                    f"<iq type='get' id='{identity}' from='asker{number}@{JID}'"
                    f" to='{alice.boundjid.full}'><ping xmlns='urn:xmpp:ping'/></iq>"
                )
        await until(lambda: all(len(each) == 1000 for each in answered), 60)
        for number, each in enumerate(answered):
            assert each == {f"{identity} asker{number}": 1 for identity in range(1000)}
        await disconnect(alice)


async def test_disco_and_ping_are_answered_once(server: XmppServer) -> None:
    async with balancing(server) as service, backends(service, 3) as crew:
        alice = await client(server, "alice", "phone")
        info = await alice.plugin["xep_0030"].get_info(JID, timeout=10)
        assert ("component", "generic") in {
            (category, kind) for category, kind, *_ in info["disco_info"]["identities"]
        }
        assert await alice.plugin["xep_0199"].ping(JID, timeout=10) < 10
        assert len(crew) == 3
        await disconnect(alice)


async def test_a_two_step_command_stays_on_one_backend(server: XmppServer) -> None:
    """XEP-0050, with round robin that would send each step elsewhere."""
    async with (
        balancing(server, strategy="round-robin", affinity="none") as service,
        backends(service, 3) as crew,
    ):
        for backend in crew:
            _add_two_step_command(backend)
        alice = await client(server, "alice", "phone")
        for _ in range(6):
            iq = await alice.plugin["xep_0050"].send_command(JID, "greet", timeout=10)
            first, session = iq["command"]["notes"][0][1], iq["command"]["sessionid"]
            iq = await alice.plugin["xep_0050"].send_command(
                JID, "greet", action="complete", sessionid=session, timeout=10
            )
            assert iq["command"]["status"] == "completed"
            assert iq["command"]["notes"][0][1] == first
        await disconnect(alice)


def _add_two_step_command(backend: Backend) -> None:
    name = str(backend.requested_jid.resource)

    def step(following: Any) -> Any:
        def answer(_payload: Any, session: dict[str, Any]) -> dict[str, Any]:
            more = {"has_next": following is not None, "next": following, "payload": None}
            return session | {"notes": [("info", name)]} | more

        return answer

    first = step(step(None))
    backend.plugin["xep_0050"].add_command(jid=JID, node="greet", name="Greet", handler=first)


async def test_a_backend_asks_its_own_component(server: XmppServer) -> None:
    async with balancing(server) as service, backends(service, 3) as crew:
        for backend in crew:
            assert await backend.plugin["xep_0199"].ping(JID, ifrom=f"me@{JID}", timeout=10) < 10
        assert not service.components[JID].router.delivery.inflight


async def test_without_a_backend_a_request_is_answered_with_wait(server: XmppServer) -> None:
    async with balancing(server, queue_timeout=0.5):
        alice = await client(server, "alice", "phone")
        with pytest.raises(slixmpp.exceptions.IqError) as caught:
            await alice.plugin["xep_0030"].get_info(JID, timeout=10)
        error = caught.value.iq["error"]
        assert (error["type"], error["condition"]) == ("wait", "remote-server-timeout")
        await disconnect(alice)


async def test_a_request_whose_backend_goes_is_answered_with_wait(server: XmppServer) -> None:
    async with balancing(server) as service, backends(service, 1) as (backend,):
        alice = await client(server, "alice", "phone")
        got = asyncio.Event()
        backend.register_handler(  # before slixmpp's own answer to what it does not know
            slixmpp.xmlstream.handler.Callback(
                "silence",
                slixmpp.xmlstream.matcher.MatchXPath(
                    "{jabber:component:accept}iq/{urn:silent}query"
                ),
                lambda _iq: got.set(),
            )
        )
        iq = alice.make_iq_get(queryxmlns="urn:silent", ito=f"x@{JID}")
        answer = asyncio.ensure_future(iq.send(timeout=10))
        await asyncio.wait_for(got.wait(), 10)
        backend.abort()
        with pytest.raises(slixmpp.exceptions.IqError) as caught:
            await answer
        assert caught.value.iq["error"]["type"] == "wait"
        await disconnect(alice)


async def test_an_error_returns_to_the_backend_that_caused_it(server: XmppServer) -> None:
    async with balancing(server) as service, backends(service, 4) as crew:
        errors: list[list[str]] = [[] for _ in crew]
        for heard, backend in zip(errors, crew, strict=True):
            backend.add_event_handler(
                "message_error", lambda message, heard=heard: heard.append(message["id"])
            )
        for number, backend in enumerate(crew):
            for identity in range(5):
                backend.send_raw(
                    f"<message id='{number}-{identity}' type='chat' from='x@{JID}'"
                    " to='nobody-there@localhost'><body>hello</body></message>"
                )
        await until(lambda: all(len(heard) == 5 for heard in errors))
        assert errors == [[f"{number}-{identity}" for identity in range(5)] for number in range(4)]


async def test_a_stop_answers_what_is_held(server: XmppServer) -> None:
    async with balancing(server, queue_timeout=60.0) as service:
        alice = await client(server, "alice", "phone")
        answer = asyncio.ensure_future(alice.plugin["xep_0030"].get_info(JID, timeout=20))
        await until(lambda: service.components[JID].router.held)
        await service.stop()
        with pytest.raises(slixmpp.exceptions.IqError) as caught:
            await answer
        assert caught.value.iq["error"]["type"] == "wait"
        # Ours, not the server's own.
        assert "the balancer is stopping" in caught.value.iq["error"]["text"]
        await disconnect(alice)
