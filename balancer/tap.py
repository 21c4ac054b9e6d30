"""Stanzas as they pass, for somebody who listens; nothing at all for nobody.

While somebody listens, stanzas are decided about one by one, so that what became of each can be
told; otherwise a read is decided about as a whole (see `batch`).  Who listens too slowly misses
some, and is told how many: a tap never holds up what it looks at.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import structlog
from lxml import etree

from balancer.decisions import Administer, Answer, Decision, Drop, Forward, Refuse
from balancer.errors import BalancerError
from balancer.pool import Backend
from balancer.router import Router
from balancer.stanza import ACCEPT_NS, Stanza, bare, domain
from balancer.tree import parsed

log = structlog.get_logger("tap")

#: Stanzas that may wait for one who listens.
WAITING: Final = 1000

#: Bytes of their bodies that may wait too.
WAITING_SIZE: Final = 4 << 20

#: Namespaces that an expression may use by these prefixes.
PREFIXES: Final = {
    "c": ACCEPT_NS,
    "caps": "http://jabber.org/protocol/caps",
    "commands": "http://jabber.org/protocol/commands",
    "disco": "http://jabber.org/protocol/disco#info",
    "items": "http://jabber.org/protocol/disco#items",
    "muc": "http://jabber.org/protocol/muc",
    "ping": "urn:xmpp:ping",
    "pubsub": "http://jabber.org/protocol/pubsub",
    "receipts": "urn:xmpp:receipts",
    "version": "jabber:iq:version",
    "x": "jabber:x:data",
}


class TapError(BalancerError):
    """An XPath expression cannot be used."""


class Seen(NamedTuple):
    """One stanza that passed, and what became of it.

    ``time`` is in seconds since the epoch, ``children`` are the stanza's, as names and namespaces,
    ``size`` is in bytes.  Where bodies are not wanted, the stanza has no ``data``.
    """

    time: float
    inward: bool
    stanza: Stanza
    backend: str | None
    outcome: str
    children: tuple[str, ...]
    size: int


class Tap:
    """What one listener wants to see; what is not given is not asked for.

    Args:
        jid: sender or recipient: an address, a bare JID or a domain.
        kind: ``message``, ``presence`` or ``iq``.
        backend: the name of the backend it goes to or comes from.
        xpath: an XPath 1.0 expression, evaluated at the stanza; see `PREFIXES`.
        bodies: whether the stanzas themselves are wanted.

    Raises:
        TapError: the expression cannot be used.
    """

    def __init__(
        self,
        jid: str | None = None,
        kind: str | None = None,
        backend: str | None = None,
        xpath: str | None = None,
        bodies: bool = False,
    ) -> None:
        self.missed = 0
        self.bodies = bodies
        self._room = WAITING_SIZE
        self._jid = jid
        self._kind = kind
        self._backend = backend
        self._xpath = _compiled(xpath) if xpath is not None else None
        self._seen: asyncio.Queue[Seen | None] = asyncio.Queue(WAITING)

    def __repr__(self) -> str:
        return f"<Tap {self._seen.qsize()} waiting {self.missed} missed>"

    async def next(self) -> Seen | None:
        """The next stanza that fits; ``None`` when there will be no more."""
        seen = await self._seen.get()
        if seen is not None:
            self._room += len(seen.stanza.data)
        return seen

    def end(self) -> None:
        """There will be no more: what is not read yet is not told."""
        while not self._seen.empty():
            self._seen.get_nowait()
        self._seen.put_nowait(None)

    def show(self, seen: Seen, element: etree._Element) -> None:
        """Keep a stanza for the listener, if it fits."""
        stanza = seen.stanza
        if self._kind not in (None, stanza.kind) or self._backend not in (None, seen.backend):
            return
        if not (_fits(self._jid, stanza.sender) or _fits(self._jid, stanza.to)):
            return
        if self._xpath is not None and not self._matches(element):
            return
        if not self.bodies:
            seen = seen._replace(stanza=stanza._replace(data=b""))
        size = len(seen.stanza.data)
        if self._seen.full() or size > self._room:
            self.missed += 1
            return
        self._room -= size
        self._seen.put_nowait(seen)

    def _matches(self, element: etree._Element) -> bool:
        assert self._xpath is not None
        try:
            return bool(self._xpath(element))
        except etree.XPathError:  # a function that does not fit what it is given
            return False


class Taps:
    """Everybody who listens to one component; empty when there is nobody."""

    def __init__(self) -> None:
        self._taps: list[Tap] = []

    def __repr__(self) -> str:
        return f"<Taps {len(self._taps)}>"

    def __len__(self) -> int:
        return len(self._taps)

    def end(self) -> None:
        """The component goes, and with it what there is to see."""
        for tap in self._taps:
            tap.end()

    @contextmanager
    def listening(self, tap: Tap) -> Iterator[Tap]:
        """Somebody listens for so long."""
        self._taps.append(tap)
        try:
            yield tap
        finally:
            self._taps.remove(tap)

    def from_server(self, router: Router, stanzas: Iterable[Stanza], now: float) -> list[Decision]:
        """Decide as `Router.from_server` does about each, and show it."""
        decisions: list[Decision] = []
        for stanza in stanzas:
            verdict = router.from_server(stanza, now)
            to = next((d.backend for d in verdict if type(d) is Forward), None)
            self._show(stanza, to, verdict, inward=True)
            decisions += verdict
        return decisions

    def from_backend(
        self, router: Router, backend: Backend, stanzas: Iterable[Stanza], now: float
    ) -> list[Decision]:
        """Decide as `Router.from_backend` does about each, and show it."""
        decisions: list[Decision] = []
        for stanza in stanzas:
            verdict = router.from_backend(backend, stanza, now)
            if stanza.to != router.delivery.identity:  # answers to our checks are nobody's business
                self._show(stanza, backend, verdict, inward=False)
            decisions += verdict
            if verdict and type(verdict[0]) is Refuse:
                break
        return decisions

    def _show(
        self, stanza: Stanza, backend: Backend | None, verdict: list[Decision], *, inward: bool
    ) -> None:
        try:
            element = parsed(stanza)
        except ValueError as error:  # nothing here may harm what passes
            log.warning("a stanza that cannot be shown", reason=str(error))
            return
        children = tuple(_name(child) for child in element.iterchildren("*"))
        name = backend.name if backend else None
        outcome = _outcome(verdict, inward)
        size = len(stanza.data)
        seen = Seen(time.time(), inward, stanza, name, outcome, children, size)
        for tap in self._taps:
            tap.show(seen, element)


def _compiled(expression: str) -> etree.XPath:
    try:
        made = etree.XPath(expression, namespaces=PREFIXES)
        made(etree.Element("nothing"))  # an unknown prefix is found only then
        return made
    except (etree.XPathError, ValueError) as error:
        raise TapError(f"the XPath expression cannot be used: {error}") from None


def _fits(wanted: str | None, address: str | None) -> bool:
    if wanted is None:
        return True
    return address is not None and wanted in (address, bare(address), domain(address))


def _name(element: etree._Element) -> str:
    name = etree.QName(element)
    foreign = name.namespace not in (None, ACCEPT_NS)
    return f"{name.localname} {name.namespace}" if foreign else name.localname


def _outcome(verdict: list[Decision], inward: bool) -> str:
    """What became of a stanza, in a word or two."""
    for decision in verdict:
        match decision:
            case Forward(backend, _) if (backend is not None) == inward:
                return "forwarded"
            case Answer(_, _, reason):
                return f"answered: {reason}"
            case Refuse(_, condition, _):
                return f"refused: {condition}"
            case Drop(_, reason):
                return f"let go: {reason}"
            case Administer():
                return "answered: admin"
            case _:
                pass
    return "held"
