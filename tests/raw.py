"""A backend that can misbehave: XEP-0114 by hand over a plain socket."""

from __future__ import annotations

import asyncio
import re
from types import TracebackType
from typing import Self

from balancer.stream import digest
from tests.stage import BACKEND_SECRET, JID


class RawBackend:
    """Says exactly the bytes it is told to."""

    def __init__(self, port: int, to: str = JID, secret: str = BACKEND_SECRET) -> None:
        self._port, self._to, self._secret = port, to, secret
        self.heard = b""

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.transport.abort()

    async def join(self) -> Self:
        """Go through the handshake."""
        self.say(
            f"<stream:stream xmlns='jabber:component:accept' to='{self._to}' "
            "xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        header = await self.hear(b">")
        header += await self.hear(b">") if b"<stream:stream" not in header else b""
        found = re.search(rb"\sid='([^']*)'", header)
        assert found is not None, header
        self.say(f"<handshake>{digest(found[1].decode(), self._secret)}</handshake>")
        heard = await self.reader.read(12)
        assert heard == b"<handshake/>", heard + await self.reader.read(1000)
        return self

    def say(self, text: str | bytes) -> None:
        """Write these bytes."""
        self.writer.write(text if isinstance(text, bytes) else text.encode())

    async def hear(self, end: bytes) -> bytes:
        """What comes up to and with ``end``."""
        async with asyncio.timeout(20):
            return await self.reader.readuntil(end)

    async def hear_all(self) -> bytes:
        """What comes until the other side closes."""
        async with asyncio.timeout(20):
            return await self.reader.read()
