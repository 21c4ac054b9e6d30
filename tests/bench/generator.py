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
from tests.bench.stanzas import JID, mix, requests

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
            self.results.feed(data)
            self.bench.look()
        elif b"</handshake>" in data:
            self._open = True
            assert self.transport is not None
            self.transport.write(b"<handshake/>")
            self.bench.server = self
        else:
            assert self.transport is not None
            self.transport.write(HEADER)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    async def write(self, data: bytes) -> None:
        assert self.transport is not None
        await self._room.wait()
        self.transport.write(data)


class Sink(asyncio.Protocol):
    """A backend: it reads, counts, and answers what is asked."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench = bench
        self.name = name
        self.messages = Counter(b"</message>")
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.answers = True
        self._tail = b""
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self.transport = transport
        transport.write(
            HEADER.replace(b"from=", b"to=").replace(b"' id=", b"/%s' id=" % self.name.encode(), 1)
        )

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
            proof = digest(found[1].decode(), BACKEND_SECRET)
            self.transport.write(f"<handshake>{proof}</handshake>".encode())

    def _answer(self, data: bytes) -> None:
        data = self._tail + data
        end = 0
        answers = []
        for asked in ASKED.finditer(data):
            end = asked.end()
            check, balancer, me, sender, to, id = asked.groups()
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
        self.answering = True
        self.delays: list[float] = []
        self._expected = (0, 0)
        self._done = asyncio.Event()
        self._blocks: dict[tuple[str, int], list[bytes]] = {}

    def counts(self) -> tuple[int, int]:
        """Messages that backends and results that the server have received."""
        assert self.server is not None
        return sum(sink.messages.count for sink in self.sinks), self.server.results.count

    def look(self) -> None:
        if not self._done.is_set() and self.server is not None:
            messages, results = self.counts()
            if messages >= self._expected[0] and results >= self._expected[1]:
                self._done.set()

    def arrived(self, data: bytes) -> None:
        """For the latency: when what was written carries its time."""
        if self._stamps:
            now = time.perf_counter()
            self.delays += [now - float(found) for found in STAMP.findall(data)]

    _stamps = False

    async def listen(self, port: int) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: Server(self), "127.0.0.1", port)
        return {}

    async def join(self, port: int, count: int) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        first = len(self.sinks)
        for start in range(first, first + count, 50):
            some = [Sink(self, f"b{n}") for n in range(start, min(start + 50, first + count))]
            for sink in some:
                await loop.create_connection(lambda sink=sink: sink, "127.0.0.1", port)  # type: ignore[misc]
            await asyncio.gather(*(sink.ready for sink in some))
            self.sinks += some
        return {}

    async def leave(self, count: int) -> dict[str, Any]:
        for _ in range(count):
            sink = self.sinks.pop()
            assert sink.transport is not None
            sink.transport.abort()
        return {}

    async def run(
        self, what: str, count: int, senders: int = 1000, answer: bool = True
    ) -> dict[str, Any]:
        """Write so many stanzas and wait for all that must come out."""
        while self.server is None:
            await asyncio.sleep(0.01)
        key = (what, senders)
        if key not in self._blocks:
            made = mix(20_000, senders) if what == "mix" else requests(20_000, senders)
            self._blocks[key] = made
        stanzas = self._blocks[key]
        self.answering = answer
        messages, results = self.counts()
        asked = sum(1 for each in stanzas if each.startswith(b"<iq"))
        rounds = count // len(stanzas)
        self._expected = (
            messages + rounds * (len(stanzas) - asked),
            results + rounds * asked * answer,
        )
        self._done.clear()
        block = [b"".join(stanzas[n : n + 200]) for n in range(0, len(stanzas), 200)]
        cpu, wall = _cpu(), time.perf_counter()
        for _ in range(rounds):
            for data in block:
                await self.server.write(data)
        async with asyncio.timeout(120):
            await self._done.wait()
        return {
            "stanzas": rounds * (len(stanzas) + asked * answer),
            "wall": time.perf_counter() - wall,
            "cpu": _cpu() - cpu,
        }

    async def pace(self, rate: int, seconds: float) -> dict[str, Any]:
        """Write at a steady rate, and measure how long each message takes."""
        while self.server is None:
            await asyncio.sleep(0.01)
        self._stamps, self.delays = True, []
        loop = asyncio.get_running_loop()
        start, sent = loop.time(), 0
        while (passed := loop.time() - start) < seconds:
            due = int(passed * rate)
            while sent < due:
                sent += 1
                self.server.transport.write(  # type: ignore[union-attr]
                    b"<message from='u%d@bench.example/r' to='%s' type='chat'><body>@%.7f@</body>"
                    b"<pad xmlns='urn:bench'>%s</pad></message>"
                    % (sent % 1000, JID.encode(), time.perf_counter(), b"x" * 60)
                )
            await asyncio.sleep(0.0002)
        await asyncio.sleep(0.3)
        self._stamps = False
        return {"sent": sent, "delays": sorted(self.delays)}


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
