"""A server for components and nothing else, in this process: for trying things out.

It accepts connections as XEP-0114 says, delivers by domain, and answers what it cannot deliver.
There are no users, no other servers and no limits: what must be known of a real server is tested
on a real server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from balancer.framing import Framer
from balancer.link import Link
from balancer.stanza import Stanza, domain, error_reply
from balancer.stream import Acceptor, Credential, Event, Introduced

#: Bytes a stanza may have; Prosody's limit.
MAX_STANZA: Final = 512 * 1024

#: Seconds a peer has to take what is still to be written when the server stops.
LINGER: Final = 1.0


class Loopback:
    """The server.

    Args:
        secrets: the secret of each component, by its JID.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._components = {jid: (Credential(None, secret),) for jid, secret in secrets.items()}
        self._bound: dict[str, Link] = {}
        self._links: set[Link] = set()
        self._server: asyncio.Server | None = None

    def __repr__(self) -> str:
        return f"<Loopback {' '.join(self._bound) or 'empty'}>"

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        """End every stream and stop listening."""
        if self._server is not None:
            self._server.close()
        links = list(self._links)
        for link in links:
            link.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                await asyncio.gather(*(link.closed for link in links))
        for link in list(self._links):
            link.abort()

    def _accept(self) -> Link:
        link = Link(Acceptor(self._components, Framer(MAX_STANZA)), self)
        self._links.add(link)
        return link

    # What links tell.

    def received(self, link: Link, events: list[Event]) -> None:
        dirty: set[Link] = set()
        for event in events:
            if isinstance(event, Stanza):
                dirty.add(self._deliver(link, event))
            elif isinstance(event, Introduced):
                self._introduced(link, event)
        for each in dirty:
            each.flush()

    def full(self, link: Link) -> None:
        """A peer that reads nothing costs memory here; see the head of this file."""

    def room(self, link: Link) -> None:
        """See `full`."""

    def lost(self, link: Link) -> None:
        self._links.discard(link)
        for jid, bound in list(self._bound.items()):
            if bound is link:
                del self._bound[jid]

    def _introduced(self, link: Link, who: Introduced) -> None:
        if who.jid in self._bound:
            link.fail("conflict", f"{who.jid} is connected already")
            return
        assert isinstance(link.stream, Acceptor)
        link.stream.welcome()
        self._bound[who.jid] = link

    def _deliver(self, source: Link, stanza: Stanza) -> Link:
        """Hand a stanza to its recipient, or an error to its sender.

        Returns:
            The link that has something to flush.
        """
        target = self._bound.get(domain(stanza.to or ""))
        if target is not None:
            target.send(stanza.data)
            return target
        text = "no component is connected under this domain"
        error = error_reply(stanza, "cancel", "remote-server-not-found", text)
        if error is not None:
            source.send(error)
        return source
