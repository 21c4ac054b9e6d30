"""Who decides about what a read has brought: `batch`, unless somebody wants to see each stanza."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Final, Protocol, cast

from balancer import batch
from balancer.decisions import Decision
from balancer.pool import Backend
from balancer.router import Router
from balancer.stanza import Stanza


class Decider(Protocol):
    """Decides about what a read has brought: `batch`, or somebody who looks at each stanza."""

    def from_server(self, router: Router, stanzas: Iterable[Stanza], now: float) -> list[Decision]:
        """Decide about stanzas for the component."""

    def from_backend(
        self, router: Router, backend: Backend, stanzas: Iterable[Stanza], now: float
    ) -> list[Decision]:
        """Decide about stanzas of a backend."""


class Listening(Decider, Sized, Protocol):
    """One that nobody asks while nobody listens."""

    def end(self) -> None:
        """The component goes: nobody will hear any more."""


#: All of a read at once: what is asked as long as nobody listens.
BATCH: Final = cast(Decider, batch)
