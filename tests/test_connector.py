"""What real servers do only rarely: silence, hanging up at once; and how long we wait then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from balancer.connector import Connector, LinkState, back_off
from balancer.service import Service
from tests.stage import JID, configured, until

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' id='1'"
    b" xmlns:stream='http://etherx.jabber.org/streams' from='svc.localhost'>"
)


@asynccontextmanager
async def connecting(talk: Talk, **server: float) -> AsyncIterator[Service]:
    """A balancer whose server talks like that."""
    async with await asyncio.start_server(talk, "127.0.0.1", 0) as listening:
        service = configured(listening.sockets[0].getsockname()[1])
        component = service.components[JID]
        config = service.config.server.model_copy(update=server)
        component.connector = Connector(component.config, config, component)
        await service.start()
        try:
            yield service
        finally:
            await service.stop()


def test_back_off_is_exponential_bounded_and_fully_jittered() -> None:
    for attempt, most in enumerate([0.2, 0.4, 0.8, 1.6, 3.0, 3.0]):
        drawn = [back_off(attempt, 0.2, 3.0) for _ in range(500)]
        assert 0 <= min(drawn) < most * 0.1
        assert most * 0.9 < max(drawn) <= most
    assert back_off(10**6, 0.2, 3.0) <= 3.0


@pytest.mark.asyncio
async def test_white_space_keeps_the_stream_alive() -> None:
    heard = bytearray()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEADER)
        await reader.readuntil(b"</handshake>")
        writer.write(b"<handshake></handshake>")
        while data := await reader.read(100):
            heard.extend(data)
        writer.close()

    async with connecting(talk, keepalive=0.01) as service:
        await until(lambda: bytes(heard) == b" " * len(heard) and len(heard) >= 3)
        assert service.components[JID].connector.state is LinkState.UP


@pytest.mark.asyncio
async def test_a_server_that_says_nothing_is_given_up() -> None:
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()

    async with connecting(talk, connect_timeout=0.1) as service:
        await until(lambda: len(heard) == 2)  # and it is tried again
        assert b"<connection-timeout xmlns=" in heard[0]
        assert service.components[JID].connector.state is not LinkState.UP


@pytest.mark.asyncio
async def test_a_server_that_hangs_up_at_once_is_not_hammered() -> None:
    times: list[float] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(asyncio.get_running_loop().time())
        writer.close()

    async with connecting(talk, backoff_min=0.05, backoff_max=0.2) as service:
        await until(lambda: len(times) == 8)
        assert service.components[JID].connector.state is not LinkState.UP
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert sum(gaps) > 0.05


@pytest.mark.asyncio
async def test_the_same_news_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    times: list[float] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(0.0)
        writer.close()

    async with connecting(talk, backoff_min=0.01, backoff_max=0.02):
        await until(lambda: len(times) >= 5)
    out, err = capsys.readouterr()
    assert (out + err).count("the server closed the connection") == 1
