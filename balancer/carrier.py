"""Carries out what was decided: who is on which link, and one write per destination."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

import structlog

from balancer.counts import Counts
from balancer.decisions import (
    Administer,
    Answer,
    Changed,
    Close,
    Decision,
    Drop,
    Forward,
    Refuse,
    Tell,
)
from balancer.histogram import Histogram
from balancer.link import Link
from balancer.pool import Backend
from balancer.stanza import Stanza

log = structlog.get_logger("component")

#: So many destinations, and a read has but a stanza or two for each: then several reads are
#: written together, if they follow each other.
MANY: Final = 64
READS: Final = 32

#: Seconds that what is to be written may wait for another read.
PATIENCE: Final = 0.04

#: Names whose last error is remembered.
MAX_ERRORS: Final = 1000


class Read(NamedTuple):
    """What one read brought: when it was complete, its stanzas, and where their time counts."""

    at: float
    stanzas: int
    time: Histogram


class Carrier:
    """The links of one component.

    Args:
        jid: the component's, for the log.
        counts: where refusals are counted.
        administer: does what an administrator asks, and what follows.
    """

    def __init__(
        self, jid: str, counts: Counts, administer: Callable[[Stanza], None] = lambda _: None
    ) -> None:
        self.jid = jid
        self._counts = counts
        self._administer = administer
        self.server: Link | None = None
        self.last_errors: dict[str, str] = {}  # by a backend's name
        self._links: dict[Backend, Link] = {}
        self._backends: dict[Link, Backend] = {}
        self._dirty: list[Link] = []
        self._reads: list[Read] = []  # what waits to be written has come with
        self._together = 0  # reads that wait to be written together
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Carrier {self.jid} {len(self._links)} backends>"

    def __iter__(self) -> Iterator[tuple[Backend, Link]]:
        return iter(list(self._links.items()))

    def backend(self, link: Link) -> Backend | None:
        """Who is on a link, if anybody still is."""
        return self._backends.get(link)

    def link(self, backend: Backend) -> Link | None:
        """The link of a backend, if it still has one."""
        return self._links.get(backend)

    def add(self, backend: Backend, link: Link) -> None:
        """A backend is on this link."""
        self._links[backend] = link
        self._backends[link] = backend

    def remove(self, backend: Backend) -> Link:
        """Write nothing more to a backend."""
        link = self._links.pop(backend)
        del self._backends[link]
        return link

    def note_error(self, backend: Backend, text: str) -> None:
        """Remember what went wrong with a backend last, for those who ask."""
        self.last_errors.pop(backend.name, None)
        self.last_errors[backend.name] = text
        if len(self.last_errors) > MAX_ERRORS:
            del self.last_errors[next(iter(self.last_errors))]

    def carry_out(
        self, decisions: Iterable[Decision], read: Read | None = None, *, more: bool = False
    ) -> None:
        """Do what was decided, in order.

        Args:
            decisions: what is to be done.
            read: what it was decided for.
            more: whether another read is likely to follow at once.
        """
        if read is not None:
            self._reads.append(read)
        links = self._links
        asked: list[Stanza] = []
        for decision in decisions:
            if type(decision) is Forward:  # nearly all of them
                backend, data = decision
                link = self.server if backend is None else links.get(backend)
                if link is None:
                    log.error("nobody to write to", component=self.jid, decision=decision)
                elif link.send(data):
                    self._dirty.append(link)
            elif type(decision) is Answer or type(decision) is Tell:
                self._write(decision)
            elif type(decision) is Administer:
                asked.append(decision.stanza)
            else:
                self._act(decision)
        # Last, since what follows from it, a barrier for one, must not overtake what was decided.
        for stanza in asked:
            self._administer(stanza)
        if more and len(self._dirty) >= MANY and self._together < READS:
            self._together += 1
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(PATIENCE, self.flush)
        else:
            self.flush()

    def flush(self) -> None:
        """Write all that is to be written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._together = 0
        dirty, self._dirty = self._dirty, []
        for link in dirty:
            link.flush()
        if self._reads:
            now = time.monotonic()
            for at, stanzas, histogram in self._reads:
                histogram.observe(now - at, stanzas)
            self._reads.clear()

    def _write(self, decision: Answer | Tell) -> None:
        backend = decision.backend
        link = self.server if backend is None else self._links.get(backend)
        if backend is not None and backend.closing:
            return  # our last word to it is said
        if link is None:
            log.error("nobody to write to", component=self.jid, decision=decision)
        elif link.send(decision.data):
            self._dirty.append(link)

    def _act(self, decision: Decision) -> None:
        match decision:
            case Refuse(backend, condition, text):
                self._counts.refused[condition] += 1
                self.note_error(backend, f"{condition}: {text}")
                log.warning(
                    "backend refused",
                    component=self.jid,
                    backend=backend.name,
                    condition=condition,
                    reason=text,
                )
                link = self._links.get(backend)
                if link is not None:
                    link.fail(condition, text)
            case Close(backend):
                link = self._links.get(backend)
                if link is not None:
                    link.finish()
            case Changed(backend, why):
                log.info(
                    "backend state",
                    component=self.jid,
                    backend=backend.name,
                    state=backend.state,
                    reason=why,
                )
            case Drop(_, reason):
                log.debug("let go", component=self.jid, reason=reason)


def how_it_ended(backend: Backend, link: Link) -> str:
    """In a word, for the counters: closed and drained is good order, everything else is not."""
    if link.failure is not None:
        return "stream_error" if link.failure.by_peer else "refused"
    if backend.closing:
        return "drained"
    return "closed" if link.stream.is_closed() else "lost"
