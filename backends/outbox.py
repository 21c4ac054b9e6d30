"""What is to be sent and cannot be yet: in order, to be looked at, and to be taken back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from slixmpp.stanza.rootstanza import RootStanza

#: Stanzas that may wait.  At a thousand a second a minute's absence is 60,000; who sends so much
#: should rather hear that nothing is heard.
LIMIT = 50_000


class OutboxFullError(ConnectionError):
    """Too much waits to be sent already."""


class Outbox:
    """Stanzas that wait for the connection.

    Args:
        limit: how many may wait.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._waiting: deque[RootStanza | str] = deque()

    def __repr__(self) -> str:
        return f"<Outbox {len(self._waiting)}/{self.limit}>"

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[RootStanza | str]:
        """What waits, the oldest first; text is what was sent as text."""
        return iter(tuple(self._waiting))

    def put(self, stanza: RootStanza | str) -> None:
        """Let a stanza wait.

        Raises:
            OutboxFullError: too many do already.
        """
        if len(self._waiting) >= self.limit:
            raise OutboxFullError(f"{self.limit} stanzas wait for a connection")
        self._waiting.append(stanza)

    def put_back(self, stanzas: list[RootStanza | str]) -> None:
        """These were being sent when the connection was lost: they are first, limit or not."""
        self._waiting.extendleft(reversed(stanzas))

    def take(self) -> list[RootStanza | str]:
        """Everything, in order; nothing waits then."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def purge(self, which: Callable[[RootStanza | str], bool] = lambda _: True) -> int:
        """Give stanzas up: all, or those for which this is true.

        Returns:
            How many they were.
        """
        kept = [each for each in self._waiting if not which(each)]
        purged = len(self._waiting) - len(kept)
        self._waiting = deque(kept)
        return purged
