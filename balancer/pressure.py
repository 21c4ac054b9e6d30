"""Flow control of one component: who is read no further for a moment, and when again."""

from __future__ import annotations

from balancer.carrier import Carrier
from balancer.link import Link
from balancer.router import Router


class Pressure:
    """Pauses reading on one side while the other cannot take what is read.

    Args:
        router: knows whether the backends have enough to do.
        carrier: the backends' links.

    Which side is not read now is in ``upstream`` and ``backends``.
    """

    def __init__(self, router: Router, carrier: Carrier) -> None:
        self.upstream = False
        self.backends = False
        self._router = router
        self._carrier = carrier

    def __repr__(self) -> str:
        return f"<Pressure upstream={self.upstream} backends={self.backends}>"

    def balance(self, link: Link | None, now: float) -> None:
        """Read from the server unless nobody could take it (DESIGN §3.6).

        What is held expires within ``queue_timeout``, so a pause is short enough for Prosody,
        which drops a component that leaves it unwritable for 180 s.

        Args:
            link: the one to the server, if there is one; a new one begins unpaused.
            now: the time.
        """
        if link is None:
            self.upstream = False
            return
        crowded = self._router.crowded(now)
        if crowded and not self.upstream:
            self._carrier.flush()
            self._router.counts.pauses["upstream"] += 1
            link.pause()
        elif self.upstream and not crowded:
            link.resume()
        self.upstream = crowded

    def server_full(self) -> None:
        """The server does not read as fast as we write: neither do we read the backends."""
        self.backends = True
        self._router.counts.pauses["backend"] += 1
        for _, link in self._carrier:
            link.pause()

    def server_room(self) -> None:
        """The server has caught up, or is away: what backends send then is held, within bounds."""
        self.backends = False
        for _, link in self._carrier:
            link.resume()

    def server_gone(self) -> None:
        """The link to the server has ended."""
        self.upstream = False
        self.server_room()
