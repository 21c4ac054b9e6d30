"""What every play needs: a balancer, backends nobody adapted to it, and things to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from slixmpp import ComponentXMPP

from balancer.adhoc import administer
from balancer.configfile import load
from balancer.connector import LinkState
from balancer.service import Service
from tests.servers import XmppServer, disconnect

JID = "svc.localhost"
SECRET = "towards-the-server"
BACKEND_SECRET = "towards-the-balancer"


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something that no event tells of; fail after so many seconds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the other side is a process of its own
            await asyncio.sleep(0.01)


def configured(
    server_port: int, overrides: Mapping[str, str] | None = None, **component: Any
) -> Service:
    """A balancer for ``svc.localhost``, not started yet."""
    table = {"jid": JID, "secret": SECRET, "backend_secret": BACKEND_SECRET, **component}
    settings = {
        "component": [table],
        "server.port": str(server_port),
        "server.backoff_min": "0.05",
        "server.refused_backoff_min": "0.2",
        "server.backoff_max": "0.5",
        "listen.port": "0",
        "admin.port": "0",
        "shutdown_timeout": "1",
        **(overrides or {}),
    }
    return Service(load(None, environ={}, overrides=settings), administer)


@asynccontextmanager
async def balancing(
    server: XmppServer, overrides: Mapping[str, str] | None = None, **component: Any
) -> AsyncIterator[Service]:
    """A balancer that the server has accepted."""
    service = configured(server.component_port, overrides, **component)
    await service.start()
    try:
        connector = service.components[JID].connector
        await until(lambda: connector.state is LinkState.UP)
        yield service
        the_law(service)
    finally:
        await service.stop()


def the_law(service: Service) -> None:
    """At the end of every play each stanza is accounted for, and none was dropped."""
    for component in service.components.values():
        router = component.router
        assert router.missing() == 0, router.counts
        assert router.counts.dropped.total() == 0, router.counts


class Backend(ComponentXMPP):
    """A component as slixmpp's documentation shows it; it remembers what it got."""

    def __init__(self, port: int, jid: str = JID, secret: str = BACKEND_SECRET) -> None:
        super().__init__(jid, secret, "127.0.0.1", port)
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0050")
        self.register_plugin("xep_0199")
        self.got: list[str] = []
        self.add_event_handler("message", self.on_message)

    def on_message(self, message: Any) -> None:
        if message["type"] in ("chat", "normal"):
            self.got.append(message["body"])
            message.reply(message["body"]).send()


@asynccontextmanager
async def backends(
    service: Service, count: int, *, named: bool = True
) -> AsyncIterator[list[Backend]]:
    """So many backends, all in the pool."""
    port = service.listener.port
    pool = service.components[JID].router.pool
    before = len(pool)
    crew = [
        Backend(port, f"{JID}/worker-{number}" if named else JID) for number in range(1, count + 1)
    ]
    try:
        for each in crew:
            each.connect()
        await until(lambda: len(pool) == before + count)
        await until(lambda: all(each.sessionstarted for each in crew))
        yield crew
    finally:
        for each in crew:
            await disconnect(each)


def numbers(start: int = 0) -> Iterator[str]:
    """``m0``, ``m1``, …"""
    while True:
        yield f"m{start}"
        start += 1
