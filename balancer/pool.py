"""Who is there: the backends of one component, by name.

Names are what hashing and iq tags are made of, so they must be the same after a reconnect:
the name a backend asks for, else its credential's, else the lowest free number.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Final
from urllib.parse import quote

from balancer.health import Health, HealthRules, Order, State
from balancer.ledger import Ledger
from balancer.records import Record

#: Tells one connection of a name from the next.
_NUMBERS: Final = count(1)


class Backend:
    """One connected backend, as policy sees it.

    Args:
        name: unique in its pool; see `Pool.name_for`.
        weight: its share of new conversations relative to the others', at least 1.
        health: how it is; well and checked at once unless told otherwise.
    """

    __slots__ = ("acks", "announced", "asking", "closing", "congested", "frozen", "gone",
                 "health", "ledger", "lingers", "moved", "name", "number", "order", "ordered",
                 "outstanding", "pongs", "quiet_since", "received", "record", "room", "seen",
                 "share", "tag", "weight")  # fmt: skip

    def __init__(self, name: str, weight: int = 1, health: Health | None = None) -> None:
        self.name = name
        self.number = next(_NUMBERS)
        self.weight = weight
        self.announced: int | None = None  # the weight it gave itself
        self.share = float(weight)  # what counts of it now
        self.tag = quote(name, safe="")
        self.health = health or Health(HealthRules(), 0.0)
        self.order = Order.READY
        self.ordered = 0.0  # when that was last set
        self.ledger = Ledger()
        self.congested = False  # its socket's buffer is full
        self.closing = False  # its stream is being ended
        self.frozen = False  # it waits for what must be finished before; see `moves`
        self.lingers = False  # it keeps its conversations until it has finished
        self.gone = False
        self.outstanding = 0  # requests that it has not answered
        self.asking = 0  # requests of its own without an answer
        self.received = 0  # stanzas it has sent
        self.pongs = 0  # of these, answers to checks
        self.moved = 0.0  # when it last acknowledged something
        self.room = 0  # small stanzas it may be sent before anything must be looked at again
        self.acks: Acks | None = None
        self.record = Record()  # its name's, once it is in a pool
        self.seen = 0  # what its ledger had sent when it was last looked at
        self.quiet_since = 0.0

    def __repr__(self) -> str:
        return f"<Backend {self.name} {self.state} {len(self.ledger)} unacked>"

    @property
    def state(self) -> str:
        """What an operator sees: the order if there is one, else how it is."""
        shown: Order | State = self.health.state if self.order is Order.READY else self.order
        return str(shown.value)

    @property
    def busy(self) -> int:
        """Stanzas that it has and has not finished."""
        return max(self.outstanding, len(self.ledger))

    def eligible(self) -> bool:
        """Whether it may be given new conversations."""
        return self.order is Order.READY and self.health.works() and not self.closing

    def has_room(self) -> bool:
        """Whether it can take another stanza now."""
        return self.takes() and not self.ledger.is_full()

    def takes(self) -> bool:
        """Whether it may be written to at all now."""
        return not (self.congested or self.frozen or self.closing)

    def available(self) -> bool:
        """Whether a new conversation can begin on it now."""
        return self.eligible() and self.has_room()


def is_name(name: str) -> bool:
    """Whether a backend may call itself so: operators type it, and it is a part of a URL."""
    return name.isprintable() and name not in (".", "..")


class Acks:
    """What a backend that speaks XEP-0198 acknowledges, and what we do.

    Args:
        sent: its ledger's number when it enabled them; it counts from there.
        received: stanzas we had received from it by then.
    """

    __slots__ = ("_handled", "_received", "_sent")

    def __init__(self, sent: int, received: int) -> None:
        self._sent = sent
        self._handled = 0
        self._received = received

    def upto(self, h: int) -> int:
        """The ledger's number that ``h`` acknowledges; ``h`` wraps at 2**32 (XEP-0198 §4)."""
        self._handled += (h - self._handled) % (1 << 32)
        return self._sent + self._handled

    def handled(self, received: int) -> int:
        """Our own ``h``, when so many stanzas have come from it."""
        return (received - self._received) % (1 << 32)


class Pool:
    """The backends of one component."""

    def __init__(self) -> None:
        self._by_name: dict[str, Backend] = {}
        self._by_tag: dict[str, Backend] = {}

    def __repr__(self) -> str:
        return f"<Pool {' '.join(self._by_name) or 'empty'}>"

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Backend]:
        return iter(self._by_name.values())

    def __contains__(self, backend: object) -> bool:
        return isinstance(backend, Backend) and self._by_name.get(backend.name) is backend

    def name_for(self, requested: str | None, credential: str | None) -> str:
        """The name of a newcomer.

        Args:
            requested: the resource of its header's ``to``; taken or not, it is what it gets.
            credential: the name of the secret it used; shared, it is numbered from 2.
        """
        if requested is not None:
            return requested
        number = 1
        while True:
            name = str(number) if credential is None else credential
            if credential is not None and number > 1:
                name = f"{credential}-{number}"
            if name not in self._by_name:
                return name
            number += 1

    def get(self, name: str) -> Backend | None:
        """The backend of that name, if it is there."""
        return self._by_name.get(name)

    def by_tag(self, tag: str) -> Backend | None:
        """The backend whose iq ids carry that tag, if it is there."""
        return self._by_tag.get(tag)

    def add(self, backend: Backend) -> None:
        """Let a backend in; its name must be free."""
        assert backend.name not in self._by_name
        self._by_name[backend.name] = backend
        self._by_tag[backend.tag] = backend

    def remove(self, backend: Backend) -> None:
        """Take a backend out; it must be there."""
        assert self._by_name[backend.name] is backend
        del self._by_name[backend.name]
        del self._by_tag[backend.tag]
