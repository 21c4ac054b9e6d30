"""Keeps one connection to the XMPP server, for one component JID, whatever happens.

    CONNECTING ──▶ UP ──▶ DOWN   the server is away: back off, try again
               ├─▶ STANDBY     <conflict/>: another balancer has the JID: take over when it leaves
               ├─▶ REFUSED     <not-authorized/>, <host-unknown/>: the configuration is wrong
               └─▶ DOWN

Between attempts it waits with exponential back-off and full jitter, so that a thousand clients of
one restarted server do not all come back in the same instant.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import Counter
from enum import Enum
from typing import Final, Protocol

import structlog

from balancer.config import ComponentConfig, ServerConfig
from balancer.framing import Framer
from balancer.link import Link
from balancer.stream import Established, Event, Failed, Initiator

log = structlog.get_logger("connector")

#: Longest pause on standby, in seconds: it is how long nobody serves when the active one dies.
STANDBY_MAX: Final = 5.0

_REFUSALS: Final = frozenset({"not-authorized", "host-unknown"})


class LinkState(Enum):
    """What the link to the server is doing."""

    CONNECTING = "connecting"
    UP = "up"
    STANDBY = "standby"
    REFUSED = "refused"
    DOWN = "down"


class ConnectorOwner(Protocol):
    """Who hears of the link to the server."""

    def server_changed(self, state: LinkState) -> None:
        """The link is in another state."""

    def server_received(self, events: list[Event]) -> None:
        """What the server sent, while the link is up."""

    def server_full(self) -> None:
        """The server does not read as fast as we write."""

    def server_room(self) -> None:
        """The server has caught up."""


def back_off(attempt: int, shortest: float, longest: float) -> float:
    """Seconds to wait before attempt number ``attempt`` (from 0): full jitter."""
    return random.uniform(0, min(longest, shortest * 2.0 ** min(attempt, 32)))


class Tally:
    """What is counted of a component's connections to its server, one after another."""

    def __init__(self) -> None:
        self.attempts = 0
        self.failures: Counter[str] = Counter()  # of attempts, by reason
        self.disconnects: Counter[str] = Counter()  # by reason
        self.last_connect: float | None = None  # seconds since the epoch
        self.in_size = 0  # bytes from the server, on connections that have ended
        self.out_size = 0

    def __repr__(self) -> str:
        return f"<Tally {self.attempts} attempts>"


class Connector:
    """The connection of one component to the server.

    Args:
        component: whose JID and secret are used.
        server: where the server is, and how to deal with it.
        owner: hears what happens.
        tally: goes on counting where another connector was.
    """

    def __init__(
        self,
        component: ComponentConfig,
        server: ServerConfig,
        owner: ConnectorOwner,
        tally: Tally | None = None,
    ) -> None:
        self.state = LinkState.CONNECTING
        self.reason = ""
        self.link: Link | None = None
        self._component = component
        self._server = server
        self._owner = owner
        self._attempt = 0
        self._closing = False
        self._reported: tuple[LinkState, str] | None = None
        self.since = time.monotonic()  # in this state
        self.tally = tally if tally is not None else Tally()
        self._host = server.host
        self._port = server.port

    @property
    def address(self) -> str:
        """Where the server is."""
        return f"{self._host}:{self._port}"

    def __repr__(self) -> str:
        return f"<Connector {self._component.jid} {self.state.value} {self._host}:{self._port}>"

    async def run(self) -> None:
        """Connect, stay connected, connect again; until cancelled."""
        while True:
            await self._connect_once()
            await asyncio.sleep(self._pause())

    async def finish(self, seconds: float) -> None:
        """End the stream to the server, and hear what it still has to say, for so many seconds.

        Its owner must not write any more.
        """
        self._closing = True
        link = self.link
        if link is not None:
            link.finish()
            await asyncio.wait({link.closed}, timeout=seconds)
            link.abort()

    # One attempt.

    async def _connect_once(self) -> None:
        if self.state is not LinkState.STANDBY:  # on standby it stays so until it has taken over
            self._enter(LinkState.CONNECTING)
        self.tally.attempts += 1
        framer = Framer(self._server.max_stanza_size)
        secret = self._component.secret.get_secret_value()
        stream = Initiator(self._component.jid, secret, framer)
        stream.open()
        loop = asyncio.get_running_loop()
        link = Link(stream, self)
        try:
            async with asyncio.timeout(self._server.connect_timeout):
                await loop.create_connection(lambda: link, self._host, self._port)
        except (OSError, TimeoutError) as error:
            self.tally.failures[_in_a_word(error)] += 1
            self._end(LinkState.DOWN, _reason(error))
            return
        if not link.closed.done():  # it may have ended before we got here
            self.link = link
        handshake = loop.call_later(self._server.connect_timeout, self._no_handshake, link)
        try:
            await self._keep_alive(link)
        finally:
            handshake.cancel()
            link.abort()

    async def _keep_alive(self, link: Link) -> None:
        # White space counts as life to every server (RFC 6120 §4.6.1), and costs one byte.
        while True:
            done, _ = await asyncio.wait({link.closed}, timeout=self._server.keepalive)
            if done:
                return
            link.send(b" ")
            link.flush()

    def _no_handshake(self, link: Link) -> None:
        if self.state is not LinkState.UP:
            link.fail("connection-timeout", "the server did not answer the handshake")

    def _pause(self) -> float:
        attempt = self._attempt
        self._attempt += 1
        shortest, longest = self._server.backoff_min, self._server.backoff_max
        if self.state is LinkState.REFUSED:
            shortest = self._server.refused_backoff_min
        elif self.state is LinkState.STANDBY:
            longest = min(longest, STANDBY_MAX)
        return back_off(attempt, shortest, longest)

    # What the link tells.

    def received(self, link: Link, events: list[Event]) -> None:
        if events and type(events[0]) is Established:
            self._attempt = 0
            self._enter(LinkState.UP)
            events = events[1:]
        if events:
            self._owner.server_received(events)

    def full(self, link: Link) -> None:
        self._owner.server_full()

    def room(self, link: Link) -> None:
        self._owner.server_room()

    def lost(self, link: Link) -> None:
        self.link = None
        self.tally.in_size += link.in_size
        self.tally.out_size += link.out_size
        failure = link.failure
        if self.state is LinkState.UP:
            self.tally.disconnects["local" if self._closing else _how_it_ended(failure)] += 1
        elif not self._closing:
            self.tally.failures[_why_it_failed(failure)] += 1
        if self._closing:
            self.reason = "closed by us"
            self._enter(LinkState.DOWN)
        elif failure is None:
            self._end(LinkState.DOWN, "the server closed the connection")
        elif failure.condition == "conflict":
            self._end(LinkState.STANDBY, "another connection has this JID")
        elif failure.condition in _REFUSALS:
            self._end(LinkState.REFUSED, str(failure))
        else:
            self._end(LinkState.DOWN, str(failure))

    def _enter(self, state: LinkState) -> None:
        if state is self.state:
            return
        self.state = state
        self.since = time.monotonic()
        if state is LinkState.UP:
            self.tally.last_connect = time.time()
            self.reason = ""
            self._reported = None
            log.info("the server has accepted the handshake", component=self._component.jid)
        self._owner.server_changed(state)

    def _end(self, state: LinkState, reason: str) -> None:
        if (state, reason) != self._reported:  # the same news is told once, not at every attempt
            self._reported = (state, reason)
            level = log.error if state is LinkState.REFUSED else log.warning
            level(
                f"server link {state.value}",
                component=self._component.jid,
                server=self.address,
                reason=reason,
            )
        self.reason = reason
        self._enter(state)


# Reasons in a word, for the counters: few, and known beforehand.


def _in_a_word(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    return "dns" if isinstance(error, socket.gaierror) else "refused"


def _why_it_failed(failure: Failed | None) -> str:
    """Why a connection did not come so far that the handshake was accepted."""
    if failure is None:
        return "stream_error"
    own_words = {"connection-timeout": "timeout", "conflict": "conflict"}
    words = own_words | {refusal: refusal.replace("-", "_") for refusal in _REFUSALS}
    return words.get(failure.condition, "stream_error")


def _how_it_ended(failure: Failed | None) -> str:
    """Why the server's stream is over that was in use."""
    if failure is None:
        return "remote"
    if failure.by_peer:
        return "stream_error"
    return "timeout" if failure.condition == "connection-timeout" else "parse_error"


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    return str(error) or type(error).__name__
