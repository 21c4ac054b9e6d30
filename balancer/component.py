"""One component at work: carries out what its router decides.

Stanzas come in from the connector and from backends' links, go through the router, and leave in
one write per destination and read.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from typing import Final

import structlog

from balancer.config import ComponentConfig, ServerConfig
from balancer.connector import Connector, LinkState
from balancer.decisions import Answer, Decision, Drop, Forward, Refuse, Rules
from balancer.link import Link
from balancer.pool import Backend
from balancer.router import Router
from balancer.stanza import Stanza
from balancer.strategy import Strategy, strategy
from balancer.stream import Acceptor, Credential, Event, Failed, Introduced

log = structlog.get_logger("component")

#: Seconds for the last bytes to reach the server.
CLOSING: Final = 2.0


class Component:
    """The backends of one JID, and its one connection to the server.

    Args:
        config: what the operator decided for it.
        server: the server it belongs to.
    """

    def __init__(self, config: ComponentConfig, server: ServerConfig) -> None:
        self.config = config
        self.router = Router(_rules(config), _strategy(config))
        self.connector = Connector(config, server, self)
        self._links: dict[Backend, Link] = {}
        self._backends: dict[Link, Backend] = {}
        self._credentials: dict[Link, str | None] = {}
        self._weights = {each.name: each.weight for each in config.backend}
        self._dirty: list[Link] = []
        self._paused = False
        self._server_full = False
        self._connecting: asyncio.Task[None] | None = None
        self._settled: asyncio.Event | None = None

    def __repr__(self) -> str:
        return f"<Component {self.config.jid} {self.connector.state.value} {self.router.pool!r}>"

    def credentials(self) -> tuple[Credential, ...]:
        """The secrets that backends may use; those with a name come first."""
        named = [Credential(b.name, b.secret.get_secret_value()) for b in self.config.backend]
        common = self.config.backend_secret
        if common is not None:
            named.append(Credential(None, common.get_secret_value()))
        return tuple(named)

    def reconfigure(self, config: ComponentConfig) -> None:
        """Go on under another configuration; who is connected stays so, at its new weight."""
        self.config = config
        self._weights = {each.name: each.weight for each in config.backend}
        for link, backend in self._backends.items():
            backend.weight = self._weight(self._credentials[link])
        self.router.configure(_rules(config), _strategy(config))

    def tick(self) -> None:
        """Let the router see the time; called about once a second."""
        self._do(self.router.tick(time.monotonic()))
        self._balance_pressure()
        if self._settled is not None and not len(self.router.inflight):
            self._settled.set()

    async def settle(self) -> None:
        """Wait until no backend has a request that it has not answered."""
        self._settled = asyncio.Event()
        if len(self.router.inflight):
            await self._settled.wait()

    def start(self) -> None:
        """Begin to connect to the server."""
        self._connecting = asyncio.create_task(self.connector.run())
        self._connecting.add_done_callback(_report)

    async def stop(self) -> None:
        """Answer what is in flight, and end every stream in good order."""
        self._do(self.router.give_up(time.monotonic()))  # while backends can hear it
        for backend, link in list(self._links.items()):
            self._leave(backend, link)
            link.close()
        self._do(self.router.give_up(time.monotonic()))  # what the last of them had left
        await self._disconnect()

    async def connect_anew(self, server: ServerConfig) -> None:
        """Leave the server for another, or come back under another secret."""
        await self._disconnect()
        self.router.server_down()
        self.connector = Connector(self.config, server, self)
        self.start()

    async def _disconnect(self) -> None:
        link = self.connector.link
        self.connector.close()
        if link is not None:  # let it write what it has, for a moment
            await asyncio.wait({link.closed}, timeout=CLOSING)
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})

    # Backends.

    def introduced(self, link: Link, who: Introduced) -> None:
        """Let a backend in that knows the secret; see DESIGN §3.3 for its name."""
        if self.connector.state is LinkState.STANDBY:
            link.fail("remote-connection-failed", self._on_standby())
            return
        name = self.router.pool.name_for(who.name, who.credential)
        old = self.router.pool.get(name)
        if old is not None:
            # A half-open relic nine times in ten: the newcomer is the live one.
            relic = self._links[old]
            self._leave(old, relic)
            relic.fail("conflict", f"replaced by a new connection named {name}")
        backend = Backend(name, self._weight(who.credential))
        assert isinstance(link.stream, Acceptor)
        link.stream.welcome()
        link.owner = self
        self._links[backend] = link
        self._backends[link] = backend
        self._credentials[link] = who.credential
        self._dirty.append(link)
        if self._server_full:
            link.pause()
        log.info("backend joined", component=self.config.jid, backend=name, peer=link.peer)
        self._do(self.router.join(backend, time.monotonic()))

    def received(self, link: Link, events: list[Event]) -> None:
        backend = self._backends.get(link)
        if backend is None:  # it was replaced while it spoke
            return
        now = time.monotonic()
        decisions: list[Decision] = []
        for event in events:
            if type(event) is Stanza:
                verdict = self.router.from_backend(backend, event, now)
                decisions += verdict
                if verdict and type(verdict[0]) is Refuse:
                    break
            elif type(event) is Failed:
                log.warning(
                    "backend stream error",
                    component=self.config.jid,
                    backend=backend.name,
                    reason=str(event),
                    by_backend=event.by_peer,
                )
            elif not link.stream.is_closed():
                decisions.append(
                    Refuse(backend, "unsupported-stanza-type", "not message, presence or iq")
                )
                break
        self._do(decisions)

    def full(self, link: Link) -> None:
        backend = self._backends.get(link)
        if backend is not None:
            self.router.full(backend)

    def room(self, link: Link) -> None:
        backend = self._backends.get(link)
        if backend is not None:
            self._do(self.router.room(backend, time.monotonic()))
            self._balance_pressure()

    def lost(self, link: Link) -> None:
        backend = self._backends.get(link)
        if backend is not None:
            self._leave(backend, link)

    def _leave(self, backend: Backend, link: Link) -> None:
        del self._links[backend]
        del self._backends[link]
        del self._credentials[link]
        reason = str(link.failure) if link.failure else "closed"
        log.info("backend left", component=self.config.jid, backend=backend.name, reason=reason)
        self._do(self.router.leave(backend, time.monotonic()))

    def _weight(self, credential: str | None) -> int:
        return self._weights.get(credential or "", self.config.weight)

    # The server.

    def server_received(self, events: list[Event]) -> None:
        now = time.monotonic()
        decisions: list[Decision] = []
        route = self.router.from_server
        for event in events:
            if type(event) is Stanza:
                decisions += route(event, now)
        self._do(decisions)
        self._balance_pressure()

    def server_changed(self, state: LinkState) -> None:
        if state is LinkState.UP:
            self.server_room()
            self._do(self.router.server_up(time.monotonic()))
            return
        self.router.server_down()
        self._paused = False  # a new link begins unpaused
        self.server_room()  # what they send now is held, within bounds
        if state is LinkState.STANDBY:
            # A backend that knows several addresses will find the balancer that is active.
            for link in list(self._backends):
                link.fail("remote-connection-failed", self._on_standby())  # and so it leaves

    def server_full(self) -> None:
        self._server_full = True
        for link in self._backends:
            link.pause()

    def server_room(self) -> None:
        self._server_full = False
        for link in self._backends:
            link.resume()

    def _on_standby(self) -> str:
        return f"this balancer stands by: another one serves {self.config.jid}"

    def _balance_pressure(self) -> None:
        """Read from the server unless nobody could take it (DESIGN §3.6).

        What is held expires within ``queue_timeout``, so a pause is short enough for Prosody,
        which drops a component that leaves it unwritable for 180 s.
        """
        link = self.connector.link
        if link is None:
            self._paused = False
            return
        crowded = self.router.crowded()
        if crowded and not self._paused:
            link.pause()
        elif self._paused and not crowded:
            link.resume()
        self._paused = crowded

    # Doing what was decided.

    def _do(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            if type(decision) is Forward or type(decision) is Answer:
                backend = decision.backend
                link = self.connector.link if backend is None else self._links.get(backend)
                if link is None:
                    log.error("nobody to write to", component=self.config.jid, decision=decision)
                elif link.send(decision.data):
                    self._dirty.append(link)
            elif type(decision) is Refuse:
                log.warning(
                    "backend refused",
                    component=self.config.jid,
                    backend=decision.backend.name,
                    condition=decision.condition,
                    reason=decision.text,
                )
                link = self._links.get(decision.backend)
                if link is not None:
                    link.fail(decision.condition, decision.text)
            elif type(decision) is Drop:
                log.debug("dropped", component=self.config.jid, reason=decision.reason)
        dirty, self._dirty = self._dirty, []
        for link in dirty:
            link.flush()


def _report(task: asyncio.Task[None]) -> None:
    """A connector ends only when it is told to; anything else is a defect that must be seen."""
    if not task.cancelled() and task.exception() is not None:
        log.critical("the connector failed", exc_info=task.exception())
        raise SystemExit(1)


def _strategy(config: ComponentConfig) -> Strategy:
    return strategy(config.strategy, random.random)


def _rules(config: ComponentConfig) -> Rules:
    return Rules(
        jid=config.jid,
        affinity=config.affinity,
        spill=config.when_full == "spill",
        queue_size=config.queue_size,
        queue_bytes=config.queue_bytes,
        queue_timeout=config.queue_timeout,
        iq_timeout=config.iq_timeout,
        affinity_entries=config.affinity_entries,
        affinity_ttl=config.affinity_ttl,
    )
