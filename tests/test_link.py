"""Links over real sockets, on both event loops: uvloop refuses what asyncio lets pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from balancer.framing import Framer
from balancer.link import HIGH_WATER, Link
from balancer.stanza import Stanza
from balancer.stream import Acceptor, Credential, Established, Event, Initiator, Introduced

Loop = Callable[[Coroutine[Any, Any, None]], None]


def _asyncio(play: Coroutine[Any, Any, None]) -> None:
    asyncio.run(play)


def _uvloop(play: Coroutine[Any, Any, None]) -> None:
    uvloop.run(play)


@pytest.fixture(params=[_asyncio, _uvloop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Loop:
    """Runs a coroutine to its end on one kind of loop."""
    loop: Loop = request.param
    return loop


class Listening:
    """An owner that writes down what it hears, and lets everybody in."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.flow: list[str] = []
        self.news = asyncio.Event()

    def received(self, link: Link, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Introduced):
                assert isinstance(link.stream, Acceptor)
                link.stream.welcome()
        self.events += events
        self.news.set()

    def full(self, link: Link) -> None:
        self.flow.append("full")
        self.news.set()

    def room(self, link: Link) -> None:
        self.flow.append("room")
        self.news.set()

    def lost(self, link: Link) -> None:
        self.flow.append("lost")
        self.news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.news.clear()
                await self.news.wait()


class Pair:
    """An initiator and an acceptor with a real connection between them."""

    async def __aenter__(self) -> Pair:
        loop = asyncio.get_running_loop()
        self.far, self.near = Listening(), Listening()
        accepted: list[Link] = []

        def accept() -> Link:
            secrets = {"svc": (Credential(None, "s"),)}
            accepted.append(Link(Acceptor(secrets, Framer(100_000_000)), self.far))
            return accepted[0]

        self.server = await loop.create_server(accept, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        stream = Initiator("svc", "s", Framer(100_000_000))
        stream.open()
        _, self.link = await loop.create_connection(
            lambda: Link(stream, self.near), "127.0.0.1", port
        )
        await self.near.until(lambda: Established() in self.near.events)
        self.peer = accepted[0]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.link.abort()
        self.peer.abort()
        self.server.close()
        await asyncio.wait({self.link.closed, self.peer.closed})


def _bodies(owner: Listening) -> list[str | None]:
    return [event.id for event in owner.events if isinstance(event, Stanza)]


def test_what_is_sent_arrives_once_it_is_flushed(run: Loop) -> None:
    async def play() -> None:
        async with Pair() as pair:
            assert pair.link.send(b"<message id='1'/>")
            assert not pair.link.send(b"<message id='2'/>")
            pair.link.flush()
            await pair.far.until(lambda: len(_bodies(pair.far)) == 2)
            assert _bodies(pair.far) == ["1", "2"]

    run(play())


def test_a_closed_link_is_lost_once_and_takes_no_offence_at_more(run: Loop) -> None:
    async def play() -> None:
        async with Pair() as pair:
            pair.link.close()
            pair.link.send(b"<message/>")
            pair.link.flush()
            pair.link.pause()
            pair.link.resume()
            pair.link.close()
            await asyncio.wait({pair.link.closed, pair.peer.closed}, timeout=10)
            assert pair.near.flow == ["lost"]
            assert pair.far.flow == ["lost"]
            assert pair.peer.failure is None

    run(play())


def test_a_failure_is_told_to_both_sides(run: Loop) -> None:
    async def play() -> None:
        async with Pair() as pair:
            pair.peer.fail("policy-violation", "too much")
            await pair.near.until(lambda: "lost" in pair.near.flow)
            assert str(pair.link.failure) == "policy-violation: too much"
            assert pair.link.failure is not None
            assert pair.link.failure.by_peer

    run(play())


def test_a_peer_that_does_not_read_is_full_until_it_does(run: Loop) -> None:
    async def play() -> None:
        async with Pair() as pair:
            pair.peer.pause()
            while "full" not in pair.near.flow:
                pair.link.send(b"<message>" + b"x" * HIGH_WATER + b"</message>")
                pair.link.flush()
                await asyncio.sleep(0)
            pair.peer.resume()
            await pair.near.until(lambda: "room" in pair.near.flow)

    run(play())


def test_a_peer_that_never_reads_cannot_hold_a_closed_link(
    run: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("balancer.link.CLOSING", 0.05)

    async def play() -> None:
        async with Pair() as pair:
            pair.peer.pause()
            while "full" not in pair.near.flow:
                pair.link.send(b"x" * HIGH_WATER)
                pair.link.flush()
                await asyncio.sleep(0)
            pair.link.close()
            done, _ = await asyncio.wait({pair.link.closed}, timeout=10)
            assert done

    run(play())


def test_a_half_closed_peer_is_gone(run: Loop) -> None:
    async def play() -> None:
        async with Pair() as pair:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", pair.server.sockets[0].getsockname()[1]
            )
            writer.write_eof()
            async with asyncio.timeout(10):
                await reader.read()
            await pair.far.until(lambda: "lost" in pair.far.flow)
            writer.close()

    run(play())
