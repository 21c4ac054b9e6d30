"""The demo, whole: real processes on the embedded server, and its verdict when something is wrong.

Loopback, the embedded server, is a play of its own at the end.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import balancer.demo
from balancer.decisions import Decision
from balancer.demo import Options, demo
from balancer.loopback import Loopback
from balancer.router import Router
from balancer.stanza import Stanza
from balancer.stream import digest
from tests.servers import Prosody, available

SMALL = Options(backends=2, messages=150, iqs=150)


def processes() -> set[str]:
    """The echo backends that run below this process."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            command = (status.parent / "cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if parent == os.getpid() and b"backends.echo" in command:
            found.add(status.parent.name)
    return found


@pytest.mark.asyncio
async def test_everything_is_accounted_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert await demo(SMALL) == 0

    said = capsys.readouterr().out
    assert "300 of 300 accounted for, 0 lost, 0 twice" in said
    assert sum(map(int, re.findall(r"worker-\d │ +(\d+) ", said))) == 300, "who had what"
    assert "worker-1" in said
    assert "worker-2" in said
    assert "\x1b" not in said
    assert not processes()


@pytest.mark.asyncio
async def test_a_lost_stanza_is_noticed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    route, seen = Router.from_server, 0

    def lossy(self: Router, stanza: Stanza, now: float) -> list[Decision]:
        nonlocal seen
        seen += 1
        return [] if seen == 100 else route(self, stanza, now)

    monkeypatch.setattr(Router, "from_server", lossy)
    monkeypatch.setattr(balancer.demo, "QUIET_SECONDS", 1.0)

    assert await demo(SMALL) == 1
    assert "299 of 300 accounted for, 1 lost, 0 twice" in capsys.readouterr().out
    assert not processes()


@pytest.mark.asyncio
async def test_a_second_delivery_is_noticed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    route, doubled = Router.from_server, False

    def twice(self: Router, stanza: Stanza, now: float) -> list[Decision]:
        nonlocal doubled
        decisions = route(self, stanza, now)
        if stanza.kind == "message" and not doubled:
            doubled = True
            return decisions * 2
        return decisions

    monkeypatch.setattr(Router, "from_server", twice)

    assert await demo(SMALL) == 1
    assert "300 of 300 accounted for, 0 lost, 1 twice" in capsys.readouterr().out


@pytest.mark.asyncio
async def test_no_backend_outlives_a_demo_that_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balancer.demo, "START_SECONDS", 0.0)

    assert await demo(SMALL) == 1
    assert "of 2 backends joined in time" in capsys.readouterr().out
    assert not processes()


@pytest.mark.asyncio
async def test_an_address_that_is_none() -> None:
    assert await demo(Options(server="nowhere")) == 1


@pytest.mark.asyncio
async def test_it_stays_until_it_is_told_to_end() -> None:
    code = (
        "import asyncio, sys; from balancer.demo import Options, demo;"
        "sys.exit(asyncio.run(demo(Options(backends=1, messages=10, iqs=10, stay=True))))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-c", code, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            while b"Backends can connect to 127.0.0.1:" not in await process.stdout.readline():
                assert not process.stdout.at_eof()
            process.send_signal(signal.SIGTERM)
            # The pipe ends only when the demo has ended.
            await process.stdout.read()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.prosody
@pytest.mark.skipif(not available(Prosody), reason="Prosody is not installed")
@pytest.mark.asyncio
async def test_on_a_real_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with Prosody(tmp_path, {"svc.example": "s3cret"}) as server:
        options = Options(
            server=f"127.0.0.1:{server.component_port}",
            jid="svc.example",
            secret="s3cret",
            backends=2,
            messages=150,
            iqs=150,
        )
        assert await demo(options) == 0
        said = capsys.readouterr().out
        assert "300 of 300 accounted for, 0 lost, 0 twice" in said

        refused = Options(server=options.server, jid="svc.example", secret="wrong", backends=1)
        assert await demo(refused) == 1
        said = capsys.readouterr().out
        assert "the server refuses us: not-authorized" in said
        assert not processes()


# The embedded server.


class Peer:
    """A component that speaks by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, text: str) -> None:
        self.writer.write(text.encode())

    async def hear(self, end: str) -> str:
        async with asyncio.timeout(5):
            return (await self.reader.readuntil(end.encode())).decode()


@asynccontextmanager
async def component(port: int, jid: str, secret: str = "demo") -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    peer = Peer(reader, writer)
    peer.say(
        "<stream:stream xmlns='jabber:component:accept' "
        f"xmlns:stream='http://etherx.jabber.org/streams' to='{jid}'>"
    )
    header = await peer.hear("<stream:stream")
    header = await peer.hear(">")
    stream_id = header.partition("id='")[2].partition("'")[0]
    peer.say(f"<handshake>{digest(stream_id, secret)}</handshake>")
    try:
        yield peer
    finally:
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def loopback() -> AsyncIterator[Loopback]:
    server = Loopback({"a.demo": "demo", "b.demo": "demo"})
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.mark.asyncio
async def test_loopback_delivers_by_domain() -> None:
    async with loopback() as server, component(server.port, "a.demo") as a:
        await a.hear("<handshake/>")
        async with component(server.port, "b.demo") as b:
            await b.hear("<handshake/>")
            message = "<message from='x@a.demo' to='y@b.demo/z'><body>hi</body></message>"
            a.say(message)
            assert await b.hear("</message>") == message
            b.say("<message from='y@b.demo' to='b.demo'/>")
            assert await b.hear("/>") == "<message from='y@b.demo' to='b.demo'/>"


@pytest.mark.asyncio
async def test_loopback_answers_for_unknown_domains_but_not_to_errors() -> None:
    async with loopback() as server, component(server.port, "a.demo") as a:
        await a.hear("<handshake/>")
        a.say("<message type='error' from='x@a.demo' to='y@b.demo' id='0'/>")
        a.say("<message from='x@a.demo' to='y@b.demo' id='1'/>")
        answer = await a.hear("</message>")
        assert answer.startswith("<message type='error' from='y@b.demo' to='x@a.demo' id='1'>")
        assert "<error type='cancel'><remote-server-not-found " in answer


@pytest.mark.asyncio
async def test_loopback_binds_a_jid_once_at_a_time() -> None:
    async with loopback() as server:
        async with component(server.port, "a.demo") as first:
            await first.hear("<handshake/>")
            async with component(server.port, "a.demo") as second:
                assert "<stream:error><conflict " in await second.hear("</stream:stream>")
            first.say("<message from='a.demo' to='a.demo'/>")
            assert await first.hear("/>") == "<message from='a.demo' to='a.demo'/>"
            first.say("</stream:stream>")
            await first.reader.read()
        async with component(server.port, "a.demo") as third:
            await third.hear("<handshake/>")
            await server.stop()
            assert await third.hear("</stream:stream>") == "</stream:stream>"


@pytest.mark.asyncio
async def test_loopback_refuses_a_wrong_secret() -> None:
    async with loopback() as server, component(server.port, "a.demo", "wrong") as peer:
        assert "<not-authorized " in await peer.hear("</stream:stream>")
