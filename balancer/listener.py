"""Where backends connect: one port for every component."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

import structlog

from balancer.config import ListenConfig
from balancer.errors import BalancerError
from balancer.framing import Framer
from balancer.link import Link
from balancer.stream import Acceptor, Credential, Event, Failed, Introduced

log = structlog.get_logger("listener")


class ListenError(BalancerError):
    """The address that backends should connect to cannot be used."""


class Gate(Protocol):
    """Who lets backends in."""

    def introduced(self, link: Link, who: Introduced) -> None:
        """A backend knows a secret.  Welcome it and own the link from now on, or refuse it."""


class Listener:
    """Accepts backends until they have said who they are.

    Args:
        config: the address, and what a backend may send.
        components: by component JID, the secrets that open it.
        gate: takes over what has introduced itself.
    """

    def __init__(
        self,
        config: ListenConfig,
        components: Mapping[str, tuple[Credential, ...]],
        gate: Gate,
    ) -> None:
        self._config = config
        self.components = components
        self._gate = gate
        self._server: asyncio.Server | None = None
        self._strangers: dict[Link, asyncio.TimerHandle] = {}
        self.refused: Counter[str] = Counter()  # by condition; before anybody was let in

    def __repr__(self) -> str:
        return f"<Listener {self._config.host}:{self._config.port}>"

    @property
    def port(self) -> int:
        """The port that is listened on; with port 0 in the configuration, the one we got."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen.

        Raises:
            ListenError: the address is taken, or not ours.
        """
        host, port = self._config.host, self._config.port
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._accept, host, port, backlog=1024)
        except OSError as error:
            raise ListenError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        log.info("listening for backends", host=host, port=self.port)

    def stop(self) -> None:
        """Accept nobody any more; who is in stays in."""
        if self._server is not None:
            self._server.close()
        for link in list(self._strangers):
            link.fail("system-shutdown", "the balancer is stopping")

    def _accept(self) -> Link:
        framer = Framer(self._config.max_stanza_size, self._config.max_depth)
        link = Link(Acceptor(self.components, framer), self)
        self._strangers[link] = asyncio.get_running_loop().call_later(
            self._config.handshake_timeout, self._too_slow, link
        )
        return link

    def _too_slow(self, link: Link) -> None:
        self.refused["connection-timeout"] += 1
        link.fail("connection-timeout", "no handshake in time")

    # What links tell until the gate owns them.

    def received(self, link: Link, events: list[Event]) -> None:
        for position, event in enumerate(events):
            match event:
                case Introduced() if not link.stream.is_closed():
                    self._strangers.pop(link).cancel()
                    self._gate.introduced(link, event)
                    rest = events[position + 1 :]
                    if rest:
                        link.owner.received(link, rest)
                    return
                case Failed():
                    self.refused["by-peer" if event.by_peer else event.condition] += 1
                    log.warning("backend refused", peer=link.peer, reason=str(event))
                case _:
                    pass

    def full(self, link: Link) -> None:
        """Nothing is written to strangers that could fill a buffer."""

    def room(self, link: Link) -> None:
        """See `full`."""

    def lost(self, link: Link) -> None:
        timer = self._strangers.pop(link, None)
        if timer is not None:
            timer.cancel()
