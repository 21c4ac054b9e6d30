"""What the kit's plays need: a backend of the kit that serves, and is gone afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from backends import Backend
from balancer.service import Service
from tests.servers import XmppServer
from tests.stage import BACKEND_SECRET, JID, SECRET, until


def behind(service: Service, name: str | None = "worker-1", **options: Any) -> Backend:
    """A backend for a balancer."""
    servers = [f"127.0.0.1:{service.listener.port}"]
    return Backend(JID, BACKEND_SECRET, servers, name=name, **options)


def on(server: XmppServer, **options: Any) -> Backend:
    """A backend for a bare server."""
    servers = [f"127.0.0.1:{server.component_port}"]
    return Backend(JID, SECRET, servers, balancer=False, **options)


@asynccontextmanager
async def serving(*backends: Backend, drain: float = 5.0) -> AsyncIterator[None]:
    """They are connected within, and drained at the end."""
    tasks = [asyncio.create_task(backend.serve(drain=drain)) for backend in backends]
    try:
        await until(lambda: all(backend.online for backend in backends))
        await until(
            lambda: all(not each.balancer or each.acknowledgements.enabled for each in backends)
        )
        yield
    finally:
        for backend in backends:
            backend.stop()
        await asyncio.gather(*tasks)
