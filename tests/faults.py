"""A bad network, on purpose: a proxy that delays, swallows, cuts and slices."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType
from typing import Self


class FaultyProxy:
    """Stands between a backend and the balancer; a fault lasts until it is mended.

    Args:
        target: the port of the balancer.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.latency = 0.0  # seconds, each way
        self.sliced = False  # single bytes
        self._target = target
        self._cut_after: int | None = None  # bytes that may still pass towards the balancer
        self._open = asyncio.Event()  # what arrives is passed on
        self._open.set()
        self._reads = asyncio.Event()  # what the balancer writes is read at all
        self._reads.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._pipes: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=1 << 14)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    # Faults.

    def black_hole(self) -> None:
        """Both sides stay connected, and neither hears the other."""
        self._open.clear()

    def deafen(self) -> None:
        """Nothing is read from the balancer any more; what the backend says still passes."""
        self._reads.clear()

    def mend(self) -> None:
        """No fault any more; what was swallowed waits and passes now."""
        self._open.set()
        self._reads.set()

    def reset(self) -> None:
        """Cut every connection with a reset."""
        for writer in self._writers:
            _reset(writer)

    def cut_after(self, count: int) -> None:
        """Close both sides when so many more bytes have passed towards the balancer."""
        self._cut_after = count

    # At work.

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far = await asyncio.open_connection("127.0.0.1", self._target, limit=1 << 14)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far[1]}
        up = asyncio.create_task(self._pipe(reader, far[1], upward=True))
        down = asyncio.create_task(self._pipe(far[0], writer, upward=False))
        self._pipes |= {up, down}
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        for pipe, each in ((up, far[1]), (down, writer)):
            pipe.cancel()
            each.close()
            self._writers.discard(each)
        await asyncio.gather(up, down, return_exceptions=True)
        self._pipes -= {up, down}

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upward: bool
    ) -> None:
        while True:
            if not upward:
                await self._reads.wait()
            data = await reader.read(1 << 14)
            await self._open.wait()
            if not data:
                return
            await asyncio.sleep(self.latency)
            if upward and self._cut_after is not None:
                data = data[: self._cut_after]
                self._cut_after -= len(data)
            for piece in [bytes([byte]) for byte in data] if self.sliced else [data]:
                writer.write(piece)
                await writer.drain()
            if upward and self._cut_after == 0:
                self._cut_after = None
                return


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
