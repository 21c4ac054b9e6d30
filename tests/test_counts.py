"""The one law of the counts."""

from __future__ import annotations

from balancer.counts import Counts


def test_what_is_missing() -> None:
    counts = Counts()
    counts.accepted = 10
    counts.delivered = 4
    counts.answered["queue_full"] += 1
    counts.orphaned["late_reply"] += 2
    assert counts.missing(held=3) == 0
    assert counts.missing(held=0) == 3
    counts.dropped["queue_full", "iq"] += 1
    assert counts.missing(held=3) == -1
    assert repr(counts) == "<Counts 10 accepted, 4 delivered, 1 answered, 2 orphaned, 1 dropped>"
