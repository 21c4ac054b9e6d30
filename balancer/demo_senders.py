"""Where the demo's requests come from, and who looks at what the balancer does with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from balancer import batch
from balancer.component import Component
from balancer.decisions import Decision, Forward
from balancer.demo_account import Account
from balancer.errors import BalancerError
from balancer.framing import Framer
from balancer.link import Link
from balancer.loopback import MAX_STANZA
from balancer.pool import Backend
from balancer.router import Router
from balancer.stanza import Stanza
from balancer.stream import Established, Event, Initiator

#: The component that the requests come from, on the embedded server.
CLIENT: Final = "client.demo"

#: Seconds for its handshake.
START_SECONDS: Final = 20.0


class DemoError(BalancerError):
    """The demo cannot be shown; the reason is for a person."""


class Sender:
    """The embedded server's second component: owns a link and tells the account what comes.

    Args:
        account: hears of every answer.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._link: Link | None = None
        self._up = asyncio.Event()

    async def connect(self, host: str, port: int, secret: str) -> None:
        """Become a component of the server.

        Raises:
            DemoError: it was not possible.
        """
        stream = Initiator(CLIENT, secret, Framer(MAX_STANZA))
        stream.open()
        self._link = link = Link(stream, self)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(START_SECONDS):
                await loop.create_connection(lambda: link, host, port)
                await self._up.wait()
        except (OSError, TimeoutError) as error:
            raise DemoError(f"the senders cannot connect: {error}") from error

    def send(self, data: bytes) -> None:
        """Send requests."""
        assert self._link is not None
        self._link.send(data)
        self._link.flush()

    def close(self) -> None:
        """Send no more."""
        if self._link is not None:
            self._link.close()

    # What the link tells.

    def received(self, link: Link, events: list[Event]) -> None:
        if any(isinstance(event, Established) for event in events):
            self._up.set()
        self._account.answered([event for event in events if isinstance(event, Stanza)])

    def full(self, link: Link) -> None:
        """The window is smaller than any buffer."""

    def room(self, link: Link) -> None:
        """See `full`."""

    def lost(self, link: Link) -> None:
        """What is not answered then is lost, and counted so."""


def through(component: Component) -> Callable[[bytes], None]:
    """How to send on the component's own stream to the server."""

    def send(data: bytes) -> None:
        link = component.connector.link
        if link is not None:
            link.send(data)
            link.flush()

    return send


class Observer:
    """Lets the account see whom the router chooses, and takes the answers that loop back.

    Args:
        account: what is kept.
    """

    def __init__(self, account: Account) -> None:
        self._account = account

    def __len__(self) -> int:
        return 1

    def end(self) -> None:
        """It keeps nobody waiting."""

    def from_server(self, router: Router, stanzas: Iterable[Stanza], now: float) -> list[Decision]:
        """Decide as `Router.from_server` does."""
        decisions: list[Decision] = []
        for stanza in stanzas:
            if self._account.intercepts and self._account.is_answer(stanza):
                self._account.answered([stanza])
                continue
            verdict = router.from_server(stanza, now)
            for decision in verdict:
                if isinstance(decision, Forward) and decision.backend is not None:
                    self._account.handed(stanza, decision.backend.name)
            decisions += verdict
        return decisions

    def from_backend(
        self, router: Router, backend: Backend, stanzas: Iterable[Stanza], now: float
    ) -> list[Decision]:
        """Decide as `Router.from_backend` does."""
        return batch.from_backend(router, backend, stanzas, now)
