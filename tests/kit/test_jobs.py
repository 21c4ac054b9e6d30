from __future__ import annotations

import asyncio

import pytest

from backends.jobs import Jobs
from tests.stage import until

pytestmark = pytest.mark.asyncio


async def test_a_bound_and_who_is_told_of_it() -> None:
    told: list[str] = []
    jobs = Jobs(2, lambda: told.append("full"), lambda: told.append("room"))
    go = asyncio.Event()
    most = 0

    async def job() -> None:
        nonlocal most
        most = max(most, jobs.running)
        await go.wait()

    for _ in range(5):
        jobs.start(job)
    await asyncio.sleep(0)
    assert (len(jobs), jobs.running, jobs.waiting) == (5, 2, 3)
    assert told == ["full"]
    go.set()
    await jobs.idle()
    assert (len(jobs), most, told) == (0, 2, ["full", "room"])


async def test_those_of_one_key_run_in_order_and_do_not_block_others() -> None:
    jobs = Jobs(2)
    go = asyncio.Event()
    ended: list[str] = []

    def job(name: str, waits: bool = False) -> None:
        async def run() -> None:
            if waits:
                await go.wait()
            ended.append(name)

        jobs.start(run, name[0])

    job("a1", waits=True)
    for name in ("a2", "a3", "b1", "c1", "c2"):
        job(name)
    await until(lambda: len(ended) == 3)
    assert ended == ["b1", "c1", "c2"]
    go.set()
    await jobs.idle()
    assert ended[3:] == ["a1", "a2", "a3"]


async def test_all_can_be_ended() -> None:
    jobs = Jobs(1)
    for _ in range(3):
        jobs.start(asyncio.Event().wait, "k")
    await asyncio.sleep(0)
    await jobs.cancel()
    assert len(jobs) == jobs.running == 0


async def test_a_bound_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Jobs(0)
