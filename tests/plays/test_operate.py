"""Steering a balancer that runs: the API and its commands, against a real process."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.peers import EchoPeer
from tests.plays.test_commands import PROGRAM, environment, running, written
from tests.servers import XmppServer, free_ports
from tests.stage import BACKEND_SECRET, JID

pytestmark = pytest.mark.asyncio

TOKEN = "let-me-in"


@dataclass
class Stage:
    """A balancer process with its file and addresses."""

    file: Path
    listen: int
    admin: int

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.admin}/api/v1"

    async def command(self, *arguments: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *PROGRAM,
            *arguments,
            env=environment() | {"XMPP_BALANCER_CONFIG": str(self.file)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 30)
        return process.returncode, output.decode()

    async def join(self, name: str) -> EchoPeer:
        peer = EchoPeer()
        await peer.connect(self.listen, f"{JID}/{name}", BACKEND_SECRET)
        return peer

    async def state(self, name: str) -> str:
        _, output = await self.command("status", "--json")
        (component,) = json.loads(output)["components"]
        there = [each for each in component["backends"] if each["connection"]]
        states = {each["name"]: each["state"] for each in there}
        return str(states.get(name, "gone"))


def administered(file: Path, how: str) -> None:
    file.write_text(file.read_text().replace("[admin]\nport = 0", f"[admin]\n{how}"))


@pytest_asyncio.fixture
async def stage(prosody: XmppServer, tmp_path: Path) -> AsyncIterator[Stage]:
    listen, admin = free_ports("127.0.0.1", 2)
    file = written(tmp_path, prosody.component_port, listen)
    (tmp_path / "token").write_text(TOKEN + "\n")
    administered(file, f'port = {admin}\ntoken_file = "token"')
    async with running(file):
        made = Stage(file, listen, admin)
        async with httpx.AsyncClient(trust_env=False) as client:
            await until_served(client, made.api)
        yield made


async def until_served(client: httpx.AsyncClient, api: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                status = (await client.get(f"{api}/status")).json()
            except httpx.TransportError:
                status = {"components": []}
            if all(each["state"] == "up" for each in status["components"]) and status["components"]:
                return
            await asyncio.sleep(0.02)


async def test_status_says_how_it_is(stage: Stage) -> None:
    code, output = await stage.command("status")
    assert (code, JID in output) == (1, True), "nobody serves yet"
    peer = await stage.join("a")
    code, output = await stage.command("status")
    assert code == 0
    assert "up" in output
    assert "0 dropped" in output
    await peer.leave()


async def test_drain_ready_maint_and_weight(stage: Stage) -> None:
    one, two = await stage.join("a/b"), await stage.join("two")
    assert await stage.command("maint", "a/b") == (0, f"{JID}: a/b is in state maint, weight 1\n")
    assert await stage.state("a/b") == "maint"
    code, output = await stage.command("ready", "a/b")
    assert (code, "maint" in output) == (0, False)
    assert (await stage.command("weight", "two", "7"))[0] == 0
    assert '"weight": 7' in (await stage.command("status", "--json"))[1]
    code, output = await stage.command("drain", "two", "--wait", "10")
    assert code == 0, output
    await asyncio.wait_for(two.lost_at_all.wait(), 5)
    assert await stage.state("two") == "gone"
    # What was ordered holds for the name until it is ordered otherwise.
    again = await stage.join("two")
    assert await stage.state("two") == "drain"
    await stage.command("ready", "two")
    assert await stage.state("two") in ("starting", "up")
    for peer in (one, again):
        await peer.leave()


async def test_what_cannot_be_done_is_said(stage: Stage) -> None:
    assert await stage.command("drain", "zoe") == (
        1,
        "xmpp-balancer: no backend is called zoe\n",
    )
    code, output = await stage.command("weight", "zoe", "0")
    assert code == 2
    code, output = await stage.command("status", "--url", "http://127.0.0.1:1")
    assert code == 1
    assert "no balancer answers at http://127.0.0.1:1" in output


async def test_changes_need_the_token(stage: Stage) -> None:
    peer = await stage.join("a")
    async with httpx.AsyncClient(trust_env=False) as client:
        path = f"{stage.api}/components/{JID}/backends/a"
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            refused = await client.post(f"{path}/maint", headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
        assert (await client.get(f"{path}/maint")).status_code == 405
        mine = {"Authorization": f"Bearer {TOKEN}"}
        done = await client.post(f"{path}/maint", headers=mine)
        assert done.json() == {"component": JID, "backend": "a", "state": "maint", "weight": 1}
        for wrong in (f"{stage.api}/components/x/backends/a/maint", f"{path}x/maint"):
            assert (await client.post(wrong, headers=mine)).status_code == 404
        for what in ({"weight": 0}, {"weight": 257}, {}):
            bad = await client.post(f"{path}/weight", json=what, headers=mine)
            assert bad.status_code == 422
    await peer.leave()


async def test_reading_is_open_here_and_under_our_own_name_only(stage: Stage) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        one = await client.get(f"{stage.api}/components/{JID}")
        assert one.json()["jid"] == JID
        assert (await client.get(f"{stage.api}/components/x")).status_code == 404
        # Another site's page, whose name was made to point here.
        rebound = {"Host": f"evil.example:{stage.admin}"}
        assert (await client.get(f"{stage.api}/status", headers=rebound)).status_code == 401
        rebound["Authorization"] = f"Bearer {TOKEN}"
        assert (await client.get(f"{stage.api}/status", headers=rebound)).status_code == 200
        config = (await client.get(f"{stage.api}/config")).text
        assert BACKEND_SECRET not in config
        assert TOKEN not in config
        described = (await client.get(f"{stage.api}/openapi.json")).json()
        assert "/api/v1/components/{jid}/backends/{name}/drain" in described["paths"]


async def test_without_a_token_nothing_can_be_changed(prosody: XmppServer, tmp_path: Path) -> None:
    listen, admin = free_ports("127.0.0.1", 2)
    file = written(tmp_path, prosody.component_port, listen)
    administered(file, f"port = {admin}")
    async with running(file), httpx.AsyncClient(trust_env=False) as client:
        stage = Stage(file, listen, admin)
        await until_served(client, stage.api)
        peer = await stage.join("a")
        path = f"{stage.api}/components/{JID}/backends/a/drain"
        refused = await client.post(path, headers={"Authorization": "Bearer x"})
        assert refused.status_code == 403
        code, output = await stage.command("drain", "a")
        assert (code, "no [admin] token is configured" in output) == (1, True)
        await peer.leave()


async def test_an_address_that_is_taken(prosody: XmppServer, tmp_path: Path) -> None:
    (listen,) = free_ports("127.0.0.1", 1)
    file = written(tmp_path, prosody.component_port, listen)
    administered(file, f"port = {prosody.client_port}")
    stage = Stage(file, listen, 0)
    code, output = await stage.command("run")
    assert code == 3
    taken = f"cannot serve [admin] on 127.0.0.1:{prosody.client_port}"
    assert taken in output
