"""The pool: what backends are called, and who is in."""

from __future__ import annotations

import pytest

from balancer.health import Order, State
from balancer.pool import Acks, Backend, Pool
from balancer.stanza import Stanza


def pool(*names: str) -> Pool:
    made = Pool()
    for name in names:
        made.add(Backend(name))
    return made


@pytest.mark.parametrize(
    ("there", "requested", "credential", "name"),
    [
        ((), None, None, "1"),
        (("1", "2"), None, None, "3"),
        (("2", "3"), None, None, "1"),
        (("1", "3"), None, None, "2"),
        ((), None, "worker", "worker"),
        (("worker",), None, "worker", "worker-2"),
        (("worker", "worker-2"), None, "worker", "worker-3"),
        (("worker-2",), None, "worker", "worker"),
        (("worker", "worker-3"), None, "worker", "worker-2"),
        (("1",), "mine", "worker", "mine"),
        (("mine",), "mine", None, "mine"),
    ],
)
def test_names(
    there: tuple[str, ...], requested: str | None, credential: str | None, name: str
) -> None:
    assert pool(*there).name_for(requested, credential) == name


def test_number_is_used_again() -> None:
    made = pool("1", "2", "3")
    gone = made.get("2")
    assert gone is not None
    made.remove(gone)
    assert made.name_for(None, None) == "2"


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("worker-2", "worker-2"),
        ("a/b", "a%2Fb"),
        ("50%", "50%25"),
        ("a b", "a%20b"),
        ("é", "%C3%A9"),
        ("'\"<&", "%27%22%3C%26"),
    ],
)
def test_tags_have_no_slash_and_find_their_backend(name: str, tag: str) -> None:
    made = pool(name)
    assert "/" not in tag
    found = made.by_tag(tag)
    assert found is not None
    assert (found.name, found.tag) == (name, tag)


def test_membership() -> None:
    made = pool("a", "b")
    a, b = made
    assert len(made) == 2
    assert [each.name for each in made] == ["a", "b"]
    assert a in made
    assert Backend("a") not in made
    assert "a" not in made
    made.remove(a)
    assert a not in made
    assert list(made) == [b]
    assert (made.get("a"), made.by_tag("a")) == (None, None)
    assert made.get("b") is made.by_tag("b") is b


def test_a_name_is_taken_once() -> None:
    made = pool("a")
    with pytest.raises(AssertionError):
        made.add(Backend("a"))
    with pytest.raises(AssertionError):
        made.remove(Backend("a"))
    assert len(made) == 1


def test_reprs() -> None:
    backend = Backend("a", weight=3)
    assert repr(backend) == "<Backend a starting 0 unacked>"
    backend.order = Order.MAINT
    backend.ledger.add(Stanza("message", None, None, None, None, b"<message/>"), plain=True)
    assert repr(backend) == "<Backend a maint 1 unacked>"
    assert (backend.busy, backend.eligible(), backend.has_room()) == (1, False, True)
    assert not backend.available()


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("closing", [True, False])
def test_who_may_be_given_conversations(state: State, order: Order, closing: bool) -> None:
    backend = Backend("a")
    backend.health.state, backend.order, backend.closing = state, order, closing
    fine = state not in (State.DOWN, State.EJECTED) and order is Order.READY and not closing
    assert (backend.eligible(), backend.has_room()) == (fine, not closing)
    assert backend.state == (state if order is Order.READY else order).value


def test_acks_count_from_where_they_were_enabled_and_wrap() -> None:
    acks = Acks(sent=10, received=5)
    assert [acks.upto(h) for h in (0, 1, 3, 3)] == [10, 11, 13, 13]
    assert [acks.handled(n) for n in (5, 6, 5 + (1 << 32))] == [0, 1, 0]
    acks._handled = (1 << 32) - 1
    assert acks.upto(2) == 10 + (1 << 32) + 2


def test_reprs_of_pools() -> None:
    assert repr(Pool()) == "<Pool empty>"
    assert repr(pool("a", "b")) == "<Pool a b>"
