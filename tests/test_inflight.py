"""Requests in flight: each is answered once, by who has it."""

from __future__ import annotations

import pytest

from balancer.inflight import Inflight, Unanswered
from balancer.pool import Backend
from balancer.stanza import Stanza

SVC, ANN = "svc.example.org", "ann@example.org/phone"


def request(id: str = "1", sender: str = ANN) -> Stanza:
    return Stanza("iq", SVC, sender, id, "get", b"<iq/>")


def reply(id: str = "1", to: str = ANN, sender: str = SVC) -> Stanza:
    return Stanza("iq", to, sender, id, "result", b"<iq/>")


def ids(unanswered: list[Unanswered]) -> list[tuple[str, str | None]]:
    return [(each.backend.name, each.request.id) for each in unanswered]


def test_settled_once() -> None:
    inflight, a = Inflight(60), Backend("a")
    inflight.open(a, request(), 0)
    assert repr(inflight) == "<Inflight 1 in flight>"
    assert (len(inflight), a.outstanding) == (1, 1)
    assert inflight.settle(a, reply(), 1)
    assert (len(inflight), a.outstanding) == (0, 0)
    assert not inflight.settle(a, reply(), 1)
    assert a.outstanding == 0


@pytest.mark.parametrize(
    "wrong",
    [reply(id="2"), reply(to="bob@example.org/tab"), reply(sender=f"x@{SVC}")],
    ids=["id", "to", "from"],
)
def test_what_answers_something_else(wrong: Stanza) -> None:
    inflight, a = Inflight(60), Backend("a")
    inflight.open(a, request(), 0)
    assert not inflight.settle(a, wrong, 1)
    assert a.outstanding == 1


def test_the_wrong_backend() -> None:
    inflight, a, b = Inflight(60), Backend("a"), Backend("b")
    inflight.open(a, request(), 0)
    assert not inflight.settle(b, reply(), 1)
    assert (a.outstanding, b.outstanding) == (1, 0)
    assert inflight.holder(ANN, SVC, "1") is a
    assert inflight.holder(ANN, SVC, "2") is None


def test_expiry_in_order() -> None:
    inflight, a, b = Inflight(60), Backend("a"), Backend("b")
    for now, (backend, id) in enumerate([(a, "1"), (b, "2"), (a, "3")]):
        inflight.open(backend, request(id), now)
    assert ids(inflight.expire(59.9)) == []
    assert ids(inflight.expire(61)) == [("a", "1"), ("b", "2")]
    assert (a.outstanding, b.outstanding) == (1, 0)
    assert ids(inflight.expire(62)) == [("a", "3")]
    assert ids(inflight.expire(99)) == []
    assert a.outstanding == 0


def test_abandon() -> None:
    inflight, a, b = Inflight(60), Backend("a"), Backend("b")
    for backend, id in [(a, "1"), (b, "2"), (a, "3")]:
        inflight.open(backend, request(id), 0)
    assert ids(inflight.abandon(a)) == [("a", "1"), ("a", "3")]
    assert (a.outstanding, b.outstanding, len(inflight)) == (0, 1, 1)
    assert not inflight.settle(a, reply("1"), 1)


def test_an_id_used_again_before_the_answer() -> None:
    inflight, a = Inflight(60), Backend("a")
    inflight.open(a, request(), 0)
    inflight.open(a, request("2"), 1)
    inflight.open(a, request(), 30)
    assert (len(inflight), a.outstanding) == (3, 3)
    assert ids(inflight.expire(61)) == [("a", "1"), ("a", "2")]
    inflight.open(a, request(), 70)
    assert inflight.settle(a, reply(), 1)
    assert a.outstanding == 1
    assert ids(inflight.expire(129)) == []
    assert ids(inflight.expire(130)) == [("a", "1")]
    assert (len(inflight), a.outstanding) == (0, 0)


def test_a_repetition_goes_to_who_has_the_first() -> None:
    inflight, a, b = Inflight(60), Backend("a"), Backend("b")
    inflight.open(a, request(), 0)
    assert inflight.open(b, request(), 1) is a
    assert (len(inflight), b.outstanding) == (1, 0)


def test_only_so_many_bytes_are_kept() -> None:
    inflight, a = Inflight(60, kept=8), Backend("a")
    for id in "12":
        inflight.open(a, request(id), 0)
    assert inflight.settle(a, reply("1"), 1)
    inflight.open(a, request("3"), 0)
    kept = {each.request.id: each.request.data for each in inflight.abandon(a)}
    assert kept == {"2": b"", "3": b"<iq/>"}


def test_abandoned_in_the_order_of_the_ledger() -> None:
    inflight, a = Inflight(60), Backend("a")
    for position, id in enumerate(["1", "2", "1"], 1):
        inflight.open(a, request(id), 0, position)
    assert [each.position for each in inflight.abandon(a)] == [1, 2, 3]
    assert inflight.abandon(a) == []
