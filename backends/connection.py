"""A component's connection that comes back: to one balancer or several, losing nothing it sends.

What is sent without a connection waits in the outbox, and goes out in order when there is one.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast
from xml.etree.ElementTree import Element
from xml.sax.saxutils import quoteattr

import structlog
from slixmpp import ComponentXMPP, Iq
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.stanza.rootstanza import RootStanza
from slixmpp.xmlstream import StanzaBase

from backends.errors import StanzaError, received
from backends.outbox import Outbox
from backends.reconnecting import Address, Attempts, address
from backends.tracing import Trace
from backends.xml import cleanse, is_too_large, loses_attributes, written

log = structlog.get_logger("backend")

ACCEPT_NS: Final = "jabber:component:accept"
_STREAM_ERROR_NS: Final = "urn:ietf:params:xml:ns:xmpp-streams"

#: Seconds for a connection and its handshake, and for an answer to a request.
CONNECT: Final = 10.0
REQUEST: Final = 30.0


#: Seconds and numbers of TCP's probes, and milliseconds for what is sent to be acknowledged.
_KEEPALIVE: Final = {
    "TCP_KEEPIDLE": 30,
    "TCP_KEEPINTVL": 10,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 60_000,
}


class Connection(ComponentXMPP):
    """A slixmpp component that stays connected.

    Args:
        jid: the component's JID.
        secret: its secret.
        servers: ``HOST:PORT`` of balancers, tried in turn, or of a server.
        name: the resource in the stream header's ``to``: a balancer knows a backend by it.

    Raises:
        ValueError: a server's address is none.
    """

    def __init__(self, jid: str, secret: str, servers: Sequence[str], name: str | None) -> None:
        super().__init__(jid, secret)
        # slixmpp would not quote it.
        to = quoteattr(f"{jid}/{name}" if name else jid)
        self.stream_header = (
            f"<stream:stream xmlns='{ACCEPT_NS}' xmlns:stream='{self.stream_ns}' to={to}>"
        )
        self.name = name
        self.online = False
        self.returns = True  # whether it connects again when the connection is lost
        self.outbox = Outbox()
        self.trace = Trace()
        self.counts: Counter[str] = Counter()
        self.asking = 0  # requests of our own that wait for their answers
        self.attempts = Attempts([address(each) for each in servers])
        self.offline = asyncio.Event()
        self.offline.set()
        self._condition: str | None = None
        self._where: Address | None = None
        self.add_event_handler("session_start", self._started)
        self.add_event_handler("stream_error", self._stream_error)
        self.add_event_handler("connection_failed", self._connection_failed)

    def on(self, event: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Subscribe to an event of the connection.

        Args:
            event: one of slixmpp's, such as ``session_start``, ``connection_failed``,
                ``disconnected``, ``stream_error``, ``stanza_not_sent``; or ``draining``.
        """

        def decorate(handler: Callable[..., Any]) -> Callable[..., Any]:
            self.add_event_handler(event, handler)
            return handler

        return decorate

    # Coming and going.

    async def stay_connected(self) -> None:
        """Connect, and connect again, while `returns` is true."""
        while self.returns:
            where, pause = self.attempts.next()
            await asyncio.sleep(pause)
            await self._connect_once(where)

    async def _connect_once(self, where: Address) -> None:
        """One connection, from the attempt to its end."""
        self._condition = None
        self._where = where
        self.offline.clear()
        self.connect(where.host, where.port)
        try:
            async with asyncio.timeout(CONNECT):
                await _first(self.offline.wait(), self.session_bind_event.wait())
        except TimeoutError:
            self.cancel_connection_attempt()
            if self.transport is not None:
                self.abort()
                await self.offline.wait()  # its end must not be taken for that of the next
        if not self.online:
            self.attempts.failed(self._condition)
            self.counts["connection failed"] += 1
            return
        began = time.monotonic()
        log.info("connected", server=str(where), jid=self.boundjid.bare, backend=self.name)
        await self.offline.wait()
        self.attempts.ended(time.monotonic() - began, self._condition)
        log.info("disconnected", server=str(where), reason=self._condition or "closed")

    async def leave(self) -> None:
        """Disconnect for good, and leave nothing in the event loop."""
        self.cancel_connection_attempt()
        if self.transport is not None:
            await self.disconnect(wait=1.0)
        if self._run_out_filters is not None:
            self._run_out_filters.cancel()
            await asyncio.wait({self._run_out_filters})

    def established(self) -> None:
        """The handshake is done; what is sent here goes before what waited."""

    def _started(self, _: object) -> None:
        self.online = True
        self.counts["connected"] += 1
        self.established()
        for stanza in self.outbox.take():
            super().send(stanza)

    def _stream_error(self, error: StanzaBase) -> None:
        for child in error.xml:
            namespace, _, name = child.tag.removeprefix("{").partition("}")
            if namespace == _STREAM_ERROR_NS and name != "text":
                self._condition = name
        log.warning("stream error", **self._who(), condition=self._condition, text=error["text"])

    def _connection_failed(self, error: object) -> None:
        log.warning("no connection", **self._who(), error=str(error))
        self.cancel_connection_attempt()  # slixmpp would go on by itself, to this address alone
        self.offline.set()

    def _who(self) -> dict[str, str | None]:
        """Who we are, for the log."""
        return {"server": str(self._where), "jid": self.boundjid.bare, "backend": self.name}

    def connection_made(self, transport: asyncio.BaseTransport, send_event: bool = True) -> None:
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            # A peer that vanished without a word is noticed within a minute, not in a quarter of
            # an hour, whether we have something to send to it or not.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE.items():
                if hasattr(socket, option):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        super().connection_made(transport, send_event)

    def connection_lost(self, exception: BaseException | None) -> None:
        self.online = False
        # slixmpp throws away what it was about to write.
        unsent: list[RootStanza | str] = []
        while not self.waiting_queue.empty():
            stanza, _ = self.waiting_queue.get_nowait()
            self.waiting_queue.task_done()
            if isinstance(stanza, RootStanza | str):
                unsent.append(stanza)
        self.outbox.put_back(unsent)
        super().connection_lost(exception)
        self.offline.set()

    # The wire.

    def data_received(self, data: bytes | str) -> None:
        self.trace.show("in", data)
        super().data_received(data)

    def send_raw(self, data: str | bytes) -> None:
        self.trace.show("out", data)
        super().send_raw(data)

    def incoming_filter(self, xml: Element) -> Element:
        # slixmpp looks for errors in the namespace of clients, whatever the stream's is.
        xml = super().incoming_filter(xml)
        _rename_error(xml, ACCEPT_NS, "jabber:client")
        return xml

    # Sending.

    def send(self, data: StanzaBase | str, use_filters: bool = True) -> None:
        """Send a stanza, or let it wait in `outbox` for the connection.

        One without ``from`` comes from the component itself.

        Raises:
            OutboxFullError: there is no connection, and too much waits for one.
            StanzaError: it is too large.
            ValueError: it has no ``to``, or its ``from`` is somebody else's.  Each of these would
                cost the whole stream, and all that is under way on it.
        """
        if isinstance(data, RootStanza):
            cleanse(data.xml)
            self._check_addresses(data)
            _rename_error(data.xml, "jabber:client", ACCEPT_NS)
            if loses_attributes(data.xml):
                data = written(data, self)
        if isinstance(data, RootStanza | str) and is_too_large(data):
            raise StanzaError("resource-constraint", "too large for a stanza", "cancel")
        if not self.online and isinstance(data, RootStanza | str):
            self.outbox.put(data)
            self.event("stanza_not_sent", data)
            return
        super().send(data, use_filters)

    def _check_addresses(self, stanza: RootStanza) -> None:
        sender = stanza.xml.get("from", "")
        if not sender:
            stanza["from"] = self.boundjid.bare
        elif sender.partition("/")[0].rpartition("@")[2] != self.boundjid.host:
            raise ValueError(f"it is not from {self.boundjid.host}: {sender}")
        if not stanza.xml.get("to"):
            raise ValueError(f"a stanza needs `to`: {stanza}")

    async def request(self, iq: Iq, timeout: float = REQUEST) -> Iq:
        """Send a request and wait for its answer.

        Args:
            iq: of type ``get`` or ``set``.
            timeout: how many seconds to wait, with or without a connection.

        Returns:
            The result.

        Raises:
            StanzaError: the answer is an error.
            TimeoutError: there is none in time.
        """
        self.asking += 1
        self.asked()
        try:
            return cast(Iq, await iq.send(timeout=timeout))
        except IqTimeout:
            self.outbox.purge(lambda each: each is iq)
            raise TimeoutError(f"no answer from {iq['to']} in {timeout} s") from None
        except IqError as error:
            raise received(error.iq) from None
        finally:
            self.asking -= 1
            self.asked()

    def asked(self) -> None:
        """A request of our own has begun to wait for its answer, or has ended."""


def _rename_error(xml: Element, old: str, new: str) -> None:
    for child in xml:
        if child.tag == f"{{{old}}}error":
            child.tag = f"{{{new}}}error"


async def _first(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
