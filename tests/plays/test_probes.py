"""What machines ask a balancer that runs: does it live, is it ready, what are the numbers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from balancer.admin import Admin
from balancer.health import Order
from balancer.service import Service
from tests.servers import XmppServer
from tests.stage import JID, backends, balancing, until

pytestmark = pytest.mark.asyncio

TOKEN = "let-me-in"


@pytest_asyncio.fixture
async def asked(prosody: XmppServer) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """A balancer that wants two backends, and who asks it."""
    overrides = {"admin.token": TOKEN, "admin.min_ready": "2"}
    async with balancing(prosody, overrides) as service:
        admin = Admin(service.config.admin, service)
        await admin.start()
        url = f"http://127.0.0.1:{admin.port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            yield service, client
        await admin.stop()


async def test_ready_with_server_and_backends_only(
    asked: tuple[Service, httpx.AsyncClient], prosody: XmppServer
) -> None:
    service, client = asked
    assert (await client.get("/livez")).text == "ok\n"
    not_yet = await client.get("/readyz?verbose")
    assert (not_yet.status_code, not_yet.text.splitlines()) == (
        503,
        [
            "[+] not stopping",
            f"[+] {JID}: server link is up",
            f"[-] {JID}: 0 of at least 2 backends",
            "not ready",
        ],
    )
    async with backends(service, 2):
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.text) == (200, "ok\n")
        service.components[JID].order("worker-1", Order.MAINT)
        assert (await client.get("/readyz")).status_code == 503
        service.components[JID].order("worker-1", Order.READY)
        assert (await client.get("/readyz")).status_code == 200
        service.stopping = True
        assert (await client.get("/readyz")).status_code == 503
        service.stopping = False
        await prosody.stop()
        connector = service.components[JID].connector
        await until(lambda: connector.state.value != "up")
        down = await client.get("/readyz?verbose")
        assert down.status_code == 503
        assert f"[-] {JID}: server link is" in down.text
        assert (await client.get("/livez")).status_code == 200


async def test_strangers_learn_yes_or_no(asked: tuple[Service, httpx.AsyncClient]) -> None:
    _, client = asked
    stranger = {"Host": "elsewhere.example"}
    assert (await client.get("/readyz", headers=stranger)).text == "not ready\n"
    for path in ("/readyz?verbose", "/metrics", "/api/v1/status", "/api/v1/events"):
        assert (await client.get(path, headers=stranger)).status_code == 401
    known = stranger | {"Authorization": f"Bearer {TOKEN}"}
    assert (await client.get("/metrics", headers=known)).status_code == 200


async def test_numbers_of_real_traffic(asked: tuple[Service, httpx.AsyncClient]) -> None:
    service, client = asked
    async with backends(service, 2):
        until_checked = service.components[JID].router.crew.records
        await until(lambda: all(sum(r.check_time.counts) for _, r in until_checked))
        answer = await client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        samples = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }
        mine = "xmpp_balancer_"
        assert samples[f"{mine}upstream_connected", JID] == 1
        assert samples[f"{mine}backends", JID, "up"] == 2
        assert samples[f"{mine}received_bytes_total", JID, "worker-1"] > 0
        assert samples[f"{mine}upstream_received_bytes_total", JID] > 0
        assert samples[f"{mine}upstream_last_connect_timestamp_seconds", JID] > 1.6e9
        count = f"{mine}backend_health_check_duration_seconds_count"
        assert samples[count, JID, "worker-1"] >= 1
        assert samples[f"{mine}event_loop_lag_seconds_count",] > 0


async def test_who_watches_is_told_of_the_end(asked: tuple[Service, httpx.AsyncClient]) -> None:
    service, client = asked
    mine = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        client.stream("GET", "/api/v1/events") as events,
        client.stream("GET", f"/api/v1/components/{JID}/tap", headers=mine) as tap,
    ):
        heard = events.aiter_lines()
        assert (await anext(heard)).startswith("event: ")
        await until(lambda: service.components[JID].taps)
        await service.stop()
        async with asyncio.timeout(20):
            assert [line async for line in heard]
            assert [line async for line in tap.aiter_lines()] == []


async def test_counts_of_the_link_go_on_with_another_secret(
    asked: tuple[Service, httpx.AsyncClient],
) -> None:
    service, _ = asked
    component = service.components[JID]
    before = component.tally.in_size + 0
    await component.connect_anew(component.connector._server)
    await until(lambda: component.connector.state.value == "up")
    assert component.tally.attempts == 2
    assert component.tally.disconnects == {"local": 1}
    assert component.tally.in_size > before
