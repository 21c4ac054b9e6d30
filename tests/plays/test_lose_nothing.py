"""Backends die in every way, under a steady load through a real Prosody, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
import pytest_asyncio

from balancer.component import Component
from balancer.connector import LinkState
from balancer.health import Order
from balancer.service import Service
from tests.faults import FaultyProxy
from tests.peers import EchoPeer, Load
from tests.servers import Prosody, available
from tests.stage import BACKEND_SECRET, JID, SECRET, balancing, until

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.prosody,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not available(Prosody), reason="prosody is not installed"),
]

LOAD = "load.localhost"
ROOT = Path(__file__).parent.parent.parent
#: Seconds until a stopped process is noticed: interval * fall + timeout.
BLACK_HOLE = 0.5 * 3 + 0.5
HEALTH = {"health.interval": "0.5", "health.timeout": "0.5"}


@pytest_asyncio.fixture
async def prosody(tmp_path: Path) -> AsyncIterator[Prosody]:
    async with Prosody(tmp_path, {JID: SECRET, LOAD: SECRET}) as running:
        yield running


@asynccontextmanager
async def loaded(server: Prosody) -> AsyncIterator[Load]:
    load = Load(LOAD)
    await load.connect(server.component_port, LOAD, SECRET)
    try:
        yield load
    finally:
        await load.stop()
        await load.leave()


def component_of(service: Service) -> Component:
    return service.components[JID]


async def account(service: Service, load: Load, *, all_of_them: bool = True) -> None:
    """The load ends; when everything has come to its end, the promises and the law hold."""
    router = component_of(service).router
    await load.stop()
    if all_of_them:
        await until(load.is_complete, 60)
    await until(lambda: not router.held, 60)
    load.check(all_of_them=all_of_them)
    assert router.missing() == 0, router.counts
    assert router.counts.dropped.total() == 0, router.counts
    assert sum(map(len, load.sent.values())) > 50


class Worker:
    """A backend process behind a proxy of its own."""

    def __init__(self, name: str, service: Service) -> None:
        self.name = name
        self.proxy = FaultyProxy(service.listener.port)
        self._component = component_of(service)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        jid = f"{JID}/{self.name}"
        command = [sys.executable, "-m", "tests.plays.worker", jid, BACKEND_SECRET]
        self._process = subprocess.Popen([*command, str(self.proxy.port)], cwd=ROOT)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def state(self) -> str:
        there = self._component.router.pool.get(self.name)
        return there.state if there is not None else "gone"

    async def until(self, *states: str) -> None:
        await until(lambda: self.state in states, 30)


@asynccontextmanager
async def workers(service: Service, count: int) -> AsyncIterator[list[Worker]]:
    async with AsyncExitStack() as stack:
        crew = []
        for number in range(1, count + 1):
            worker = Worker(f"worker-{number}", service)
            await stack.enter_async_context(worker.proxy)
            stack.callback(worker.end)
            worker.start()
            crew.append(worker)
        for worker in crew:
            await worker.until("up")
        yield crew


async def some_of_it(load: Load, stanzas: int = 60) -> None:
    """The load goes on until the users have heard so many more answers."""
    before = sum(map(len, load.heard.values()))
    await until(lambda: sum(map(len, load.heard.values())) >= before + stanzas, 30)


async def all_arrived_again(service: Service) -> None:
    """What was redelivered is acknowledged: with a third backend it would be bounced."""
    pool = component_of(service).router.pool
    await until(
        lambda: (
            not any(
                "redelivered" in stanza.clues for each in pool for stanza in each.ledger.entries
            )
        )
    )


async def test_backends_die_one_after_another(prosody: Prosody) -> None:
    async with (
        balancing(prosody, overrides=HEALTH, iq_timeout=20.0) as service,
        workers(service, 4) as (one, two, three, four),
        loaded(prosody) as load,
    ):
        counts = component_of(service).router.counts
        load.start()
        await some_of_it(load)

        one.end()  # SIGKILL
        await one.until("gone")
        await some_of_it(load)
        one.start()
        await one.until("up")

        loop = asyncio.get_running_loop()
        began = loop.time()
        two.signal(signal.SIGSTOP)
        await two.until("down")
        assert loop.time() - began < BLACK_HOLE + 0.5  # half a second for two busy cores
        assert counts.redelivered
        await some_of_it(load)
        await all_arrived_again(service)
        two.signal(signal.SIGCONT)
        await two.until("starting", "up")

        three.proxy.reset()
        await three.until("gone")
        await three.until("up")  # it comes back by itself
        await all_arrived_again(service)

        four.proxy.cut_after(1000)  # in the middle of a stanza, as sizes are
        await four.until("gone")
        await four.until("up")
        await some_of_it(load)
        await all_arrived_again(service)

        one.proxy.deafen()
        await one.until("down")
        await some_of_it(load)
        one.proxy.mend()
        await one.until("starting", "up")

        await some_of_it(load)
        await account(service, load)
        errors = [each for each in load.errors if b"id='m" in each]
        assert not errors, "a message was bounced"


async def test_a_slow_network_that_slices_everything_changes_nothing(prosody: Prosody) -> None:
    async with (
        balancing(prosody, overrides=HEALTH) as service,
        workers(service, 3) as crew,
        loaded(prosody) as load,
    ):
        crew[0].proxy.latency = 0.05
        crew[1].proxy.sliced = True
        load.start()
        await some_of_it(load, 300)
        await account(service, load)
        assert not load.errors
        assert component_of(service).router.counts.redelivered == 0


async def test_a_rolling_restart_is_noticed_by_nobody(prosody: Prosody) -> None:
    async with (
        balancing(prosody) as service,
        workers(service, 3) as crew,
        loaded(prosody) as load,
    ):
        component = component_of(service)
        load.start()
        await some_of_it(load)
        for worker in crew:
            component.order(worker.name, Order.DRAIN)
            await worker.until("gone")
            worker.end()
            await some_of_it(load)
            component.router.orders.by_name.clear()
            worker.start()
            await worker.until("up")
            await some_of_it(load)
        await account(service, load)
        counts = component.router.counts
        assert not load.errors
        assert (counts.redelivered, counts.answered.total()) == (0, 0)


async def test_prosody_is_restarted_under_load(prosody: Prosody) -> None:
    async with (
        balancing(prosody, queue_timeout=20.0) as service,
        workers(service, 2) as crew,
        loaded(prosody) as load,
    ):
        component = component_of(service)
        load.start()
        await some_of_it(load)
        await prosody.stop(0)
        await until(lambda: component.connector.state is not LinkState.UP)
        await prosody.start()
        await until(lambda: component.connector.state is LinkState.UP)
        await load.connect(prosody.component_port, LOAD, SECRET)
        assert [worker.state for worker in crew] == ["up", "up"], "to them it was a pause"
        lost = {number for sent in load.sent.values() for number in sent}
        await some_of_it(load)
        await account(service, load, all_of_them=False)
        # What was written after the restart arrived.
        for user, sent in load.sent.items():
            arrived = {number for number, _ in load.heard[user]}
            assert set(sent) - lost <= arrived


async def test_the_balancer_stops_under_load(prosody: Prosody) -> None:
    async with (
        balancing(prosody, overrides={"shutdown_timeout": "10"}) as service,
        workers(service, 3),
        loaded(prosody) as load,
    ):
        router = component_of(service).router
        load.start()
        await some_of_it(load)
        await service.stop()
        await load.stop()
        # What was not taken any more, the balancer or then the server has answered.
        await until(load.is_complete, 30)
        assert max(load.answered.values()) == 1
        assert router.missing() == 0
        assert router.counts.dropped.total() == 0


async def test_a_flapping_backend_for_a_minute(prosody: Prosody) -> None:
    async with (
        balancing(prosody, overrides=HEALTH) as service,
        workers(service, 2),
        loaded(prosody) as load,
    ):
        load.start()
        dice = random.Random(1)
        loop = asyncio.get_running_loop()
        end = loop.time() + 60
        flaps = 0
        while loop.time() < end:
            peer = EchoPeer()
            await peer.connect(service.listener.port, f"{JID}/flapping", BACKEND_SECRET)
            await asyncio.sleep(dice.uniform(0.0, 0.5))
            peer.crash()
            await peer.lost_at_all.wait()
            flaps += 1
        assert flaps > 60
        await account(service, load)
        assert component_of(service).router.counts.redelivered


async def test_a_hundred_backends_come_and_go_for_a_minute(prosody: Prosody) -> None:
    async with balancing(prosody, overrides=HEALTH) as service, loaded(prosody) as load:
        dice = random.Random(2)
        peers: dict[int, EchoPeer] = {}
        port = service.listener.port

        async def toggle(number: int) -> None:
            there = peers.pop(number, None)
            if there is None:
                peer = EchoPeer()
                await peer.connect(port, f"{JID}/b{number}", BACKEND_SECRET)
                peers[number] = peer
            elif dice.random() < 0.5:
                there.crash()
            else:
                await there.leave()

        for number in range(100):
            await toggle(number)
        load.start()
        loop = asyncio.get_running_loop()
        end = loop.time() + 60
        while loop.time() < end:
            await toggle(dice.randrange(100))
            await asyncio.sleep(dice.uniform(0, 0.04))
        await account(service, load)
        for peer in peers.values():
            await peer.leave()
