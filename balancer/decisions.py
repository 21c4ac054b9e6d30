"""What the router is told by the operator, and what it can decide."""

from __future__ import annotations

from typing import Final, NamedTuple

from balancer.health import HealthRules
from balancer.pool import Backend
from balancer.stanza import Stanza


class Forward(NamedTuple):
    """Write ``data`` to a backend, or to the server when ``backend`` is ``None``."""

    backend: Backend | None
    data: bytes


class Answer(NamedTuple):
    """Write an answer of ours, to a backend or the server; ``reason`` is for the counters."""

    backend: Backend | None
    data: bytes
    reason: str


class Tell(NamedTuple):
    """Write something between the balancer and a backend: a check, an acknowledgement."""

    backend: Backend
    data: bytes


class Administer(NamedTuple):
    """Do what an administrator asks of us, and give the answer to `Router.administered`."""

    stanza: Stanza


class Refuse(NamedTuple):
    """End a backend's stream with a stream error (RFC 6120 §4.9.3)."""

    backend: Backend
    condition: str
    text: str


class Close(NamedTuple):
    """End a backend's stream in good order (RFC 6120 §4.4): it has nothing left to do."""

    backend: Backend


class Changed(NamedTuple):
    """A backend is in another state; ``why`` is for a person."""

    backend: Backend
    why: str


class Drop(NamedTuple):
    """Let a stanza go that nobody waits for, or that must not be answered."""

    stanza: Stanza
    reason: str


Decision = Forward | Answer | Tell | Administer | Refuse | Close | Changed | Drop


class Trouble(NamedTuple):
    """An error of ours: type and condition of RFC 6120 §8.3, and the reason for a person."""

    type: str
    condition: str
    text: str


def timeout(text: str) -> Trouble:
    """What Prosody itself answers when a component is not there."""
    return Trouble("wait", "remote-server-timeout", text)


BAD_IQ: Final = Trouble(
    "modify",
    "bad-request",
    "an iq needs an id, of no more than 4096 characters, and the type get, set, result or error"
    " (RFC 6120 §8.2.3)",
)
BAD_TO: Final = Trouble("modify", "jid-malformed", "`to` is not an address (RFC 7622 §3.1)")
BAD_WEIGHT: Final = Trouble("modify", "bad-request", "a weight is a number from 1 to 256")
FAILED: Final = Trouble("cancel", "internal-server-error", "the balancer could not do it")
NOBODY: Final = timeout("no backend is there to take this")
NO_SERVER: Final = timeout("the XMPP server is away")
SERVER_LOST: Final = timeout("the XMPP server went away with this")
GONE: Final = timeout("the backend that had this has gone")
STOPPING: Final = timeout("the balancer is stopping")


class Rules(NamedTuple):
    """What the operator decided for a component; sizes in bytes, times in seconds."""

    jid: str
    affinity: str = "sender"
    spill: bool = False
    queue_size: int = 10_000
    queue_bytes: int = 32 << 20
    queue_timeout: float = 5.0
    iq_timeout: float = 60.0
    affinity_entries: int = 100_000
    affinity_ttl: float = 3600.0
    max_unacked: int = 1000
    max_unacked_bytes: int = 8 << 20
    redeliver: frozenset[str] = frozenset({"message", "presence", "iq-get"})
    health: HealthRules = HealthRules()
    admins: frozenset[str] = frozenset()  # bare JIDs
    settle_time: float = 1.0  # for a conversation to move in order; then it moves without

    @property
    def budget(self) -> tuple[int, int, float]:
        """What one direction may hold: stanzas, bytes, seconds."""
        return self.queue_size, self.queue_bytes, self.queue_timeout

    @property
    def window(self) -> tuple[int, int]:
        """What one backend may have unacknowledged: stanzas, bytes."""
        return self.max_unacked, self.max_unacked_bytes
