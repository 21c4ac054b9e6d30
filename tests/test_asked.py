"""Backends' own requests: settled by replies, answered when the server goes away."""

from __future__ import annotations

from balancer.asked import Asked
from balancer.pool import Backend
from balancer.stanza import Stanza


def request(id: str, to: str = "bob@example.org") -> Stanza:
    return Stanza("iq", to, "svc.example.org", id, "get", b"<iq/>")


def opened(*ids: str, limit: int = 10) -> tuple[Asked, Backend]:
    asked, a = Asked(limit, 60), Backend("a")
    for now, id in enumerate(ids):
        asked.open(a, request(id), f"a/{id}", now)
    return asked, a


def test_settled() -> None:
    asked, a = opened("1", "2")
    assert (len(asked), a.asking, repr(asked)) == (2, 2, "<Asked 2/10>")
    assert asked.settle("a/1", "bob@example.org")
    assert (len(asked), a.asking) == (1, 1)
    assert asked.settle("b/1", None), "another balancer may have sent it"


def test_one_id_to_several() -> None:
    asked, a = opened("1")
    asked.open(a, request("1", "eve@example.org"), "a/1", 0)
    assert asked.settle("a/1", "eve@example.org")
    assert [each.to for _, each in asked.give_up(0)] == ["bob@example.org"]


def test_who_replies_may_be_written_otherwise() -> None:
    asked, a = opened("1")
    assert asked.settle("a/1", "BOB@example.org")
    assert a.asking == 0


def test_given_up_in_order_and_not_answered_again() -> None:
    asked, a = opened("1", "2")
    lost = asked.give_up(5)
    assert [(backend, each.id) for backend, each in lost] == [(a, "1"), (a, "2")]
    assert not any(each.data for _, each in lost)
    assert (len(asked), a.asking) == (0, 0)
    assert not asked.settle("a/1", None)
    assert asked.settle("a/1", None), "said once"
    asked.expire(65)
    assert asked.settle("a/2", None), "long forgotten"


def test_bounds() -> None:
    asked, a = opened("1", "2", "3", limit=2)
    assert (len(asked), a.asking, asked.evicted) == (2, 2, {"capacity": 1})
    asked.expire(60.9)
    assert len(asked) == 2
    asked.expire(61)
    assert (len(asked), asked.evicted) == (1, {"capacity": 1, "expired": 1})
    asked.expire(62)
    assert (len(asked), a.asking) == (0, 0)
