"""A stream on a socket: bytes in to the stream, bytes out to the socket, and flow control.

A link decides nothing.  It tells its owner what happened and writes what it is given: everything
that one read caused for one destination leaves in one `write`, which matters more for speed than
anything else here.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final, Protocol, cast

from balancer.stream import Event, Failed, Stream

#: Bytes that may wait in the socket's buffer before the peer counts as full, and below which it
#: has room again.  A megabyte is some thousand stanzas, a moment for a backend that is well.
HIGH_WATER: Final = 1 << 20
LOW_WATER: Final = 1 << 18

#: Seconds for the last bytes to leave when a link is closed; a peer may have stopped reading.
CLOSING: Final = 5.0


class Owner(Protocol):
    """Who hears what happens on a link."""

    def received(self, link: Link, events: list[Event]) -> None:
        """Stanzas and changes of the stream, in order.

        Empty when it was white space or a part of a stanza: that is a sign of life too.
        """

    def full(self, link: Link) -> None:
        """The peer does not read as fast as we write."""

    def room(self, link: Link) -> None:
        """The peer has caught up."""

    def lost(self, link: Link) -> None:
        """The link is at its end: nothing more comes, nothing more is sent.  Said once."""


class Link(asyncio.Protocol):
    """One connection.

    Args:
        stream: the conversation on it.
        owner: hears what happens.
    """

    def __init__(self, stream: Stream, owner: Owner) -> None:
        self.stream = stream
        self.owner = owner
        self.peer = ""
        self.failure: Failed | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.last_read = 0  # bytes
        self.in_size = 0  # bytes
        self.out_size = 0
        self._transport: asyncio.Transport | None = None
        self._closing: asyncio.TimerHandle | None = None
        self._lost = False
        self._lingering = False
        self._pending: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Link {self.peer or 'unconnected'} {self.stream.state.value}>"

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        self.peer = _address(transport.get_extra_info("peername"))
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.flush()

    def data_received(self, data: bytes) -> None:
        if self._lost and self._lingering:
            return
        self.last_read = len(data)
        self.in_size += len(data)
        events = self.stream.receive(data)
        for event in events[-1:]:
            if type(event) is Failed:
                self.failure = event
        self.owner.received(self, events)
        self.flush()
        if self.stream.is_closed():
            if self.failure is not None and not self.failure.by_peer:
                self._linger()
            else:
                self._close()

    def eof_received(self) -> None:
        # Half-open streams are of no use: what is routed here from now on would be lost.
        self._close()

    def pause_writing(self) -> None:
        self.owner.full(self)

    def resume_writing(self) -> None:
        self.owner.room(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose()
        self.stream.discard()
        self._transport = None
        if self._closing is not None:
            self._closing.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    # What the owner calls.

    def send(self, data: bytes) -> bool:
        """Take bytes for the next `flush`.

        Returns:
            Whether they are the first, so that the owner knows whom to flush.
        """
        self._pending.append(data)
        return len(self._pending) == 1

    def flush(self) -> None:
        """Write what was sent and what the stream itself has to say."""
        # Stanzas first: the stream's own last word is </stream:stream>.
        self._pending.append(self.stream.outgoing())
        data = b"".join(self._pending)
        self._pending.clear()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
            self.out_size += len(data)

    def fail(self, condition: str, text: str) -> None:
        """End the stream with a stream error (RFC 6120 §4.9) and close."""
        self.failure = self.failure or self.stream.fail(condition, text)
        self.flush()
        self._linger()

    def close(self) -> None:
        """End the stream in good order (RFC 6120 §4.4) and close."""
        self.stream.close()
        self.flush()
        self._close()

    def finish(self) -> None:
        """End the stream in good order, and hear until the peer has ended it too, for a while."""
        self.stream.finish()
        self.flush()
        if self._transport is not None and self._closing is None:
            self._closing = asyncio.get_running_loop().call_later(CLOSING, self.abort)

    def abort(self) -> None:
        """Close now, whatever is unwritten."""
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Read nothing for a while."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _linger(self) -> None:
        """Close our side only, and throw away what the peer still sends, for a while.

        To close with unread bytes resets the connection, and takes with it what the peer has not
        read yet: the reason why.
        """
        transport = self._transport
        if transport is None or transport.is_closing() or not transport.can_write_eof():
            self._close()
            return
        if not self._lingering:
            self._lingering = True
            transport.write_eof()
            transport.resume_reading()
            if self._closing is None:
                loop = asyncio.get_running_loop()
                self._closing = loop.call_later(CLOSING, transport.abort)
        self._lose()

    def _close(self) -> None:
        """Let what is written reach the peer, for a while; for the owner it ends now."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            if self._closing is None:
                loop = asyncio.get_running_loop()
                self._closing = loop.call_later(CLOSING, self._transport.abort)
        self._lose()

    def _lose(self) -> None:
        if not self._lost:
            self._lost = True
            self.owner.lost(self)


def _address(peername: object) -> str:
    if isinstance(peername, tuple):
        return f"{peername[0]}:{peername[1]}"
    return str(peername or "")
