"""What the router is told by the operator, and what it can decide."""

from __future__ import annotations

from typing import NamedTuple

from balancer.pool import Backend
from balancer.stanza import Stanza


class Forward(NamedTuple):
    """Write ``data`` to a backend, or to the server when ``backend`` is ``None``."""

    backend: Backend | None
    data: bytes


class Answer(NamedTuple):
    """Write an error of ours, to a backend or the server; ``reason`` is for the counters."""

    backend: Backend | None
    data: bytes
    reason: str


class Refuse(NamedTuple):
    """End a backend's stream with a stream error (RFC 6120 §4.9.3)."""

    backend: Backend
    condition: str
    text: str


class Drop(NamedTuple):
    """Let a stanza go that nobody waits for, or that must not be answered."""

    stanza: Stanza
    reason: str


Decision = Forward | Answer | Refuse | Drop


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

    @property
    def budget(self) -> tuple[int, int, float]:
        """What one direction may hold: stanzas, bytes, seconds."""
        return self.queue_size, self.queue_bytes, self.queue_timeout
