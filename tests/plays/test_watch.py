"""Looking at a balancer that runs: `route`, `tap`, `top`."""

from __future__ import annotations

import asyncio
import io
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, Group

from balancer.configfile import load
from balancer.remote import Remote
from balancer.tables import tables
from tests.pictures import picture
from tests.plays.test_commands import PROGRAM, environment
from tests.plays.test_operate import TOKEN, Stage, stage  # noqa: F401 - a fixture
from tests.servers import XmppServer, client, disconnect
from tests.stage import JID, until

pytestmark = pytest.mark.asyncio


async def test_route_says_where_and_why(stage: Stage) -> None:  # noqa: F811
    code, output = await stage.command("route", "ann@example.org/pc")
    assert code == 1
    assert output.splitlines() == [
        f"{JID}: hash by sender, key 'ann@example.org'",
        "no backend yet: nobody may be given conversations",
    ]
    peers = [await stage.join(name) for name in ("one", "two")]
    code, output = await stage.command("route", "ann@example.org/pc", "--component", JID)
    assert code == 0
    where = output.splitlines()[1]
    assert where.split()[0] in ("one", "two")
    assert where.endswith("the hash of the key and the backends' names and weights")
    for peer in peers:
        await peer.leave()


async def test_a_shell_completes_the_names_of_backends(stage: Stage) -> None:  # noqa: F811
    peers = [await stage.join(name) for name in ("one", "other", "two")]
    asked = {
        "XMPP_BALANCER_CONFIG": str(stage.file),
        "_XMPP_BALANCER_COMPLETE": "complete_bash",
        "COMP_WORDS": "xmpp-balancer drain o",
        "COMP_CWORD": "2",
    }
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("xmpp-balancer"),
        env=environment() | asked,
        stdout=subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert output.decode().split() == ["one", "other"]
    for peer in peers:
        await peer.leave()


async def test_tap_follows_stanzas(stage: Stage, prosody: XmppServer) -> None:  # noqa: F811
    peer = await stage.join("one")
    alice = await client(prosody, "alice", "phone")
    async with Tapping(stage, "--kind", "message", "--xpath", "c:body[.='22']") as tapping:
        for body in ("11", "22", "33"):
            alice.send_message(mto=f"bot@{JID}", mbody=body, mtype="chat")
        inward, outward = await tapping.line(), await tapping.line()
        assert f"→ one: alice@{prosody.domain}/phone to bot@{JID}: message chat body" in inward
        assert inward.endswith("forwarded)")
        assert f"← one: bot@{JID} to alice@{prosody.domain}/phone: message chat body" in outward
        assert "22" not in inward + outward, "bodies are hidden"
    async with Tapping(
        stage, "--bodies", "--jid", f"alice@{prosody.domain}", "--count", "2"
    ) as told:
        alice.send_message(mto=f"bot@{JID}", mbody="44", mtype="chat")
        await told.line()
        assert "<body>44</body>" in await told.line()
        assert [await told.line() for _ in range(2)][1].count("<body>44</body>") == 1
        assert await told.ended() == 0
    async with Tapping(stage, "--backend", "two", "--count", "1") as nothing:
        alice.send_message(mto=f"bot@{JID}", mbody="55", mtype="chat")
        assert await nothing.ended(signal.SIGINT) == 0
    await disconnect(alice)
    await peer.leave()


async def test_tap_takes_the_token_and_a_good_expression(stage: Stage) -> None:  # noqa: F811
    async with httpx.AsyncClient(trust_env=False) as http:
        path = f"{stage.api}/components/{JID}/tap"
        assert (await http.get(path)).status_code == 401
        mine = {"Authorization": f"Bearer {TOKEN}"}
        wrong = await http.get(path, params={"xpath": "c:body["}, headers=mine)
        assert (wrong.status_code, "XPath" in wrong.json()["detail"]) == (422, True)
    code, output = await stage.command("tap", "--xpath", "nope:body")
    assert (code, "the XPath expression cannot be used" in output) == (1, True)


async def test_it_costs_nothing_when_nobody_listens_any_more(
    stage: Stage,  # noqa: F811
    prosody: XmppServer,
) -> None:
    peer = await stage.join("one")
    alice = await client(prosody, "alice", "phone")
    async with Tapping(stage, "--count", "1") as tapping:
        alice.send_message(mto=f"bot@{JID}", mbody="66", mtype="chat")
        await tapping.line()
        assert await tapping.ended() == 0
    async with httpx.AsyncClient(trust_env=False) as http:
        async with asyncio.timeout(10):
            while (await http.get(f"{stage.api}/status")).json()["listeners"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    await disconnect(alice)
    await peer.leave()


async def test_top_and_its_picture(
    stage: Stage,  # noqa: F811
    prosody: XmppServer,
    tmp_path: Path,
) -> None:
    peers = [await stage.join(name) for name in ("one", "two", "three")]
    users = [await client(prosody, name, "pc") for name in ("alice", "bob", "carol", "dave")]
    replies: list[str] = []
    for user in users:
        user.add_event_handler("message", lambda message: replies.append(message["body"]))

    async def talk(rounds: int) -> None:
        for _ in range(rounds):
            for user in users:
                user.send_message(mto=f"bot@{JID}", mbody="66", mtype="chat")
        await until(lambda: len(replies) == rounds * len(users))
        replies.clear()

    await talk(100)
    code, output = await stage.command("top", "--count", "2", "--interval", "0.2")
    assert code == 0
    assert "in/s" in output

    with Remote(load(stage.file, environ={}, overrides={}).admin) as remote:
        before = await asyncio.to_thread(remote.status)
        await talk(300)
        await stage.command("maint", "three")
        there = await asyncio.to_thread(remote.status)
    with io.StringIO() as shown:
        console = Console(record=True, width=100, file=shown)
        console.print(Group(*tables(there, before)))
        console.save_svg(
            str(picture("top.svg", tmp_path)), title="xmpp-balancer top", code_format=_SVG
        )
        assert "maint" in shown.getvalue()
    for user in users:
        await disconnect(user)
    for peer in peers:
        await peer.leave()


# Rich's own has fonts that come from elsewhere.
_SVG = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


class Tapping:
    """The command `tap`, running."""

    def __init__(self, stage: Stage, *arguments: str) -> None:  # noqa: F811
        self._stage = stage
        self._arguments = arguments

    async def __aenter__(self) -> Tapping:
        before = await self._listeners()
        self._process = await asyncio.create_subprocess_exec(
            *PROGRAM,
            "tap",
            *self._arguments,
            env=environment() | {"XMPP_BALANCER_CONFIG": str(self._stage.file)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        async with asyncio.timeout(20):
            while await self._listeners() == before:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        return self

    async def _listeners(self) -> int:
        async with httpx.AsyncClient(trust_env=False) as http:
            return int((await http.get(f"{self._stage.api}/status")).json()["listeners"])

    async def line(self) -> str:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 20)
        return line.decode().rstrip("\n")

    async def ended(self, by: signal.Signals | None = None) -> int | None:
        if by is not None:
            self._process.send_signal(by)
        return await asyncio.wait_for(self._process.wait(), 20)

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
