"""The examples: each by the command at its top, and each used as it is meant to be."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from balancer.service import Service
from tests.servers import XmppServer, client, disconnect
from tests.stage import BACKEND_SECRET, JID, balancing, until

pytestmark = pytest.mark.asyncio

EXAMPLES = Path(__file__).parents[2] / "backends" / "examples"
ALL = ("echo", "fastapi_app", "django_app", "daemon", "guess")


def command_of(example: str) -> list[str]:
    """What its docstring says to type."""
    if example == "django_app":
        pytest.importorskip("django", reason="django is not installed")
    doc = ast.get_docstring(ast.parse((EXAMPLES / f"{example}.py").read_text())) or ""
    (line,) = re.findall(r"^python (-m .*)$", doc, re.M)
    return shlex.split(line)


@asynccontextmanager
async def running(arguments: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that ends well within when it is told to."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def example(service: Service, name: str, *more: str) -> AsyncIterator[None]:
    """An example behind a balancer of the test's own."""
    arguments = command_of(name)
    for option, value in {"--secret": BACKEND_SECRET, "--jid": f"{JID}/example"}.items():
        arguments[arguments.index(option) + 1] = value
    arguments += ["--server", f"127.0.0.1:{service.listener.port}"]
    async with running([*arguments, *more]):
        pool = service.components[JID].router.pool
        await until(lambda: pool.get("example") is not None)
        await until(lambda: next(iter(pool)).acks is not None)
        yield


class Person:
    def __init__(self, xmpp: Any) -> None:
        self.xmpp = xmpp
        self.read: asyncio.Queue[str] = asyncio.Queue()
        xmpp.add_event_handler("message", lambda each: self.read.put_nowait(each["body"]))

    async def says(self, text: str, to: str = JID) -> str:
        self.xmpp.send_message(to, text, mtype="chat")
        return await asyncio.wait_for(self.read.get(), 20)

    async def asks(self, to: str, type_: str = "get", payload: Any = None) -> Any:
        iq = self.xmpp.Iq(stype=type_, sto=to)
        iq.append(payload if payload is not None else Element("{urn:example:ask}please"))
        return (await iq.send(timeout=20)).xml[0]


@asynccontextmanager
async def stage(prosody: XmppServer, name: str, *more: str) -> AsyncIterator[Person]:
    async with balancing(prosody) as service, example(service, name, *more):
        alice = await client(prosody, "alice", "phone")
        yield Person(alice)
        await disconnect(alice)


async def test_echo(prosody: XmppServer) -> None:
    async with stage(prosody, "echo") as alice:
        assert await alice.says("hello") == "hello"
        numbers = ElementTree.fromstring("<ns xmlns='urn:example:sum'><n>40</n><n>2</n></ns>")
        assert (await alice.asks(JID, "get", numbers)).text == "42"


async def test_fastapi(prosody: XmppServer) -> None:
    async with stage(prosody, "fastapi_app") as alice:
        made = await alice.asks(f"{JID}/orders?item=tea", "set")
        assert json.loads(made.text) == {"number": 1, "item": "tea"}
        assert await asyncio.wait_for(alice.read.get(), 20) == "your tea is on its way"
        assert (await alice.asks(f"{JID}/orders/1")).text == "tea"


async def test_django(prosody: XmppServer) -> None:
    async with stage(prosody, "django_app") as alice:
        assert await alice.says("lovely", f"{JID}/sign") == "thank you"
        assert (await alice.asks(f"{JID}/book")).text == "alice@localhost/phone: lovely"


async def test_daemon(prosody: XmppServer) -> None:
    async with stage(prosody, "daemon", "--allow", "alice@localhost") as alice:
        assert await alice.says("list") == "there is nothing to do"
        said = await alice.says('add "mow the lawn" high')
        assert said == "mow the lawn: high, for alice@localhost"
        assert await alice.says("list") == said
        assert "add NAME [LOW|HIGH] - Add a job." in await alice.says("help")


async def test_guess(prosody: XmppServer) -> None:
    async with stage(prosody, "guess") as alice:
        assert "Guess!" in await alice.says("hello")
        low, high, guesses = 1, 100, 0
        while True:
            middle = (low + high) // 2
            guesses += 1
            said = await alice.says(str(middle))
            if "Right" in said:
                break
            low, high = (middle + 1, high) if "more" in said else (low, middle - 1)
        assert said == f"Right, with {guesses} guesses. (example)"


async def test_all_of_them_join_the_demo() -> None:
    """By the very commands at their tops, but for the port: 5348 may be taken here."""
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "balancer", "demo", "--stay", "--backends", "1", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert demo.stdout is not None
    try:
        said = ""
        async with asyncio.timeout(60):
            while "secret" not in said:
                said = (await demo.stdout.readline()).decode()
        found = re.search(r"127\.0\.0\.1:(\d+) as (\S+), secret (\S+)\.", said)
        assert found is not None, said
        assert found[2] == "svc.demo"
        assert found[3] == "demo"
        for name in ALL:
            arguments = [*command_of(name), "--server", f"127.0.0.1:{found[1]}"]
            async with running([*arguments, "--log", "json"]) as process:
                assert process.stderr is not None
                line = await asyncio.wait_for(process.stderr.readline(), 20)
                assert json.loads(line)["event"] == "connected", name
    finally:
        demo.terminate()
        await asyncio.wait_for(demo.wait(), 20)
