from __future__ import annotations

import asyncio
import urllib.request

import pytest

from backends import Backend
from backends.metrics import expose
from tests.servers import free_ports


@pytest.mark.asyncio
async def test_the_figures() -> None:
    backend = Backend("svc.localhost/w", "secret")
    backend.counts.update({"received iq": 3, "failed": 2})
    backend.send_message("alice@localhost", "waits")
    (port,) = free_ports("127.0.0.1", 1)
    end = expose(backend, port)
    url = f"http://127.0.0.1:{port}/metrics"
    text = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
    for line in (
        'xmpp_backend_stanzas_received_total{kind="iq"} 3.0',
        "xmpp_backend_failed_total 2.0",
        "xmpp_backend_outbox 1.0",
        "xmpp_backend_online 0.0",
    ):
        assert line in text.splitlines()
    end()
