"""A backend of the kit at work, behind the balancer and on a bare server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from slixmpp.exceptions import IqError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from backends import Backend, Handlers, StanzaError, redelivered, serve_together
from backends.errors import error_reply, received
from backends.reconnecting import Attempts
from backends.reconnecting import address as reconnecting_address
from balancer.connector import LinkState
from balancer.service import Service
from tests.kit.stage import behind, on, serving
from tests.servers import Prosody, XmppServer, client, disconnect, free_ports
from tests.stage import BACKEND_SECRET, JID, SECRET, backends, balancing, configured, until

pytestmark = pytest.mark.asyncio

SUM = "urn:example:sum"


@asynccontextmanager
async def stage(
    server: XmppServer, behind_balancer: bool, **options: Any
) -> AsyncIterator[tuple[Backend, Service | None]]:
    """A backend that is not connected yet."""
    if behind_balancer:
        async with balancing(server) as service:
            yield behind(service, **options), service
    else:
        yield on(server, **options), None


both = pytest.mark.parametrize("behind_balancer", [True, False], ids=["balancer", "bare"])


def request(alice: Any, namespace: str = SUM, type_: str = "get") -> Any:
    iq = alice.Iq(stype=type_, sto=JID)
    iq.append(Element(f"{{{namespace}}}query"))
    return iq


@both
async def test_ten_lines(server: XmppServer, behind_balancer: bool) -> None:
    async with stage(server, behind_balancer) as (backend, _):

        @backend.message
        async def echo(message: Any) -> str:
            return str(message["body"])

        @backend.iq(SUM)
        async def add(iq: Any) -> Element:
            return Element(f"{{{SUM}}}sum", {"value": "3"})

        @backend.iq("urn:example:nothing")
        async def nothing(iq: Any) -> None:
            pass

        async with serving(backend):
            alice = await client(server, "alice", "phone")
            heard: list[str] = []
            alice.add_event_handler("message", lambda message: heard.append(message["body"]))
            for number in range(50):
                alice.send_message(JID, str(number), mtype="chat")
            await until(lambda: len(heard) == 50)
            assert heard == [str(number) for number in range(50)]
            result = await request(alice).send(timeout=10)
            assert result.xml[0].attrib == {"value": "3"}
            assert len((await request(alice, "urn:example:nothing").send(timeout=10)).xml) == 0
            # The plugins: XEP-0199, XEP-0030 with our namespaces, XEP-0092.
            alice.register_plugin("xep_0092")
            await alice.plugin["xep_0199"].ping(JID)
            info = await alice.plugin["xep_0030"].get_info(JID)
            assert {"urn:xmpp:ping", SUM} <= set(info["disco_info"]["features"])
            version = await alice.plugin["xep_0092"].get_version(JID)
            assert version["software_version"]["name"] == "xmpp-balancer backend"
            await disconnect(alice)


@both
async def test_an_exception_becomes_the_right_error(
    prosody: XmppServer, behind_balancer: bool
) -> None:
    async with stage(prosody, behind_balancer) as (backend, _):
        raised: dict[str, Exception] = {
            "urn:example:refused": StanzaError("not-allowed", "never", "modify"),
            "urn:example:defect": ZeroDivisionError("a secret"),
            "urn:example:missing": NotImplementedError(),
            "urn:example:late": TimeoutError(),
        }

        def fail(error: Exception) -> Any:
            async def handler(iq: Any) -> None:
                raise error

            return handler

        for namespace, error in raised.items():
            backend.iq(namespace)(fail(error))
        backend.message(fail(StanzaError("gone", "moved <away>")))

        async with serving(backend):
            alice = await client(prosody, "alice", "phone")
            got = {}
            for namespace in [*raised, "urn:example:unknown"]:
                with pytest.raises(IqError) as caught:
                    await request(alice, namespace, "set").send(timeout=10)
                error = received(caught.value.iq)
                got[namespace.rpartition(":")[2]] = (error.condition, error.etype, error.text)
            assert got == {
                "refused": ("not-allowed", "modify", "never"),
                "defect": ("internal-server-error", "cancel", ""),
                "missing": ("feature-not-implemented", "cancel", ""),
                "late": ("remote-server-timeout", "wait", "something it needs did not answer"),
                "unknown": (
                    "feature-not-implemented",
                    "cancel",
                    "No handlers registered for this request.",
                ),
            }
            errors: list[Any] = []
            alice.add_event_handler("message_error", errors.append)
            alice.send_message(JID, "hello", mtype="chat")
            await until(lambda: errors)
            assert received(errors[0]).condition == "gone"
            assert received(errors[0]).text == "moved <away>"
            assert backend.online, "it never kills the process"
            await disconnect(alice)


async def test_what_would_cost_the_stream_is_not_sent(prosody: XmppServer) -> None:
    async with balancing(prosody) as service:
        backend = behind(service, timeout=0.2)

        @backend.iq("urn:example:huge")
        async def huge(iq: Any) -> Element:
            element = Element("{urn:example:huge}huge")
            element.text = "<" * 200_000
            return element

        @backend.iq("urn:example:cancelled")
        async def cancelled(iq: Any) -> None:
            raise asyncio.CancelledError

        @backend.iq("urn:example:slow")
        async def slow(iq: Any) -> None:
            await asyncio.Event().wait()

        async with serving(backend):
            alice = await client(prosody, "alice", "phone")
            conditions = []
            for namespace in ("urn:example:huge", "urn:example:cancelled", "urn:example:slow"):
                with pytest.raises(IqError) as caught:
                    await request(alice, namespace).send(timeout=10)
                conditions.append(received(caught.value.iq).condition)
            assert conditions == [
                "resource-constraint",
                "internal-server-error",
                "remote-server-timeout",
            ]
            with pytest.raises(ValueError, match="needs `to`"):
                backend.make_message(mto=None, mbody="x").send()
            with pytest.raises(ValueError, match="not from"):
                backend.send_message("alice@localhost", "x", mfrom="bob@localhost")
            assert backend.counts["connected"] == 1
            there = next(iter(service.components[JID].router.pool))
            await until(lambda: not len(there.ledger))
            await disconnect(alice)


@both
async def test_requests_of_its_own(server: XmppServer, behind_balancer: bool) -> None:
    async with stage(server, behind_balancer) as (backend, _), serving(backend):
        alice = await client(server, "alice", "phone")
        ping = backend.make_iq_get(ito=alice.boundjid)
        ping.append(Element("{urn:xmpp:ping}ping"))
        assert (await backend.request(ping))["type"] == "result"
        answers = {
            "conflict": lambda iq: error_reply(iq, StanzaError("conflict", "twice")).send(),
            "silence": lambda iq: None,
        }
        for name, answer in answers.items():
            path = f"{{jabber:client}}iq/{{urn:example:{name}}}query"
            alice.register_handler(Callback(name, MatchXPath(path), answer))
        with pytest.raises(StanzaError, match="conflict: twice"):
            await backend.request(request_to(backend, alice, "conflict"))
        with pytest.raises(TimeoutError):
            await backend.request(request_to(backend, alice, "silence"), timeout=0.3)
        await disconnect(alice)


def request_to(backend: Backend, alice: Any, name: str) -> Any:
    iq = backend.make_iq_get(ito=alice.boundjid)
    iq.append(Element(f"{{urn:example:{name}}}query"))
    return iq


@both
async def test_several_filters_may_match_one_stanza(
    prosody: XmppServer, behind_balancer: bool
) -> None:
    async with stage(prosody, behind_balancer) as (backend, _):
        seen: list[str] = []

        @backend.filter("message[@type='chat']/r:request", {"r": "urn:xmpp:receipts"})
        async def receipt(message: Any) -> None:
            seen.append("receipt")

        @backend.filter("message/body")
        async def body(message: Any) -> None:
            seen.append("body")

        @backend.filter("iq/{urn:xmpp:ping}ping")
        async def ping(iq: Any) -> None:
            seen.append("ping")

        @backend.filter("iq/{urn:example:watched}query")
        async def watch(iq: Any) -> None:
            seen.append("watched")

        async with serving(backend):
            alice = await client(prosody, "alice", "phone")
            message = alice.make_message(JID, "hello", mtype="chat")
            message.append(Element("{urn:xmpp:receipts}request"))
            message.send()
            await alice.plugin["xep_0199"].ping(JID)
            assert seen == ["receipt", "body", "ping"]
            with pytest.raises(IqError):
                await request(alice, "urn:example:watched").send(timeout=10)
            backend.handlers.remove(body)
            message.send()
            await alice.plugin["xep_0199"].ping(JID)
            assert seen == ["receipt", "body", "ping", "watched", "receipt", "ping"]
            await disconnect(alice)


async def test_a_stanza_is_acknowledged_when_its_handler_is_done(prosody: XmppServer) -> None:
    async with balancing(prosody) as service:
        backend = behind(service, in_order=False)
        go = {"first": asyncio.Event(), "second": asyncio.Event()}

        @backend.message
        async def wait(message: Any) -> None:
            await go[message["body"]].wait()

        async with serving(backend):
            there = next(iter(service.components[JID].router.pool))
            assert there.acks is not None, "it asked for them"
            alice = await client(prosody, "alice", "phone")
            await until(lambda: not len(there.ledger))  # alice's presence, if any
            alice.send_message(JID, "first")
            alice.send_message(JID, "second")
            await until(lambda: len(backend.jobs) == 2)
            go["second"].set()
            await until(lambda: len(backend.jobs) == 1)
            await asyncio.sleep(0.1)  # nothing is what is to be seen
            assert len(there.ledger) == 2, "the second is done, but not all up to it"
            go["first"].set()
            await until(lambda: not len(there.ledger))
            await disconnect(alice)


async def test_a_message_of_one_that_is_killed_is_handled_by_another(
    prosody: XmppServer, tmp_path: Path
) -> None:
    """SIGKILL, in the middle of a handler of a process of its own."""
    begun = tmp_path / "begun"
    async with balancing(prosody) as service:
        pool = service.components[JID].router.pool
        port = str(service.listener.port)
        crew = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.kit.mortal", f"{JID}/{name}", port, str(begun))
            )
            for name in ("a", "b")
        ]
        try:
            await until(lambda: len(pool) == 2 and all(each.acks for each in pool))
            alice = await client(prosody, "alice", "phone")
            heard: list[str] = []
            alice.add_event_handler("message", lambda message: heard.append(message["body"]))
            alice.send_message(JID, "work", mtype="chat")
            await until(begun.exists)
            name, pid = begun.read_text().split()
            (other,) = {"a", "b"} - {name}
            os.kill(int(pid), signal.SIGKILL)
            await until(lambda: heard)
            assert heard == [f"work, redelivered, done by {other}"]
            await disconnect(alice)
        finally:
            for process in crew:
                if process.returncode is None:
                    process.kill()
                await process.wait()


async def test_what_waited_for_a_backend_is_not_acknowledged_at_once(prosody: XmppServer) -> None:
    """It comes before <enabled/>, so that any <a/> would acknowledge it."""
    async with balancing(prosody, queue_timeout=20.0) as service:
        alice = await client(prosody, "alice", "phone")
        heard: list[str] = []
        alice.add_event_handler("message", lambda message: heard.append(message["body"]))
        alice.send_message(JID, "early", mtype="chat")
        await until(lambda: service.components[JID].router.queued)
        first, second = behind(service, "first"), behind(service, "second")
        begun, asked = asyncio.Event(), asyncio.Event()
        first.trace.on(lambda way, xml: asked.set() if "<r xmlns" in xml else None)

        @first.message
        async def wait(message: Any) -> None:
            begun.set()
            await asyncio.Event().wait()

        @second.message
        async def answer(message: Any) -> str:
            return f"{message['body']} {redelivered(message)}"

        async with serving(first, drain=0.0):
            await begun.wait()
            await asyncio.wait_for(asked.wait(), 20)
            await alice.plugin["xep_0199"].ping(JID)  # whatever it says to that has been said
            async with serving(second):
                assert first.transport is not None
                first.transport.abort()
                await until(lambda: heard)
                assert heard == ["early True"]
        await disconnect(alice)


async def test_a_request_that_was_given_up_delays_nobody(prosody: XmppServer) -> None:
    async with balancing(prosody) as service:
        backend = behind(service)
        task = asyncio.create_task(backend.serve())
        await until(lambda: backend.online)
        alice = await client(prosody, "alice", "phone")
        path = "{jabber:client}iq/{urn:example:silence}query"
        alice.register_handler(Callback("silence", MatchXPath(path), lambda iq: None))
        with pytest.raises(TimeoutError):
            await backend.request(request_to(backend, alice, "silence"), timeout=0.2)
        backend.stop()
        await asyncio.wait_for(task, 10)  # the balancer would wait for a minute
        await disconnect(alice)


async def test_one_that_drains_does_not_come_back(prosody: XmppServer) -> None:
    async with balancing(prosody) as service:
        backend = behind(service)
        address = f"127.0.0.1:{service.listener.port}"
        backend.attempts = Attempts([reconnecting_address(address)], chance=lambda: 0.0)
        go = asyncio.Event()

        @backend.message
        async def wait(message: Any) -> None:
            await go.wait()

        task = asyncio.create_task(backend.serve())
        await until(lambda: backend.online)
        alice = await client(prosody, "alice", "phone")
        alice.send_message(JID, "x")
        await until(lambda: len(backend.jobs))
        backend.stop()
        await until(lambda: backend.draining)
        assert backend.transport is not None
        backend.transport.abort()
        await until(lambda: not backend.online)
        await asyncio.sleep(0.3)  # it would be back at once
        go.set()
        await asyncio.wait_for(task, 10)
        assert backend.counts["connected"] == 1
        await disconnect(alice)


async def test_a_second_sigterm_ends_it_at_once(prosody: XmppServer, tmp_path: Path) -> None:
    async with balancing(prosody) as service:
        pool = service.components[JID].router.pool
        begun = tmp_path / "begun"
        port = str(service.listener.port)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.kit.mortal", f"{JID}/a", port, str(begun))
        )
        try:
            await until(lambda: len(pool))
            alice = await client(prosody, "alice", "phone")
            alice.send_message(JID, "work", mtype="chat")
            await until(begun.exists)
            process.terminate()
            await until(lambda: next(iter(pool)).state == "drain")
            assert process.returncode is None, "its handler has not ended"
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 10) == 1
            await disconnect(alice)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@both
async def test_no_more_than_so_many_at_once(prosody: XmppServer, behind_balancer: bool) -> None:
    options = {"concurrency": 3, "in_order": False}
    async with stage(prosody, behind_balancer, **options) as (backend, service):
        go = asyncio.Event()
        most = 0

        @backend.message
        async def wait(message: Any) -> None:
            nonlocal most
            most = max(most, backend.jobs.running)
            await go.wait()

        async with serving(backend):
            alice = await client(prosody, "alice", "phone")
            for number in range(20):
                alice.send_message(JID, str(number))
            if service is None:
                assert backend.transport is not None
                transport = backend.transport
                await until(lambda: not transport.is_reading())
            else:
                # The balancer feels it: nothing is acknowledged, its window fills.
                there = next(iter(service.components[JID].router.pool))
                await until(lambda: len(there.ledger) >= 20)
                assert backend.transport is not None
                assert backend.transport.is_reading(), "its question is to be heard"
            assert (most, backend.jobs.running) == (3, 3)
            go.set()
            await until(lambda: backend.counts["handled"] == 20)
            assert most == 3
            assert backend.transport is not None
            assert backend.transport.is_reading()
            await disconnect(alice)


async def test_a_backend_that_leaves_finishes_and_loses_nothing(prosody: XmppServer) -> None:
    async with balancing(prosody) as service, backends(service, 1) as (other,):
        pool = service.components[JID].router.pool
        backend = behind(service, "leaving")
        go = asyncio.Event()
        draining: list[object] = []
        backend.on("draining")(draining.append)

        @backend.iq(SUM)
        async def slowly(iq: Any) -> Element:
            await go.wait()
            return Element(f"{{{SUM}}}sum")

        task = asyncio.create_task(backend.serve())
        await until(lambda: len(pool) == 2)
        users = [await client(prosody, name, "phone") for name in ("alice", "bob", "carol")]
        asked = []
        for user in users:
            for number in range(5):
                iq = request(user)
                iq["to"] = f"u{number}@{JID}"
                asked.append(iq.send(timeout=20))
        # The other backend knows no such request.
        await until(lambda: len(backend.jobs) + sum(each.done() for each in asked) == len(asked))
        mine = [each for each in asked if not each.done()]
        backend.stop()
        await until(lambda: draining)
        await until(lambda: pool.get("leaving") is None or not pool.get("leaving").eligible())  # type: ignore[union-attr]
        for number in range(10):
            users[0].send_message(JID, str(number), mtype="chat")
        await until(lambda: len(other.got) == 10)
        go.set()
        for each in mine:
            assert (await each)["type"] == "result"
        await asyncio.wait_for(task, 10)
        assert pool.get("leaving") is None
        assert mine, "it had something to finish"
        await asyncio.gather(*asked, return_exceptions=True)
        for user in users:
            await disconnect(user)


async def test_weight_is_announced(prosody: XmppServer) -> None:
    async with balancing(prosody) as service:
        backend = behind(service, weight=7)
        async with serving(backend):
            there = next(iter(service.components[JID].router.pool))
            await until(lambda: there.weight == 7)


async def test_what_is_sent_without_a_connection_waits(prosody: XmppServer) -> None:
    async with balancing(prosody) as service:
        backend = behind(service)
        not_sent: list[Any] = []
        backend.on("stanza_not_sent")(not_sent.append)
        alice = await client(prosody, "alice", "phone")
        heard: list[str] = []
        alice.add_event_handler("message", lambda message: heard.append(message["body"]))
        for number in range(10):
            backend.send_message(alice.boundjid, str(number))
        assert len(backend.outbox) == len(not_sent) == 10
        assert [each["body"] for each in backend.outbox][:2] == ["0", "1"]  # type: ignore[index]
        assert backend.outbox.purge(lambda each: each["body"] == "3") == 1  # type: ignore[index]
        async with serving(backend):
            await until(lambda: len(heard) == 9)
            assert heard == ["0", "1", "2", "4", "5", "6", "7", "8", "9"]
            # The connection is lost with stanzas on their way to the socket, and comes back.
            assert backend.transport is not None
            backend.transport.abort()
            for number in range(100, 200):
                backend.send_message(alice.boundjid, str(number))
            await until(lambda: len(heard) == 109)
            assert heard[9:] == [str(number) for number in range(100, 200)]
        await disconnect(alice)


async def test_the_active_one_of_several_balancers_is_found(prosody: XmppServer) -> None:
    async with balancing(prosody) as active:
        standby = configured(prosody.component_port)
        await standby.start()
        try:
            connector = standby.components[JID].connector
            await until(lambda: connector.state is LinkState.STANDBY)
            (nobody,) = free_ports("127.0.0.1", 1)
            ports = (nobody, standby.listener.port, active.listener.port)
            servers = [f"127.0.0.1:{port}" for port in ports]
            backend = Backend(JID, BACKEND_SECRET, servers, name="worker-1")
            async with serving(backend):
                assert [each.name for each in active.components[JID].router.pool] == ["worker-1"]
                assert backend.counts["connection failed"] == 2
        finally:
            await standby.stop()


async def test_one_that_says_nothing_is_given_up(
    prosody: XmppServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.connection.CONNECT", 0.3)
    heard: list[bytes] = []

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()

    async with (
        balancing(prosody) as service,
        await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent,
    ):
        ports = (silent.sockets[0].getsockname()[1], service.listener.port)
        backend = Backend(f"{JID}/w", BACKEND_SECRET, [f"127.0.0.1:{port}" for port in ports])
        async with serving(backend):
            await until(lambda: heard)
            assert b"<stream:stream" in heard[0]
            assert backend.counts == {"connection failed": 1, "connected": 1}


async def test_a_namesake_is_not_driven_out_in_turn(prosody: XmppServer) -> None:
    async with balancing(prosody) as service:
        old, new = behind(service), behind(service)
        async with serving(old), serving(new):
            await until(lambda: not old.online)
            _, pause = old.attempts.next()
            assert pause >= 2.5, "a conflict is no reason to hurry"
            assert new.online


async def test_the_trace_shows_what_crosses_the_socket(prosody: XmppServer) -> None:
    async with balancing(prosody) as service:
        backend = behind(service)
        seen: list[tuple[str, str]] = []
        backend.trace.on(lambda direction, xml: seen.append((direction, xml)))
        async with serving(backend):
            assert ("out", "<handshake>...</handshake>") in seen
            assert ("in", "<handshake/>") in seen
            alice = await client(prosody, "alice", "phone")
            await alice.plugin["xep_0199"].ping(JID)
            assert any(way == "in" and "urn:xmpp:ping" in xml for way, xml in seen)
            backend.trace.off()
            count = len(seen)
            await alice.plugin["xep_0199"].ping(JID)
            assert len(seen) == count
            await disconnect(alice)


async def test_a_bare_server_is_told_when_a_backend_leaves(prosody: XmppServer) -> None:
    backend = on(prosody)
    go = asyncio.Event()

    @backend.iq(SUM)
    async def slowly(iq: Any) -> None:
        await go.wait()

    task = asyncio.create_task(backend.serve())
    await until(lambda: backend.online)
    alice = await client(prosody, "alice", "phone")
    first = request(alice).send(timeout=10)
    await until(lambda: len(backend.jobs))
    backend.stop()
    await until(lambda: backend.draining)
    with pytest.raises(IqError) as caught:
        await request(alice).send(timeout=10)
    assert received(caught.value.iq).condition == "remote-server-timeout"
    assert received(caught.value.iq).etype == "wait"
    go.set()
    assert (await first)["type"] == "result"
    await asyncio.wait_for(task, 10)
    await disconnect(alice)


async def test_one_process_behind_the_balancers_of_two_servers(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        handlers = Handlers()
        crew, users = [], []
        for number in (1, 2):
            server = Prosody(tmp_path / str(number), {JID: SECRET})
            await stack.enter_async_context(server)
            service = await stack.enter_async_context(balancing(server))
            crew.append(behind(service, handlers=handlers))
            users.append(await client(server, "alice", "phone"))
        seen: list[str] = []

        @handlers.message
        async def echo(message: Any) -> str:
            seen.append(message["body"])
            return str(message["body"])

        serving_both = asyncio.create_task(serve_together(*crew))
        await until(lambda: all(each.online for each in crew))
        heard: list[str] = []
        for number, user in enumerate(users):
            user.add_event_handler("message", lambda message: heard.append(message["body"]))
            user.send_message(JID, str(number), mtype="chat")
        await until(lambda: len(heard) == 2)
        assert sorted(heard) == sorted(seen) == ["0", "1"]
        for each in crew:
            each.stop()
        await asyncio.wait_for(serving_both, 20)
        for user in users:
            await disconnect(user)
