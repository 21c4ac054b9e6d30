"""The example stack with a load on it: Prometheus answers all that dashboard and alerts ask."""

from __future__ import annotations

import asyncio
import math
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.files import Query, filled, needs_prometheus, queries
from tests.raw import RawBackend
from tests.servers import Prosody, available, client, disconnect
from tests.stack import JID, Stack, stack

#: Enough for every rate to have something to be taken of.
LOAD_SECONDS = 8.0

BACKENDS = ("backend-1", "backend-2", "backend-3")

needs_prosody = pytest.mark.skipif(not available(Prosody), reason="prosody is not installed")


@needs_prometheus
@pytest.mark.prosody
@needs_prosody
@pytest.mark.timeout(180)
@pytest.mark.asyncio
async def test_prometheus_answers_what_dashboard_and_alerts_ask(tmp_path: Path) -> None:
    async with stack(tmp_path) as it:
        began = time.time()
        await it.until('up{job="xmpp-balancer"} == 1')
        await things_happen(it)
        await load(it)
        await metrics_are_in_good_form(it)
        unanswered = [query.where for query in queries() if not await answers(it, query, began)]
        assert unanswered == []
        await rules_are_well(it)
        assert await alerts(it, "firing") == {}
        await an_offence_fires_an_alert(it)
        await without_backends_it_is_not_ready(it)


async def order(it: Stack, wanted: str, *backends: str) -> None:
    """What an operator wants of these backends."""
    for name in backends:
        url = f"http://{it.admin}/api/v1/components/{JID}/backends/{name}/{wanted}"
        (await it.http.post(url, headers=it.bearer)).raise_for_status()


async def things_happen(it: Stack) -> None:
    """One of each that the dashboard makes a note of."""
    for wanted in ("maint", "ready"):
        await order(it, wanted, "backend-1")
        await asyncio.sleep(1.5)  # so that Prometheus sees each
    it.balancer.send_signal(signal.SIGHUP)
    await it.prosody.restart()
    await it.until_ready()
    await it.until("changes(xmpp_balancer_upstream_last_connect_timestamp_seconds[1m]) > 0")


async def load(it: Stack) -> None:
    """Everybody pings and chats for a while, at first with nobody there to answer."""
    end = time.monotonic() + LOAD_SECONDS

    async def busy(user: str) -> None:
        xmpp = await client(it.prosody, user, "load")
        try:
            while time.monotonic() < end:
                xmpp.send_message(mto=JID, mbody="hello", mtype="chat")
                await xmpp.plugin["xep_0199"].ping(JID)
        finally:
            await disconnect(xmpp)

    async with asyncio.TaskGroup() as everybody:
        await order(it, "maint", *BACKENDS)
        for user in it.prosody.users:
            everybody.create_task(busy(user))
        await it.until("sum(xmpp_balancer_queue_stanzas) > 0")
        await order(it, "ready", *BACKENDS)
        while time.monotonic() < end:  # conversations move, and wait for that
            for wanted in ("maint", "ready"):
                await order(it, wanted, "backend-1", "backend-2")
                await asyncio.sleep(0.1)
    # Two more scrapes, and the recorded rules after them.
    await asyncio.sleep(3)


async def metrics_are_in_good_form(it: Stack) -> None:
    url = f"http://{it.admin}/metrics"
    # Under the name that it has for other containers, it takes the token that Prometheus has.
    elsewhere = {"Host": "balancer:9348"}
    assert (await it.http.get(url, headers=elsewhere)).status_code == httpx.codes.UNAUTHORIZED
    answer = await it.http.get(url, headers=elsewhere | it.bearer)
    assert answer.status_code == httpx.codes.OK
    linter = await asyncio.create_subprocess_exec(
        *("promtool", "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await linter.communicate(answer.content)
    assert linter.returncode == 0, said.decode()


async def answers(it: Stack, query: Query, began: float) -> bool:
    """Whether there is one value at least; of nothing there is no quantile, which is NaN."""
    expr = filled(query.expr)
    if query.instant:
        found = (await it.prometheus("query", query=expr))["result"]
        values = [one["value"] for one in found]
    else:
        span = {"start": began, "end": time.time(), "step": 1}
        found = (await it.prometheus("query_range", query=expr, **span))["result"]
        values = [value for one in found for value in one["values"]]
    return any(not math.isnan(float(value)) for _, value in values)


async def rules_are_well(it: Stack) -> None:
    groups = (await it.prometheus("rules"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["name"] for rule in rules if rule["type"] == "alerting"}) == 23
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    recorded = {rule["name"] for rule in rules if rule["type"] == "recording"}
    empty = {name for name in recorded if not (await it.prometheus("query", query=name))["result"]}
    # Nobody stands by where there is one balancer.
    assert empty == {"instance_component:xmpp_balancer_standby"}


async def alerts(it: Stack, state: str) -> dict[str, dict[str, Any]]:
    found = (await it.prometheus("alerts"))["alerts"]
    return {one["labels"]["alertname"]: one for one in found if one["state"] == state}


async def an_offence_fires_an_alert(it: Stack) -> None:
    secret = (it.secrets / "backend_secret").read_text()
    async with RawBackend(it.listen.port, f"{JID}/liar", secret) as liar:
        await liar.join()
        liar.say("<message from='mallory.example' to='alice@localhost' id='1'/>")
        assert b"invalid-from" in await liar.hear_all()
    await it.until('ALERTS{alertname="XmppBalancerInvalidFromBackend", alertstate="firing"}')
    fired = (await alerts(it, "firing"))["XmppBalancerInvalidFromBackend"]
    assert fired["labels"]["severity"] == "ticket"
    assert fired["annotations"]["summary"].startswith(f"A backend of {JID} on {it.admin} ")


async def without_backends_it_is_not_ready(it: Stack) -> None:
    await order(it, "maint", *BACKENDS)
    assert await it.ready() == httpx.codes.SERVICE_UNAVAILABLE
    assert (await it.http.get(f"http://{it.admin}/livez")).status_code == httpx.codes.OK
    # It fires after half a minute, which promtool has seen.
    await it.until('ALERTS{alertname="XmppBalancerNoBackendUp", alertstate="pending"}')
