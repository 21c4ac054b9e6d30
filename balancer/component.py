"""One component at work: carries out what its router decides.

Stanzas come in from the connector and from backends' links, go through the router, and leave in
one write per destination and read.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, cast

import structlog

from balancer.acknowledging import acknowledging
from balancer.carrier import Carrier, Read, how_it_ended
from balancer.config import ComponentConfig, HealthConfig, ServerConfig
from balancer.connector import Connector, LinkState, Tally
from balancer.deciding import BATCH, Decider, Listening
from balancer.decisions import FAILED, Decision, Refuse
from balancer.elements import Element
from balancer.health import Order
from balancer.link import Link
from balancer.pool import Backend, is_name
from balancer.pressure import Pressure
from balancer.router import Router
from balancer.rules import picking, rules, weight
from balancer.stanza import Stanza
from balancer.stream import Acceptor, Event, Failed, Introduced

log = structlog.get_logger("component")

#: Parts of the time to stop: for requests in flight, for the server's last words, for backends
#: to acknowledge those, and for backends' last words.
SHARES: Final = (0.55, 0.15, 0.15, 0.15)

#: Bytes of a read after which there is probably more to read.
FULL_READ: Final = 1 << 17

#: Seconds for the last bytes to reach a server that we leave for another.
CLOSING: Final = 2.0


#: Does what an administrator asks of a component, and returns the answer.
Administrator = Callable[["Component", Stanza], bytes]


class Component:
    """The backends of one JID, and its one connection to the server.

    Args:
        config: what the operator decided for it.
        server: the server it belongs to.
        health: when its backends count as well.
        administrator: does what administrators ask; without one, backends are asked.
    """

    def __init__(
        self,
        config: ComponentConfig,
        server: ServerConfig,
        health: HealthConfig,
        administrator: Administrator | None = None,
    ) -> None:
        if administrator is None:
            config = config.model_copy(update={"admins": ()})
        self._administrator = administrator
        self.config = config
        # Nobody should guess where our checks come from, and answer in a backend's place.
        resource = f"xmpp-balancer-{secrets.token_hex(4)}"
        self.router = Router(rules(config, health), picking(config), random.random, resource)
        self.tally = Tally()
        self.connector = Connector(config, server, self, self.tally)
        self.carrier = Carrier(config.jid, self.router.counts, self._administer)
        self.taps: Listening | None = None  # it decides like `batch`, and shows it
        self._credentials: dict[Backend, str | None] = {}
        self.pressure = Pressure(self.router, self.carrier)
        self._connecting: asyncio.Task[None] | None = None
        self._settled: asyncio.Event | None = None

    def __repr__(self) -> str:
        return f"<Component {self.config.jid} {self.connector.state.value} {self.router.pool!r}>"

    def reconfigure(self, config: ComponentConfig, health: HealthConfig) -> None:
        """Go on under another configuration; who is connected stays so, at its new weight."""
        self.config = config
        for backend, credential in self._credentials.items():
            backend.weight = backend.announced or weight(config, credential)
        now = time.monotonic()
        self._do(self.router.configure(rules(config, health), picking(config), now))

    def tick(self) -> None:
        """Let the router see the time; called some times a second."""
        self._do(self.router.tick(time.monotonic()))
        self._balance_pressure()
        self._look_whether_settled()

    def weigh(self, name: str, weight: int) -> None:
        """Set a backend's weight, until the next reload.

        Raises:
            KeyError: nobody of that name is there.
        """
        self._do(self.router.orders.weigh(name, weight, time.monotonic()))

    def order(self, name: str, order: Order) -> None:
        """Set what is wanted of a backend.

        Raises:
            KeyError: nobody of that name is there.
        """
        self._do(self.router.orders.order(name, order, time.monotonic()))

    def start(self) -> None:
        """Begin to connect to the server."""
        self._connecting = asyncio.create_task(self.connector.run())
        self._connecting.add_done_callback(_report)

    async def stop(self, seconds: float) -> None:
        """End every stream in good order, and lose nothing.

        New requests are answered with an error.  Those in flight may be answered, and what
        backends were sent may be acknowledged; then the rest is answered with an error.  Then the
        server is told, and backends get what it had sent before it heard that.

        Args:
            seconds: how long that may take.
        """
        answers, last_words, receipts, goodbyes = (share * seconds for share in SHARES)
        await self._settle(answers)
        await self._disconnect(last_words)
        await self._settle(receipts)
        links = [link for _, link in self.carrier]
        for backend, _ in self.carrier:
            self._do(self.router.orders.close(backend, time.monotonic()))
        if links:
            await asyncio.wait({link.closed for link in links}, timeout=goodbyes)
        for link in links:
            link.abort()
        self._do(self.router.give_up())
        if self.taps is not None:
            self.taps.end()

    async def connect_anew(self, server: ServerConfig) -> None:
        """Leave the server for another, or come back under another secret."""
        await self._disconnect(CLOSING)
        self.connector = Connector(self.config, server, self, self.tally)
        self.start()

    async def _disconnect(self, seconds: float) -> None:
        self._do(self.router.server_down(time.monotonic()))
        await self.connector.finish(seconds)
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})

    async def _settle(self, seconds: float) -> None:
        """Let backends answer and acknowledge what they have, for so long; give up the rest."""
        self._settled = asyncio.Event()
        self._do(self.router.stop(time.monotonic()))
        self._look_whether_settled()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        self._do(self.router.give_up())

    def _look_whether_settled(self) -> None:
        if self._settled is not None and self.router.is_settled():
            self._settled.set()

    # Backends.

    def introduced(self, link: Link, who: Introduced) -> None:
        """Let a backend in that knows the secret; see DESIGN §3.3 for its name."""
        if self.connector.state is LinkState.STANDBY:
            link.fail("remote-connection-failed", self._on_standby())
            return
        if who.name is not None and not is_name(who.name):
            link.fail("improper-addressing", "a name is printable, and neither . nor ..")
            return
        name = self.router.pool.name_for(who.name, who.credential)
        old = self.router.pool.get(name)
        if old is not None:
            # A half-open relic nine times in ten: the newcomer is the live one.
            relic = self._forget(old)
            old.record.disconnects["replaced"] += 1
            relic.fail("conflict", f"replaced by a new connection named {name}")
        backend = Backend(name, weight(self.config, who.credential))
        assert isinstance(link.stream, Acceptor)
        link.stream.welcome()
        link.flush()  # before the first stanza, which may be waiting for it
        link.owner = self
        self.carrier.add(backend, link)
        self._credentials[backend] = who.credential
        if self.pressure.backends:
            link.pause()
        log.info("backend joined", component=self.config.jid, backend=name, peer=link.peer)
        self._do(self.router.join(backend, time.monotonic()))

    def received(self, link: Link, events: list[Event]) -> None:
        backend = self.carrier.backend(link)
        if backend is None:  # it was replaced while it spoke
            return
        now = time.monotonic()
        backend.health.heard = now
        counts = self.router.counts
        forwarding = counts.forwarding["backend"]
        due = forwarding.due(len(events), now)
        read = Read(now, due, forwarding) if due else None
        decisions: list[Decision] = []
        if link.stream.only_stanzas():
            stanzas = cast(list[Stanza], events)
            decisions = self._decider.from_backend(self.router, backend, stanzas, now)
            events = []
        for event in events:
            verdict: list[Decision] = []
            if type(event) is Stanza:
                verdict = self._decider.from_backend(self.router, backend, [event], now)
            elif type(event) is Element:
                verdict = acknowledging(self.router, backend, event, now)
            elif type(event) is Failed:
                if not event.by_peer:  # a peer's own words have no bounds
                    counts.refused[event.condition] += 1
                self.carrier.note_error(backend, str(event))
                log.warning(
                    "backend stream error",
                    component=self.config.jid,
                    backend=backend.name,
                    reason=str(event),
                    by_backend=event.by_peer,
                )
            decisions += verdict
            if verdict and type(verdict[0]) is Refuse:
                break
        self._do(decisions, read)
        if self.pressure.upstream:
            self._balance_pressure()
        self._look_whether_settled()

    def full(self, link: Link) -> None:
        backend = self.carrier.backend(link)
        if backend is not None:
            self.router.crew.full(backend)

    def room(self, link: Link) -> None:
        backend = self.carrier.backend(link)
        if backend is not None:
            self._do(self.router.crew.room(backend, time.monotonic()))
            self._balance_pressure()

    def lost(self, link: Link) -> None:
        backend = self.carrier.backend(link)
        if backend is not None:
            self._forget(backend)
            how = how_it_ended(backend, link)
            backend.record.disconnects[how] += 1
            reason = str(link.failure) if link.failure else how
            if how == "lost":
                self.carrier.note_error(backend, "the connection was lost")
            log.info("backend left", component=self.config.jid, backend=backend.name, reason=reason)
            orderly = how in ("closed", "drained")
            self._do(self.router.crew.leave(backend, time.monotonic(), orderly=orderly))
            self._look_whether_settled()

    def _forget(self, backend: Backend) -> Link:
        del self._credentials[backend]
        link = self.carrier.remove(backend)
        backend.record.in_size += link.in_size
        backend.record.out_size += link.out_size
        return link

    # The server.

    def server_received(self, events: list[Event]) -> None:
        now = time.monotonic()
        stanzas = [event for event in events if type(event) is Stanza]
        link = self.connector.link
        self.carrier.server = link
        # A full read: there was more in the socket than fits in one.
        more = link is not None and link.last_read >= FULL_READ
        forwarding = self.router.counts.forwarding["upstream"]
        read = Read(now, forwarding.due(len(stanzas), now), forwarding)
        decisions = self._decider.from_server(self.router, stanzas, now)
        self.carrier.carry_out(decisions, read, more=more)
        self._balance_pressure()

    def server_changed(self, state: LinkState) -> None:
        if state is LinkState.UP:
            self.pressure.server_room()
            self._do(self.router.server_up(time.monotonic()))
            return
        self._do(self.router.server_down(time.monotonic()))
        self.pressure.server_gone()
        if state is LinkState.STANDBY:
            # A backend that knows several addresses will find the balancer that is active.
            for _, link in self.carrier:
                link.fail("remote-connection-failed", self._on_standby())  # and so it leaves

    def server_full(self) -> None:
        self.pressure.server_full()

    def server_room(self) -> None:
        self.pressure.server_room()

    @property
    def _decider(self) -> Decider:
        return self.taps or BATCH

    def _administer(self, stanza: Stanza) -> None:
        """Do what an administrator asks; whatever becomes of it, there is an answer."""
        assert self._administrator is not None, "the router knows of no administrators then"
        try:
            answer = self._administrator(self, stanza)
        except Exception as error:
            log.error("a command failed", component=self.config.jid, exc_info=error)
            self._do(self.router.upward.answer(stanza, FAILED, "admin"))
        else:
            self._do(self.router.administered(stanza, answer))

    def _on_standby(self) -> str:
        return f"this balancer stands by: another one serves {self.config.jid}"

    def _do(self, decisions: Iterable[Decision], read: Read | None = None) -> None:
        self.carrier.server = self.connector.link
        self.carrier.carry_out(decisions, read)

    def _balance_pressure(self) -> None:
        self.pressure.balance(self.connector.link, time.monotonic())


def _report(task: asyncio.Task[None]) -> None:
    """A connector ends only when it is told to; anything else is a defect that must be seen."""
    if not task.cancelled() and task.exception() is not None:
        log.critical("the connector failed", exc_info=task.exception())
        raise SystemExit(1)
