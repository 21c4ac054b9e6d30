"""Conversations, and the bounded memory of whose they are."""

from __future__ import annotations

import pytest

from balancer.affinity import CONVERSATIONS, Recall
from balancer.pool import Backend
from balancer.stanza import Stanza

PLAIN = Stanza("message", "room@svc.example.org/x", "ann@example.org/phone", "1", "chat", b"")
THREAD = PLAIN._replace(clues={"thread": "t-1"})
DELEGATED = Stanza(
    "iq", "svc.example.org", "example.org", "1", "set", b"", {"delegated": "bob@example.org/tab"}
)
NOWHERE = Stanza("message", None, None, None, None, b"")

A, B = Backend("a"), Backend("b")


@pytest.mark.parametrize(
    ("affinity", "stanza", "key"),
    [
        ("sender", PLAIN, "ann@example.org"),
        ("sender", DELEGATED, "bob@example.org"),
        ("sender", NOWHERE, ""),
        ("sender-full", PLAIN, "ann@example.org/phone"),
        ("sender-full", DELEGATED, "bob@example.org/tab"),
        ("sender-full", NOWHERE, ""),
        ("recipient", PLAIN, "room@svc.example.org"),
        ("recipient", NOWHERE, ""),
        ("recipient-full", PLAIN, "room@svc.example.org/x"),
        ("recipient-full", NOWHERE, ""),
        ("thread", THREAD, "t-1"),
        ("thread", PLAIN, "ann@example.org"),
        ("thread", DELEGATED, "bob@example.org"),
        ("none", PLAIN, ""),
        ("none", DELEGATED, ""),
    ],
)
def test_conversations(affinity: str, stanza: Stanza, key: str) -> None:
    assert CONVERSATIONS[affinity](stanza) == key


def test_the_one_used_longest_ago_makes_room() -> None:
    recall = Recall(limit=2, ttl=10)
    for key in ("x", "y", "x", "z"):
        recall.put(key, A, 0)
    assert repr(recall) == "<Recall 2/2>"
    assert [recall.get(key, 0) for key in "xyz"] == [A, None, A]


def test_time_to_live() -> None:
    recall = Recall(limit=9, ttl=10)
    recall.put("x", A, 0)
    recall.put("y", B, 4)
    assert recall.get("x", 9.9) is A
    assert recall.get("x", 10) is None
    recall.expire(9.9)
    assert len(recall) == 2
    recall.put("x", B, 9.9)
    recall.expire(14)
    assert [recall.get(key, 14) for key in "xy"] == [B, None]
    assert len(recall) == 1
    recall.expire(19.9)
    assert len(recall) == 0


def test_other_bounds() -> None:
    recall = Recall(limit=2, ttl=10)
    recall.put("x", A, 0)
    recall.limit(3, 20)
    for key in "yz":
        recall.put(key, B, 0)
    assert [recall.get(key, 9) for key in "xyz"] == [A, B, B]
    assert [recall.get(key, 10) for key in "xyz"] == [None, B, B]


def test_forget() -> None:
    recall = Recall(limit=9, ttl=10)
    for key, backend in (("x", A), ("y", B), ("z", A)):
        recall.put(key, backend, 0)
    recall.forget(A)
    assert [recall.get(key, 0) for key in "xyz"] == [None, B, None]
    assert len(recall) == 1
