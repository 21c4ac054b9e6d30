"""How stanzas ended: plain integers that the data path raises and observers read.

One law holds at any moment, and every play checks it at its end::

    accepted = delivered + answered + orphaned + dropped + held

A stanza is *accepted* when the balancer has read it and will care for it.  It is *delivered* when
its backend has acknowledged it (a request: when it was answered), or when it was written to the
server; *answered* when we sent an error instead; *orphaned* when nobody is left who waits for it
or could be told, such as a reply whose asker has gone; *dropped* when somebody should have been
told and was not.  Nothing should ever be dropped.
"""

from __future__ import annotations

from collections import Counter

from balancer.histogram import Histogram, Sampled


class Counts:
    """The counts of one component.

    `answered` and `orphaned` go by reason, `dropped` by reason and kind, stanzas by kind.
    """

    def __init__(self) -> None:
        self.accepted = 0
        self.delivered = 0
        self.redelivered = 0
        self.not_retried = 0
        self.answered: Counter[str] = Counter()
        self.orphaned: Counter[str] = Counter()
        self.dropped: Counter[tuple[str, str]] = Counter()
        # Beside the law, for those who look:
        self.from_server: Counter[str] = Counter()
        self.from_backends: Counter[str] = Counter()
        self.to_server: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()  # backends' streams, by condition
        self.server_lost = 0  # backends' requests that the server went away with
        self.no_backend = 0  # stanzas for which nobody was there
        self.queue_wait = Histogram()
        self.forwarding = {"upstream": Sampled(), "backend": Sampled()}
        self.pauses: Counter[str] = Counter()  # of reading, by side

    def __repr__(self) -> str:
        return (
            f"<Counts {self.accepted} accepted, {self.delivered} delivered,"
            f" {self.answered.total()} answered, {self.orphaned.total()} orphaned,"
            f" {self.dropped.total()} dropped>"
        )

    def missing(self, held: int) -> int:
        """How many stanzas are unaccounted for while ``held`` are held: 0, or there is a defect."""
        ended = self.answered.total() + self.orphaned.total() + self.dropped.total()
        return self.accepted - self.delivered - ended - held
