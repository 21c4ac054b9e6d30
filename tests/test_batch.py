"""Deciding a read at once comes to the same as stanza by stanza."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer import batch
from balancer.decisions import Answer, Decision, Forward, Refuse, Rules, Tell
from balancer.ledger import SMALL
from balancer.pool import Backend
from balancer.router import Router
from balancer.stanza import Stanza
from balancer.strategy import strategy
from tests.test_router import (
    ANN,
    BOB,
    CALM,
    COMMAND,
    SVC,
    error,
    grant,
    message,
    reply,
    request,
    tag,
)

STANZAS = st.sampled_from(
    [
        message(),
        message("2", BOB),
        message("x" * SMALL, BOB),
        message(child=COMMAND.format(" sessionid='s'")),
        request("1"),
        request("2", BOB),
        request("1", child=COMMAND.format(" sessionid='s'")),
        tag("iq", "result", "a/1"),
        tag("iq", "odd", "1"),
        tag("presence"),
        error("1"),
        grant("example.org"),
    ]
)


def routers(window: int, up: bool, name: str) -> tuple[Router, Router]:
    rules = Rules(SVC, max_unacked=window, queue_size=5, health=CALM)
    pair = (Router(rules, strategy(name, lambda: 0.5)), Router(rules, strategy(name, lambda: 0.5)))
    for made in pair:
        made.server_up(0)
        for backend in "abc":
            made.join(Backend(backend), 0)
        if not up:
            made.server_down(0)
    return pair


def written(decisions: list[Decision]) -> dict[str | None, bytes]:
    """The bytes that each destination gets, in order."""
    out: dict[str | None, bytes] = defaultdict(bytes)
    for each in decisions:
        if isinstance(each, Forward | Answer | Tell):
            out[each.backend.name if each.backend else None] += each.data
    return out


def state(made: Router) -> list[object]:
    counts = made.counts
    return [
        (counts.accepted, counts.delivered, counts.answered, counts.orphaned, counts.dropped),
        [(b.name, b.outstanding, b.received, list(b.ledger.entries)) for b in made.pool],
        [(b.ledger.sent, b.ledger.size, b.ledger.unfinished) for b in made.pool],
        [(b.ledger.sent_by_kind(), b.received) for b in made.pool],
        (counts.from_server, counts.from_backends, counts.to_server),
        (made.queued, made.held, made.missing()),
    ]


@settings(max_examples=300, deadline=None)
@given(
    reads=st.lists(st.lists(STANZAS, max_size=12), max_size=5),
    window=st.sampled_from([1, 4, 40]),
    up=st.booleans(),
    name=st.sampled_from(["hash", "round-robin"]),
    stopping=st.booleans(),
)
def test_from_the_server(
    reads: list[list[Stanza]], window: int, up: bool, name: str, stopping: bool
) -> None:
    one, other = routers(window, up, name)
    one.stopping = other.stopping = stopping
    for stanzas in reads:
        singly = [each for stanza in stanzas for each in one.from_server(stanza, 1)]
        assert written(batch.from_server(other, stanzas, 1)) == written(singly)
        assert state(one) == state(other)


@settings(max_examples=200, deadline=None)
@given(
    asked=st.lists(st.sampled_from([request("1"), request("2"), request("1", BOB)]), max_size=6),
    up=st.booleans(),
    data=st.data(),
)
def test_from_a_backend(asked: list[Stanza], up: bool, data: st.DataObject) -> None:
    pair = routers(100, True, "hash")
    for made in pair:
        for stanza in asked:
            made.from_server(stanza, 0)
        if not up:
            made.server_down(0)
    replies = [reply(each) for each in asked] + [reply(each, "error") for each in asked]
    more = [*replies, message(sender=SVC)._replace(to=ANN), reply(request("9"))]
    stanzas = data.draw(st.lists(st.sampled_from(more), max_size=12))
    one, other = pair
    for name in "abc":
        mine, others = one.pool.get(name), other.pool.get(name)
        assert mine is not None
        assert others is not None
        singly = [each for stanza in stanzas for each in one.from_backend(mine, stanza, 1)]
        assert written(batch.from_backend(other, others, stanzas, 1)) == written(singly)
        assert state(one) == state(other)


def test_what_follows_an_offence_is_not_heard() -> None:
    made, _ = routers(100, True, "hash")
    a = made.pool.get("a")
    assert a is not None
    fine = message(sender=SVC)._replace(to=ANN)
    decisions = batch.from_backend(made, a, [fine, message(sender=BOB), fine, fine], 0)
    assert [type(each) for each in decisions] == [Forward, Refuse]


def test_what_is_for_one_backend_leaves_at_once() -> None:
    made, _ = routers(100, True, "hash")
    batch.from_server(made, [message(), message(sender=BOB)], 0)  # now both are known
    decisions = batch.from_server(made, [message(str(n)) for n in range(9)], 0)
    assert len(decisions) == 1
    assert isinstance(decisions[0], Forward)


def test_a_request_under_an_id_that_another_has_goes_there() -> None:
    made, _ = routers(100, True, "hash")
    batch.from_server(made, [message()], 0)
    usual = made.conversations.owner(message(), 0)
    other = next(each for each in made.pool if each is not usual)
    session = COMMAND.format(" sessionid='s'")
    made.from_backend(other, tag("message", sender=SVC, to=ANN, child=session), 0)
    (in_session,) = batch.from_server(made, [request("1", child=session)], 0)
    (plain,) = batch.from_server(made, [request("1")], 0)
    assert isinstance(in_session, Forward)
    assert isinstance(plain, Forward)
    assert in_session.backend is plain.backend is other
    assert other.outstanding == 2


def test_addresses_at_hand_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("balancer.conversation.FOUND", 3)
    made, _ = routers(100, True, "hash")
    for n in range(10):
        batch.from_server(made, [message(sender=f"u{n}@example.org")], 0)
    assert len(made.conversations.at_hand()[0]) <= 3


@pytest.mark.parametrize("stanza", [message(), request("1"), tag("presence")])
def test_one_alone_is_counted_as_many_are(stanza: Stanza) -> None:
    one, other = routers(100, True, "hash")
    for made in (one, other):
        made.from_server(message(), 0)  # its backend is at hand now
    assert written(batch.from_server(other, [stanza], 1)) == written(one.from_server(stanza, 1))
    assert state(one) == state(other)
