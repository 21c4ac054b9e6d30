"""Who gets in, under which name; no server is needed for that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from balancer.configfile import load
from balancer.service import Service
from tests.raw import RawBackend
from tests.servers import free_ports
from tests.stage import until

pytestmark = pytest.mark.asyncio

ONE, OTHER = "one.localhost", "other.localhost"


@asynccontextmanager
async def listening(**listen: str) -> AsyncIterator[Service]:
    """A balancer for two components, whose server is away."""
    (nobody,) = free_ports("127.0.0.1", 1)
    components: list[dict[str, Any]] = [
        {
            "jid": ONE,
            "secret": "s",
            "backend_secret": "common",
            "backend": [{"name": "worker", "secret": "its own", "weight": 7}],
        },
        {"jid": OTHER, "secret": "s", "backend_secret": "other"},
    ]
    settings = {f"listen.{key}": value for key, value in listen.items()}
    overrides = {
        "component": components,
        "server.port": str(nobody),
        "listen.port": "0",
        "shutdown_timeout": "0.1",
    } | settings
    service = Service(load(None, environ={}, overrides=overrides))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def test_names_come_from_the_header_the_credential_or_the_lowest_number() -> None:
    async with listening() as service, AsyncExitStack() as stack:
        for to, secret in (
            (ONE, "common"),
            (ONE, "its own"),
            (f"{ONE}/blue", "common"),
            (ONE, "its own"),
            (ONE, "common"),
        ):
            backend = RawBackend(service.listener.port, to, secret)
            await (await stack.enter_async_context(backend)).join()
        pool = service.components[ONE].router.pool
        assert [each.name for each in pool] == ["1", "worker", "blue", "worker-2", "2"]
        assert [each.weight for each in pool] == [1, 7, 1, 7, 1]


async def test_many_jids_share_one_port() -> None:
    async with (
        listening() as service,
        RawBackend(service.listener.port, ONE, "common") as one,
        RawBackend(service.listener.port, OTHER, "other") as other,
    ):
        await one.join()
        await other.join()
        assert [len(each.router.pool) for each in service.components.values()] == [1, 1]


@pytest.mark.parametrize(
    ("to", "secret", "condition"),
    [
        (ONE, "wrong", "not-authorized"),
        (ONE, "other", "not-authorized"),
        ("nobody.localhost", "common", "host-unknown"),
    ],
)
async def test_who_is_refused_hears_why(to: str, secret: str, condition: str) -> None:
    async with (
        listening() as service,
        RawBackend(service.listener.port, to, secret) as backend,
    ):
        with pytest.raises(AssertionError, match=condition):
            await backend.join()


@pytest.mark.parametrize("said", ["", "<stream:stream xmlns='jabber:component:accept' "])
async def test_the_handshake_has_a_deadline(said: str) -> None:
    async with (
        listening(handshake_timeout="0.1") as service,
        RawBackend(service.listener.port, ONE) as backend,
    ):
        backend.say(said)
        assert b"<connection-timeout xmlns=" in await backend.hear_all()


async def test_a_backend_that_goes_leaves_the_pool() -> None:
    async with listening() as service:
        pool = service.components[ONE].router.pool
        async with RawBackend(service.listener.port, ONE, "common") as backend:
            await backend.join()
            assert len(pool) == 1
        await until(lambda: not len(pool))


async def test_a_backend_may_close_in_good_order() -> None:
    async with (
        listening() as service,
        RawBackend(service.listener.port, ONE, "common") as backend,
    ):
        await backend.join()
        backend.say("</stream:stream>")
        assert await backend.hear_all() == b"</stream:stream>"
        assert not len(service.components[ONE].router.pool)


async def test_a_stopping_balancer_closes_every_stream() -> None:
    async with AsyncExitStack() as stack:
        async with listening() as service:
            backend = RawBackend(service.listener.port, ONE, "common")
            await (await stack.enter_async_context(backend)).join()
            stranger = await stack.enter_async_context(RawBackend(service.listener.port, ONE))
            stranger.say(
                f"<stream:stream xmlns='jabber:component:accept' to='{ONE}' "
                "xmlns:stream='http://etherx.jabber.org/streams'>"
            )
            await stranger.hear(b"from='one.localhost'>")
        assert await backend.hear_all() == b"</stream:stream>"
        assert b"<system-shutdown xmlns=" in await stranger.hear_all()
