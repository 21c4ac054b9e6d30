"""The load, as a process of its own: a server that writes, and backends that read and answer.

It is told what to do on standard input, a JSON object in a line, and says so when it is done.  It
parses nothing: it knows what it sent, and counts what comes out at the other end.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
import time
from typing import Any, cast

import uvloop

from balancer.stream import digest
from tests.bench.stanzas import JID, made

HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' "
    f"xmlns='jabber:component:accept' from='{JID}' id='bench'>"
).encode()
SECRET, BACKEND_SECRET = "up", "down"
ASKED = re.compile(
    rb"<iq (?:type='get' id='(check-\d+)' from='([^']*)' to='([^']*)'"
    rb"|from='([^']*)' to='([^']*)' id='([^']*)' type='get')>"
)
#: Bytes that may wait to be written: the peer is always busy, and memory is not.
AHEAD = 4 << 20


class Counter:
    """Counts a pattern in a stream, wherever its chunks are cut."""

    def __init__(self, pattern: bytes) -> None:
        self._pattern = pattern
        self._tail = b""
        self.count = 0

    def feed(self, data: bytes) -> None:
        data = self._tail + data
        self.count += data.count(self._pattern)
        self._tail = data[-len(self._pattern) + 1 :]


class Server(asyncio.Protocol):
    """The XMPP server's side of the component's stream."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.results = Counter(b"type='result'")
        self.messages = Counter(b"</message>")  # of a relay
        self.transport: asyncio.Transport | None = None
        self._room = asyncio.Event()
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self.transport = transport
        transport.set_write_buffer_limits(high=AHEAD)
        self._room.set()

    def data_received(self, data: bytes) -> None:
        if self._open:
            (self.messages if self.bench.relayed else self.results).feed(data)
            self.bench.look()
            return
        assert self.transport is not None
        if b"<stream:stream" in data:
            self.transport.write(HEADER)
        if b"</handshake>" in data:
            self._open = True
            self.transport.write(b"<handshake/>")
            self.bench.server = self

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    async def write(self, data: bytes) -> None:
        assert self.transport is not None
        await self._room.wait()
        self.transport.write(data)


class Sink(asyncio.Protocol):
    """A component of its own: it reads, counts, and answers what is asked; it can write too."""

    def __init__(self, bench: Bench, address: str, secret: str) -> None:
        self.bench = bench
        self.messages = Counter(b"</message>")
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self._address = address
        self._secret = secret
        self._room = asyncio.Event()
        self._room.set()
        self._tail = b""
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=AHEAD)
        to = f"to='{self._address}'".encode()
        self.transport.write(HEADER.replace(f"from='{JID}'".encode(), to))

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    async def write(self, data: bytes) -> None:
        assert self.transport is not None
        await self._room.wait()
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        if not self._open:
            self._handshake(data)
            return
        self.messages.feed(data)
        self._answer(data)
        self.bench.arrived(data)
        self.bench.look()

    def _handshake(self, data: bytes) -> None:
        assert self.transport is not None
        if b"<handshake/>" in data:
            self._open = True
            self.ready.set_result(None)
        else:
            found = re.search(rb"\bid='([^']*)'", data)
            assert found is not None, data
            proof = digest(found[1].decode(), self._secret)
            self.transport.write(f"<handshake>{proof}</handshake>".encode())

    def _answer(self, data: bytes) -> None:
        data = self._tail + data
        end = 0
        answers = []
        for asked in ASKED.finditer(data):
            end = asked.end()
            check, balancer, _, sender, to, id = asked.groups()
            if check is None and not self.bench.answering:
                continue
            answers.append(
                b"<iq type='result' id='%s' to='%s' from='%s'/>"
                % (check or id, balancer or sender, JID.encode() if check else to)
            )
        last = data.rfind(b"<iq ", end)
        self._tail = data[last:] if last >= 0 and data.find(b">", last) < 0 else b""
        if last < 0:
            self._tail = data[-3:] if data[-3:].find(b"<") >= 0 else b""
        if answers:
            assert self.transport is not None
            self.transport.write(b"".join(answers))


class Bench:
    """Everything that the generator has."""

    def __init__(self) -> None:
        self.server: Server | None = None
        self.sinks: list[Sink] = []
        self.source: Sink | None = None
        self.answering = True
        self.relayed = False
        self.delays: list[float] = []
        self._stamps = False
        self._expected = (0, 0)
        self._done = asyncio.Event()
        self._blocks: dict[tuple[str, int], list[bytes]] = {}

    def counts(self) -> tuple[int, int]:
        """Messages that backends and results that the server have received."""
        if self.relayed:
            assert self.server is not None
            return self.server.messages.count, 0
        results = self.server.results.count if self.server is not None else 0
        return sum(sink.messages.count for sink in self.sinks), results

    def look(self) -> None:
        """Is everything there that was waited for?"""
        if not self._done.is_set():
            messages, results = self.counts()
            if messages >= self._expected[0] and results >= self._expected[1]:
                self._done.set()

    def arrived(self, data: bytes) -> None:
        """For the latency: when what was written carries its time."""
        if self._stamps:
            now = time.perf_counter()
            self.delays += [now - float(found) for found in STAMP.findall(data)]

    async def listen(self, port: int) -> dict[str, Any]:
        """Be the server."""
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: Server(self), "127.0.0.1", port)
        return {}

    async def join(
        self, port: int, count: int, jid: str | None = None, secret: str = BACKEND_SECRET
    ) -> dict[str, Any]:
        """Connect so many backends; with a JID, one component of that JID."""
        first = len(self.sinks)
        for start in range(first, first + count, 50):
            numbers = range(start, min(start + 50, first + count))
            some = [Sink(self, jid or f"{JID}/b{number}", secret) for number in numbers]
            for sink in some:
                await self._connect(sink, port)
            await asyncio.gather(*(sink.ready for sink in some))
            self.sinks += some
        return {}

    async def _connect(self, sink: Sink, port: int) -> None:
        await asyncio.get_running_loop().create_connection(lambda: sink, "127.0.0.1", port)

    async def leave(self, count: int) -> dict[str, Any]:
        """Some backends close their connections."""
        for _ in range(count):
            sink = self.sinks.pop(0)
            assert sink.transport is not None
            sink.transport.abort()
        return {}

    async def run(
        self,
        what: str,
        count: int,
        senders: int = 1000,
        relayed: bool = False,
    ) -> dict[str, Any]:
        """Write so many stanzas as the server and wait for all that must come out."""
        await self._served()
        assert self.server is not None
        key = (what, senders)
        if key not in self._blocks:
            self._blocks[key] = made(what, max(24_000, senders), senders)
        stanzas = self._blocks[key]
        self.relayed = relayed
        asked = 0 if relayed else sum(each.startswith(b"<iq") for each in stanzas)
        rounds = max(1, count // len(stanzas))
        messages, results = self.counts()
        self._expected = (messages + rounds * (len(stanzas) - asked), results + rounds * asked)
        self._done.clear()
        blocks = [b"".join(stanzas[n : n + 200]) for n in range(0, len(stanzas), 200)]
        cpu, wall = _cpu(), time.perf_counter()
        for _ in range(rounds):
            for data in blocks:
                await self.server.write(data)
        async with asyncio.timeout(300):
            await self._done.wait()
        wall = time.perf_counter() - wall
        return {"stanzas": rounds * (len(stanzas) + asked), "wall": wall, "cpu": _cpu() - cpu}

    async def ask(self, count: int) -> dict[str, Any]:
        """Requests that nobody answers."""
        await self._served()
        assert self.server is not None
        self.answering = False
        for start in range(0, count, 500):
            for number in range(start, min(start + 500, count)):
                await self.server.write(
                    b"<iq from='w%d@bench.example/r' to='%s' id='w%d' type='get'>"
                    b"<q xmlns='b'/></iq>" % (number, JID.encode(), number)
                )
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        self.answering = True
        return {}

    async def flood(self, port: int, jid: str, secret: str, to: str, count: int) -> dict[str, Any]:
        """Write so many messages as another component of a real server."""
        if self.source is None:
            self.source = Sink(self, jid, secret)
            await self._connect(self.source, port)
            await self.source.ready
        body = "x" * 100
        block = "".join(
            f"<message from='u{n}@{jid}/r' to='{to}' type='chat'><body>{body}</body></message>"
            for n in range(1000)
        ).encode()
        self._expected = (self.counts()[0] + count // 1000 * 1000, 0)
        self._done.clear()
        wall = time.perf_counter()
        for _ in range(count // 1000):
            await self.source.write(block)
        async with asyncio.timeout(120):
            await self._done.wait()
        return {"throughput": count // 1000 * 1000 / (time.perf_counter() - wall)}

    async def _served(self) -> None:
        async with asyncio.timeout(20):
            while self.server is None:  # noqa: ASYNC110 - another process comes
                await asyncio.sleep(0.01)

    async def pace(self, rate: int, seconds: float) -> dict[str, Any]:
        """Write at a steady rate, and measure how long each message takes."""
        await self._served()
        assert self.server is not None
        self._stamps, self.delays = True, []
        loop = asyncio.get_running_loop()
        start, sent = loop.time(), 0
        while (passed := loop.time() - start) < seconds:
            due = int(passed * rate)
            while sent < due:
                sent += 1
                await self.server.write(
                    b"<message from='u%d@bench.example/r' to='%s' type='chat'>"
                    b"<body>@%.7f@</body><pad xmlns='urn:bench'>%s</pad></message>"
                    % (sent % 1000, JID.encode(), time.perf_counter(), b"x" * 60)
                )
            await asyncio.sleep(0.0002)
        await asyncio.sleep(0.3)
        self._stamps = False
        delays = sorted(self.delays)
        return {"p50": delays[len(delays) // 2], "p99": delays[len(delays) * 99 // 100]}


STAMP = re.compile(rb"<body>@([\d.]+)@</body>")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main() -> None:
    bench = Bench()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command = json.loads(line)
        done = await getattr(bench, command.pop("do"))(**command)
        print(json.dumps(done), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
