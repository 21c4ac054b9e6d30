"""The router, as plays: what comes in, and every decision that comes out."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from random import Random as Dice
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.decisions import Answer, Changed, Decision, Drop, Forward, Refuse, Rules, Tell
from balancer.framing import Framer
from balancer.health import HealthRules
from balancer.pool import Backend
from balancer.router import MAX_GRANTS, Router
from balancer.stanza import CLIENT_NS, KINDS, Stanza
from balancer.strategy import strategy

SVC, SERVER = "svc.example.org", "example.org"
ANN, BOB = "ann@example.org/phone", "bob@example.org/tab"
HEADER = (
    b"<stream:stream xmlns='jabber:component:accept'"
    b" xmlns:stream='http://etherx.jabber.org/streams'>"
)
COMMAND = "<command xmlns='http://jabber.org/protocol/commands' node='n'{}/>"
IBB = "<{} xmlns='http://jabber.org/protocol/ibb' sid='s-1'/>"
DELEGATION = "<delegation xmlns='urn:xmpp:delegation:{}'>{}</delegation>"
PRIVILEGE = "<privilege xmlns='urn:xmpp:privilege:2'><perm access='roster' type='get'/></privilege>"

AFFINITIES = ["sender", "sender-full", "recipient", "recipient-full", "thread", "none"]
STRATEGIES = ["hash", "round-robin", "least-outstanding", "random"]


def read(xml: bytes) -> Stanza:
    framer = Framer(1 << 20)
    framer.feed(HEADER)
    (stanza,) = framer.feed(xml)
    assert isinstance(stanza, Stanza), stanza
    return stanza


def tag(
    kind: str,
    type: str | None = None,
    id: str | None = None,
    sender: str | None = ANN,
    to: str | None = SVC,
    *,
    child: str = "",
) -> Stanza:
    attributes = {"type": type, "id": id, "from": sender, "to": to}
    given = "".join(f" {k}={quoteattr(v)}" for k, v in attributes.items() if v is not None)
    return read(f"<{kind}{given}>{child}</{kind}>".encode())


def message(body: str = "", sender: str = ANN, id: str | None = None, child: str = "") -> Stanza:
    return tag("message", "chat", id, sender, child=f"<body>{body}</body>{child}")


def request(id: str = "1", sender: str = ANN, child: str = "", type: str = "get") -> Stanza:
    return tag("iq", type, id, sender, child=child)


def reply(
    to: Stanza | bytes, type: str = "result", child: str = "", to_id: str | None = None
) -> Stanza:
    asked = read(to) if isinstance(to, bytes) else to
    return tag("iq", type, to_id or asked.id, asked.to, asked.sender, child=child)


def router(*names: str, strategy_name: str = "hash", up: bool = True, **rules: object) -> Router:
    made = Router(
        Rules(SVC, health=CALM)._replace(**rules),  # type: ignore[arg-type]
        strategy(strategy_name, Dice(7).random),
    )
    if up:
        assert made.server_up(0) == []
    for name in names:
        assert made.join(Backend(name), 0) == []
    return made


#: Nobody is checked, so that plays about other things are not interrupted.
CALM = HealthRules(interval=1e9, timeout=1e9)


def tick(made: Router, now: float) -> list[Decision]:
    """Time passes; checks and changes of state are another file's matter."""
    return [each for each in made.tick(now) if not isinstance(each, Tell | Changed)]


def backend(made: Router, name: str) -> Backend:
    found = made.pool.get(name)
    assert found is not None
    return found


def owner(decisions: list[Decision]) -> Backend:
    (forward,) = decisions
    assert isinstance(forward, Forward)
    assert forward.backend is not None
    return forward.backend


def answers(decisions: list[Decision]) -> list[tuple[str | None, str, str | None, str]]:
    """Where each error goes, why, which id it answers, and its type and condition."""
    read_back = []
    for each in decisions:
        assert isinstance(each, Answer), each
        stanza = read(each.data)
        assert stanza.type == "error"
        says = re.search(rb"<error type='(\w+)'><([\w-]+) ", each.data)
        assert says is not None
        where = each.backend.name if each.backend else None
        read_back.append((where, each.reason, stanza.id, b" ".join(says.groups()).decode()))
    return read_back


def unanswered(decisions: list[Decision]) -> list[tuple[str, str | None]]:
    """The reasons and ids of errors to the server, all of one kind."""
    given = answers(decisions)
    assert all((where, says) == (None, TIMEOUT) for where, _, _, says in given)
    return [(reason, id) for _, reason, id, _ in given]


TIMEOUT = "wait remote-server-timeout"
BAD = "modify bad-request"


def test_repr() -> None:
    made = router("a", "b")
    assert repr(made) == f"<Router {SVC} 2 backends, server connected>"
    made.server_down(0)
    assert repr(made) == f"<Router {SVC} 2 backends, server away>"


# Conversations.


@pytest.mark.parametrize("affinity", AFFINITIES)
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_conversation_stays(affinity: str, name: str) -> None:
    made = router("a", "b", "c", strategy_name=name, affinity=affinity)
    stanzas = [
        message(sender=f"u{n}@example.org/x", child=f"<thread>t{n}</thread>") for n in range(30)
    ]
    rounds = [[owner(made.from_server(each, 0)) for each in stanzas] for _ in range(3)]
    if affinity != "none":
        assert rounds[0] == rounds[1] == rounds[2]
    elif name == "hash":
        assert len(set(rounds[0])) == 1
    alone = affinity.startswith("recipient") or (affinity, name) == ("none", "hash")
    assert len(set(rounds[0])) == (1 if alone else 3)
    assert made.counts.accepted == 90


def test_a_remembered_conversation_ends() -> None:
    made = router("a", "b", strategy_name="round-robin", affinity_ttl=10)
    first = owner(made.from_server(message(), 0))
    assert owner(made.from_server(message(), 9)) is first
    tick(made, 18)
    assert owner(made.from_server(message(), 18)) is first
    made.crew.full(first)
    assert made.from_server(message(), 27) == [], "it is remembered, so it waits"
    tick(made, 37)
    assert owner(made.from_server(message(), 37)) is not first


def test_a_remembered_conversation_moves_when_its_backend_goes() -> None:
    made = router("a", "b", strategy_name="round-robin")
    first = owner(made.from_server(message(), 0))
    made.crew.leave(first, 1)
    assert owner(made.from_server(message(), 1)) is not first


@pytest.mark.parametrize("name", ["hash", "round-robin"])
@pytest.mark.parametrize("spill", [True, False])
def test_spill(name: str, spill: bool) -> None:
    made = router("a", "b", strategy_name=name, spill=spill)
    first = owner(made.from_server(message(), 0))
    made.crew.full(first)
    decisions = made.from_server(message("2"), 0)
    if spill:
        assert owner(decisions) is not first
    else:
        assert decisions == []
        assert made.queued == 1


def test_other_rules() -> None:
    made = router("a", "b", "c", iq_timeout=60)
    made.configure(
        Rules(SVC, affinity="none", iq_timeout=5), strategy("round-robin", Dice(7).random), 0
    )
    owners = [owner(made.from_server(request(str(n)), 0)) for n in range(3)]
    assert len(set(owners)) == 3
    assert len(tick(made, 5)) == 3


# Sticky iq, outward.

IDS = ["1", "", "a/b", "/", "it's", 'a"b', "<&>", "&amp;", " a\tb\n", "é", "a/1"]


@pytest.mark.parametrize("id", IDS, ids=repr)
@pytest.mark.parametrize("name", ["a", "b/c'd"])
@pytest.mark.parametrize("type", ["result", "error"])
def test_a_reply_comes_back_under_the_id_of_its_request(id: str, name: str, type: str) -> None:
    made = router(name, "other")
    asks = backend(made, name)
    quoted = quoteattr(id, {"\n": "&#10;", "\t": "&#9;"})
    xml = f"<iq\n to='{ANN}'  id={quoted} type='get' from='x@{SVC}'><q  xmlns='u:q' id='1'/></iq>"
    asked = read(xml.encode())
    assert asked.id == id
    (sent,) = made.from_backend(asks, asked, 0)
    assert isinstance(sent, Forward)
    assert sent.backend is None
    leaves = read(sent.data)
    assert leaves == asked._replace(id=f"{asks.tag}/{id}", data=sent.data)
    assert sent.data.partition(b"><q")[2] == asked.data.partition(b"><q")[2]
    answer = reply(leaves, type, "<q  xmlns='u:q'/>")
    (back,) = made.from_server(answer, 0)
    assert isinstance(back, Forward)
    assert back.backend is asks
    assert read(back.data) == answer._replace(id=id, data=back.data)
    assert back.data.partition(b"<q")[2] == answer.data.partition(b"<q")[2]


def test_two_backends_use_the_same_id() -> None:
    made = router("a", "b")
    sent = {}
    for each in made.pool:
        (forward,) = made.from_backend(each, request(sender=SVC)._replace(to=ANN), 0)
        assert isinstance(forward, Forward)
        sent[each] = read(forward.data)
    assert sorted(str(each.id) for each in sent.values()) == ["a/1", "b/1"]
    for each, leaves in reversed(sent.items()):
        decisions = made.from_server(reply(leaves), 0)
        assert decisions == [Forward(each, reply(leaves, to_id="1").data.replace(b'"1"', b"'1'"))]


@pytest.mark.parametrize("id", ["gone/1", "1", ""])
@pytest.mark.parametrize("type", ["result", "error"])
def test_a_reply_for_nobody(id: str, type: str) -> None:
    made = router("a")
    orphan = tag("iq", type, id)
    assert made.from_server(orphan, 0) == [Drop(orphan, "orphan_reply")]
    assert made.counts.orphaned == {"orphan_reply": 1}
    assert not made.missing()


def test_a_reply_that_waits_for_its_backend_goes_with_it() -> None:
    made = router("a", "b")
    a = backend(made, "a")
    made.crew.full(a)
    assert made.from_server(tag("iq", "result", "a/1"), 0) == []
    (dropped,) = made.crew.leave(a, 1)
    assert isinstance(dropped, Drop)
    assert (dropped.reason, dropped.stanza.id) == ("orphan_reply", "1")
    assert made.queued == 0


# Sticky iq, inward.


def test_answered_once() -> None:
    made = router("a", "b")
    asked = request()
    has = owner(made.from_server(asked, 0))
    assert has.outstanding == 1
    answer = reply(asked)
    assert made.from_backend(has, answer, 1) == [Forward(None, answer.data)]
    assert made.from_backend(has, answer, 1) == [Drop(answer, "late_reply")]
    assert has.outstanding == 0
    assert tick(made, 1e6) == []


def test_the_wrong_backend_answers() -> None:
    made = router("a", "b")
    asked = request()
    has = owner(made.from_server(asked, 0))
    (other,) = set(made.pool) - {has}
    answer = reply(asked)
    assert made.from_backend(other, answer, 1) == [Drop(answer, "late_reply")]
    assert made.from_backend(has, answer, 1) == [Forward(None, answer.data)]


def test_a_backend_is_too_late() -> None:
    made = router("a", iq_timeout=60)
    asked = request()
    has = owner(made.from_server(asked, 0))
    assert tick(made, 59.9) == []
    late = tick(made, 60)
    assert answers(late) == [(None, "iq_timeout", "1", TIMEOUT)]
    assert isinstance(late[0], Answer)
    assert b"a did not answer in 60 s" in late[0].data
    error = read(late[0].data)
    assert (error.sender, error.to) == (SVC, ANN)
    assert made.from_backend(has, reply(asked), 61) == [Drop(reply(asked), "late_reply")]
    assert tick(made, 120) == []


def test_a_backend_goes_with_requests() -> None:
    made = router("a", "b")
    requests = [request(str(n), f"u{n}@example.org", type="set") for n in range(20)]
    lost = [r.id for r in requests if owner(made.from_server(r, 0)).name == "a"]
    assert 0 < len(lost) < 20
    assert unanswered(made.crew.leave(backend(made, "a"), 1)) == [
        ("backend_lost", id) for id in lost
    ]
    assert made.counts.answered["backend_lost"] == len(lost)


def test_a_repeated_request_goes_where_the_first_one_went() -> None:
    made = router("a", "b", strategy_name="round-robin", affinity="none")
    first = owner(made.from_server(request(), 0))
    assert owner(made.from_server(request(), 0)) is first
    for _ in range(2):
        assert len(made.from_backend(first, reply(request()), 0)) == 1
    assert first.outstanding == 0


def test_a_held_request_repeats_the_id_of_one_that_went_elsewhere() -> None:
    made = router("a", "b", strategy_name="round-robin", affinity="none")
    first = owner(made.from_server(message(), 0))
    session = tag("message", sender=SVC, to=ANN, child=IBB.format("data"))
    made.from_backend(first, session, 0)
    made.crew.full(first)
    assert made.from_server(request(child=IBB.format("data"), type="set"), 0) == []
    other = owner(made.from_server(request(), 0))
    assert other is not first
    assert owner(made.crew.room(first, 1)) is other
    assert (first.outstanding, other.outstanding) == (0, 2)


@given(
    kind=st.sampled_from(sorted(KINDS)),
    type=st.sampled_from(["error", "result", "get", "set", "chat", "unavailable", "odd", None]),
    id=st.sampled_from(["1", "a/1", None]),
    here=st.booleans(),
)
def test_errors_and_results_are_never_answered(
    kind: str, type: str | None, id: str | None, here: bool
) -> None:
    made = router(*(["a"] if here else []), queue_timeout=0)
    decisions = made.from_server(tag(kind, type, id), 0)
    if here:
        a = backend(made, "a")
        made.server_down(0)
        decisions += made.from_backend(a, tag(kind, type, id, SVC, ANN), 0)
    assert decisions
    never = type == "error" or (kind == "iq" and type == "result")
    assert not (never and any(isinstance(each, Answer) for each in decisions))
    assert never or here or isinstance(decisions[0], Answer)


# What goes back to who caused it.


def error(id: str | None, sender: str = ANN, kind: str = "message") -> Stanza:
    return tag(kind, "error", id, sender)


@pytest.mark.parametrize("kind", ["message", "presence"])
@pytest.mark.parametrize("id", ["7", None])
def test_an_error_returns_to_the_backend_that_caused_it(kind: str, id: str | None) -> None:
    made = router("a", "b")
    usual = owner(made.from_server(message(), 0))
    (causes,) = set(made.pool) - {usual}
    made.from_backend(causes, tag(kind, None, id, SVC, ANN), 0)
    assert owner(made.from_server(error(id, kind=kind), 1)) is causes
    assert owner(made.from_server(error("8", kind=kind), 1)) is usual
    assert owner(made.from_server(error(id, kind=kind), 119.9)) is causes
    assert owner(made.from_server(error(id, kind=kind), 120)) is usual
    made.from_backend(causes, tag(kind, None, id, SVC, ANN), 200)
    made.crew.leave(causes, 201)
    assert owner(made.from_server(error(id, kind=kind), 202)) is usual


# Exchanges of several steps.


def test_a_command_session_stays_with_who_opened_it() -> None:
    made = router("a", "b", "c", strategy_name="round-robin", affinity="none")
    asked = request(child=COMMAND.format(""), type="set")
    opens = owner(made.from_server(asked, 0))
    session = COMMAND.format(" sessionid='s'")
    made.from_backend(opens, reply(asked, child=session), 0)
    for step in range(5):
        stanza = request(f"step {step}", child=session, type="set")
        assert owner(made.from_server(stanza, 0)) is opens
    others = {owner(made.from_server(request(f"{n}", BOB, session), 0)) for n in range(3)}
    assert len(others) == 1, "another user's session of that name is one of its own"


def test_a_bytestream_from_a_user() -> None:
    made = router("a", "b", "c", strategy_name="round-robin", affinity="none")
    opens = owner(made.from_server(request("0", child=IBB.format("open"), type="set"), 0))
    steps = [request(f"{n}", child=IBB.format("data"), type="set") for n in range(1, 6)]
    steps.append(request("9", child=IBB.format("close"), type="set"))
    assert {owner(made.from_server(each, 0)) for each in steps} == {opens}


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_a_bytestream_from_a_backend(name: str) -> None:
    made = router("a", "b", "c")
    opens = backend(made, name)
    made.from_backend(opens, tag("iq", "set", "1", SVC, ANN, child=IBB.format("open")), 0)
    data = request("2", child=IBB.format("data"), type="set")
    assert owner(made.from_server(data, 0)) is opens


def test_a_session_with_nobody_there() -> None:
    made = router()
    assert made.from_server(request(child=IBB.format("open"), type="set"), 0) == []
    assert made.queued == 1
    assert len(made.join(Backend("a"), 0)) == 1


@pytest.mark.parametrize("name", ["hash", "round-robin"])
def test_a_delegated_iq_is_its_users(name: str) -> None:
    made = router("a", "b", "c", strategy_name=name)
    owners: dict[str, list[Backend]] = defaultdict(list)
    for n in range(30):
        user = f"u{n % 10}@example.org"
        inner = f"<iq xmlns='{CLIENT_NS}' from='{user}/x' to='{SERVER}' type='get' id='1'/>"
        forwarded = f"<forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded>"
        delegated = request(str(n), SERVER, DELEGATION.format(2, forwarded), "set")
        owners[user].append(owner(made.from_server(delegated, 0)))
    assert all(len(set(each)) == 1 for each in owners.values())
    assert len({each[0] for each in owners.values()}) > 1


# Grants.


def grant(sender: str, child: str = PRIVILEGE) -> Stanza:
    return tag("message", sender=sender, child=child)


def test_grants_are_for_everybody() -> None:
    made = router("a", "b")
    a, b = made.pool
    first, second = grant(SERVER), grant(SERVER, DELEGATION.format(2, ""))
    assert made.from_server(first, 0) == [Forward(a, first.data), Forward(b, first.data)]
    assert len(made.from_server(second, 0)) == 2
    newer = grant(SERVER, PRIVILEGE.replace("get", "both"))
    assert len(made.from_server(newer, 0)) == 2
    c = Backend("c")
    assert made.join(c, 0)[:2] == [Forward(c, newer.data), Forward(c, second.data)]
    made.server_down(0)
    made.server_up(1)
    assert not any(isinstance(each, Forward) for each in made.join(Backend("d"), 1))


def test_a_grant_is_heard_before_what_waited() -> None:
    made = router()
    waits = message()
    made.from_server(waits, 0)
    granted = grant(SERVER)
    assert made.from_server(granted, 0) == []
    a = Backend("a")
    assert made.join(a, 1) == [Forward(a, granted.data), Forward(a, waits.data)]


@pytest.mark.parametrize("sender", [ANN, "ann@example.org", "example.org/x"])
def test_users_do_not_grant(sender: str) -> None:
    made = router("a", "b")
    assert len(made.from_server(grant(sender), 0)) == 1
    assert made.grants == {}


def test_grants_are_bounded() -> None:
    made = router()
    for n in range(MAX_GRANTS + 5):
        made.from_server(grant(f"s{n}.example"), 0)
    assert len(made.grants) == MAX_GRANTS


# What a backend may not do.


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(
    ("sender", "to", "condition"),
    [
        ("evil.example", ANN, "invalid-from"),
        (f"x@sub.{SVC}", ANN, "invalid-from"),
        (f"sub.{SVC}", ANN, "invalid-from"),
        (f"{SVC}@evil.example", ANN, "invalid-from"),
        (f"evil.example/x@{SVC}", ANN, "invalid-from"),
        (None, ANN, "improper-addressing"),
        ("", ANN, "improper-addressing"),
        (SVC, None, "improper-addressing"),
        (SVC, "", "improper-addressing"),
    ],
)
def test_wrong_addresses(kind: str, sender: str | None, to: str | None, condition: str) -> None:
    made = router("a")
    a = backend(made, "a")
    (refused,) = made.from_backend(a, tag(kind, "get", "1", sender, to), 0)
    assert isinstance(refused, Refuse)
    assert (refused.backend, refused.condition) == (a, condition)
    assert made.counts.accepted == 0


@pytest.mark.parametrize("sender", [SVC, f"x@{SVC}", f"x@{SVC}/y@z", f"{SVC}/x"])
def test_right_addresses(sender: str) -> None:
    made = router("a")
    sent = tag("message", sender=sender, to=ANN)
    assert made.from_backend(backend(made, "a"), sent, 0) == [Forward(None, sent.data)]


@pytest.mark.parametrize(
    ("type", "id"), [("get", None), (None, "1"), ("odd", "1"), (None, None), ("set", None)]
)
def test_a_bad_iq(type: str | None, id: str | None) -> None:
    made = router("a")
    decisions = made.from_server(tag("iq", type, id), 0)
    assert answers(decisions) == [(None, "bad_request", id, BAD)]
    decisions = made.from_backend(backend(made, "a"), tag("iq", type, id, SVC, ANN), 0)
    assert answers(decisions) == [("a", "bad_request", id, BAD)]
    assert made.counts.answered == {"bad_request": 2}


def test_a_backend_asks_its_own_component() -> None:
    made = router("a", "b", strategy_name="round-robin", affinity="none")
    a, b = made.pool
    made.crew.full(a)  # so that b gets it
    (up,) = made.from_backend(a, tag("iq", "get", "1", SVC, SVC), 0)
    assert isinstance(up, Forward)
    asked = read(up.data)
    assert made.from_server(asked, 0) == [Forward(b, up.data)]
    (back,) = made.from_backend(b, reply(asked), 0)
    assert isinstance(back, Forward)
    assert back.backend is None
    made.crew.room(a, 0)
    (down,) = made.from_server(read(back.data), 0)
    assert isinstance(down, Forward)
    assert (down.backend, read(down.data).id) == (a, "1")
    assert len(made.delivery.inflight) == 0


# Holding for backends.


def test_in_order_when_there_is_room() -> None:
    made = router("a")
    a = backend(made, "a")
    made.crew.full(a)
    stanzas = [message(str(n), sender) for n, sender in enumerate([ANN, BOB, ANN, BOB])]
    assert [made.from_server(each, 0) for each in stanzas] == [[]] * 4
    assert made.queued == 4
    assert made.crew.room(a, 1) == [Forward(a, each.data) for each in stanzas]
    assert made.queued == 0


def test_in_order_when_somebody_comes() -> None:
    made = router()
    stanzas = [message("1"), request(), message("3"), request("2", BOB)]
    assert [made.from_server(each, 0) for each in stanzas] == [[]] * 4
    a = Backend("a")
    assert made.join(a, 1) == [Forward(a, each.data) for each in stanzas]
    assert (made.queued, a.outstanding) == (0, 2)


@pytest.mark.parametrize(("name", "spill"), [("round-robin", False), ("hash", True)])
def test_when_all_are_full_each_conversation_waits_for_its_own(name: str, spill: bool) -> None:
    made = router("a", "b", strategy_name=name, spill=spill)
    for each in made.pool:
        made.crew.full(each)
    stanzas = [message("1"), message("2", BOB), message("3")]
    assert [made.from_server(each, 0) for each in stanzas] == [[]] * 3
    served = [made.crew.room(each, 1) for each in made.pool]
    heard = [[read(each.data) for each in decisions] for decisions in served]  # type: ignore[union-attr]
    assert sum(map(len, heard)) == 3
    of_ann = [[each for each in some if each.sender == ANN] for some in heard]
    assert [stanzas[0], stanzas[2]] in of_ann
    assert made.queued == 0


def test_what_waited_for_who_left_moves_in_order() -> None:
    made = router("a", "b")
    stanzas = [message(str(n)) for n in range(3)]
    has = owner(made.from_server(message(), 0))
    (other,) = set(made.pool) - {has}
    made.delivery.received(has, has.ledger.mark())
    made.crew.full(has)
    for each in stanzas:
        made.from_server(each, 0)
    moved = [each for each in made.crew.leave(has, 1) if not isinstance(each, Tell)]
    assert moved == [Forward(other, each.data) for each in stanzas]
    made.delivery.received(other, other.ledger.mark())
    made.crew.full(other)
    made.from_server(stanzas[0], 2)
    assert made.crew.leave(other, 3) == []
    assert made.queued == 1


@pytest.mark.parametrize(
    "rules",
    [Rules(SVC, queue_size=2), Rules(SVC, queue_bytes=2 * len(request().data))],
    ids=["stanzas", "bytes"],
)
@pytest.mark.parametrize("names", [(), ("a",)])
def test_overflow(names: tuple[str, ...], rules: Rules) -> None:
    made = router(*names)
    made.configure(rules, strategy("hash", Dice(7).random), 0)
    for each in made.pool:
        made.crew.full(each)
    decisions = [made.from_server(request(id), 0) for id in "123"]
    assert decisions[:2] == [[], []]
    assert unanswered(decisions[2]) == [("queue_full", "3")]
    assert made.queued == 2


def test_no_holding() -> None:
    made = router(queue_timeout=0)
    assert unanswered(made.from_server(request(), 0)) == [("no_backend", "1")]
    (dropped,) = made.from_server(error("1"), 0)
    assert isinstance(dropped, Drop)
    assert (made.counts.answered, made.counts.dropped) == (
        {"no_backend": 1},
        {("no_backend", "message"): 1},
    )


@pytest.mark.parametrize("names", [(), ("a",)])
def test_nobody_takes_it_in_time(names: tuple[str, ...]) -> None:
    made = router(*names, queue_timeout=5)
    for each in made.pool:
        made.crew.full(each)
    for now in range(3):
        made.from_server(request(str(now)), now)
    made.from_server(error("4"), 2)
    assert tick(made, 4.9) == []
    assert unanswered(tick(made, 6)) == [("queue_timeout", "0"), ("queue_timeout", "1")]
    last = tick(made, 7)
    assert unanswered(last[:1]) == [("queue_timeout", "2")]
    assert isinstance(last[1], Drop)
    assert (made.queued, tick(made, 1e6)) == (0, [])


def test_one_that_stands_still_does_not_hold_up_the_others() -> None:
    made = router("a", "b", "c", queue_size=80)
    senders = [f"u{n}@y" for n in range(20)]
    has = {sender: owner(made.from_server(message(sender=sender), 0)[:1]) for sender in senders}
    still, moving = senders[0], next(each for each in senders if has[each] is not has[senders[0]])
    for each in (still, moving):
        made.crew.full(has[each])
        has[each].moved = 10
    decisions = [made.from_server(request(str(n), still), 0) for n in range(41)]
    assert decisions[:40] == [[]] * 40
    assert unanswered(decisions[40]) == [("queue_full", "40")], "half of it is for the others"
    assert made.crowded(10.1), "it is at work: a moment's patience"
    assert not made.crowded(11), "it stands still: the others matter more"
    for n in range(10):
        assert made.from_server(request(str(n), moving), 0) == []
    has[moving].moved = 11
    assert made.crowded(11.1)


def test_crowded() -> None:
    made = router("a", queue_size=4)
    a = backend(made, "a")
    made.crew.full(a)
    for n in range(3):
        assert not made.crowded(99)
        made.from_server(message(str(n)), 0)
    assert made.crowded(99)
    made.crew.room(a, 0)
    assert not made.crowded(99)


# Holding for the server.


def test_the_server_is_away() -> None:
    made = router("a", "b", up=False)
    a, b = made.pool
    sent = [
        (each, tag("message", id=str(n), sender=SVC, to=ANN)) for n, each in enumerate([a, b, a])
    ]
    for each, stanza in sent:
        assert made.from_backend(each, stanza, 0) == []
    assert made.from_backend(b, tag("iq", "get", "1", SVC, ANN), 0) == []
    assert made.queued == 4
    decisions = made.server_up(1)
    assert decisions[:3] == [Forward(None, stanza.data) for _, stanza in sent]
    assert isinstance(decisions[3], Forward)
    assert read(decisions[3].data).id == "b/1"
    assert (made.queued, made.counts.delivered) == (0, 4)


def test_too_much_for_a_server_that_is_away() -> None:
    made = router("a", up=False, queue_size=1)
    a = backend(made, "a")
    assert made.from_backend(a, tag("iq", "get", "1", SVC, ANN), 0) == []
    decisions = made.from_backend(a, tag("iq", "get", "2", SVC, ANN), 0)
    assert answers(decisions) == [("a", "queue_full", "2", TIMEOUT)]


def test_the_server_does_not_come_back_in_time() -> None:
    made = router("a", "b", up=False, queue_timeout=5)
    a, b = made.pool
    for each in (a, b):
        assert made.from_backend(each, tag("iq", "get", "1", SVC, ANN), 0) == []
    assert made.crew.leave(b, 1) == []
    assert tick(made, 4.9) == []
    (to_a, of_b) = tick(made, 5)
    assert answers([to_a]) == [("a", "queue_timeout", "1", TIMEOUT)]
    assert isinstance(of_b, Drop)
    assert of_b.reason == "backend_gone"
    assert made.queued == 0


# Whatever happens.

NAMES = st.sampled_from("abc")
USERS = st.sampled_from([ANN, BOB])
STEPS = st.one_of(
    st.tuples(st.just("ask"), USERS, st.sampled_from(["1", "2"]), st.booleans()),
    st.tuples(st.just("answer"), NAMES),
    st.tuples(st.sampled_from(["join", "leave", "full", "room"]), NAMES),
    st.tuples(st.just("tick"), st.sampled_from([1, 3, 7])),
)


class Play:
    """Counts questions and answers by who asked under which id."""

    def __init__(self, made: Router) -> None:
        self.router = made
        self.now = 0.0
        self.open: Counter[tuple[str | None, str | None]] = Counter()
        self.has: dict[Backend, deque[Stanza]] = defaultdict(deque)

    def see(self, decisions: Iterable[Decision]) -> None:
        for each in decisions:
            if isinstance(each, Tell):
                continue
            assert isinstance(each, Forward | Answer), each
            stanza = read(each.data)
            if each.backend is not None:
                assert each.backend in self.router.pool
                assert not each.backend.congested
                self.has[each.backend].append(stanza)
            else:
                self.open[stanza.to, stanza.id] -= 1
        assert all(count >= 0 for count in self.open.values()), "answered twice"

    def step(self, what: str, *how: object) -> None:
        made, now = self.router, self.now
        if what == "ask":
            sender, id, in_session = how
            child = IBB.format("data") if in_session else ""
            self.open[str(sender), str(id)] += 1
            self.see(made.from_server(request(str(id), str(sender), child, "set"), now))
            return
        if what == "tick":
            (seconds,) = how
            assert isinstance(seconds, int)
            self.now += seconds
            self.see(tick(made, self.now))
            return
        name = str(how[0])
        there = made.pool.get(name)
        if what == "join" and there is None:
            self.see(made.join(Backend(name), now))
        elif there is None:
            return
        elif what == "leave":
            self.see(made.crew.leave(there, now))
        elif what == "full":
            made.crew.full(there)
        elif what == "room":
            self.see(made.crew.room(there, now))
        elif what == "answer" and self.has[there]:
            decisions = made.from_backend(there, reply(self.has[there].popleft()), now)
            # Too late is too late; then somebody has been told already.
            self.see(each for each in decisions if not isinstance(each, Drop))


@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(STEPS, max_size=40),
    name=st.sampled_from(STRATEGIES),
    affinity=st.sampled_from(["sender", "none"]),
    spill=st.booleans(),
    size=st.sampled_from([2, 100]),
)
def test_every_request_is_answered_once(
    steps: list[tuple[str, *tuple[object, ...]]], name: str, affinity: str, spill: bool, size: int
) -> None:
    made = router(
        "a", strategy_name=name, affinity=affinity, spill=spill, queue_size=size, iq_timeout=10
    )
    play = Play(made)
    for step in steps:
        play.step(*step)
        assert sum(play.open.values()) == made.queued + sum(each.outstanding for each in made.pool)
        assert not made.missing()
    for backend_name in "abc":
        play.step("leave", backend_name)
    play.step("tick", 100)
    assert not +play.open, "never answered"
    assert (made.queued, len(made.delivery.inflight)) == (0, 0)
    assert {each.outstanding for each in play.has} <= {0}


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("say"), USERS),
            st.tuples(st.sampled_from(["full", "room"]), st.sampled_from("ab")),
        ),
        max_size=40,
    ),
    name=st.sampled_from(STRATEGIES),
)
def test_a_conversation_keeps_its_order(steps: list[tuple[str, str]], name: str) -> None:
    made = router("a", "b", strategy_name=name)
    heard: dict[str | None, list[int]] = defaultdict(list)
    for number, (what, who) in enumerate([*steps, ("room", "a"), ("room", "b")]):
        decisions: list[Decision] = []
        if what == "say":
            decisions = made.from_server(message(sender=who, id=str(number)), 0)
        elif what == "full":
            made.crew.full(backend(made, who))
        else:
            decisions = made.crew.room(backend(made, who), 0)
        for each in decisions:
            assert isinstance(each, Forward)
            stanza = read(each.data)
            heard[stanza.sender].append(int(stanza.id or 0))
    assert sum(map(len, heard.values())) == sum(what == "say" for what, _ in steps)
    assert all(each == sorted(each) for each in heard.values())


def test_our_answers_wait_for_the_server_while_it_is_away() -> None:
    made = router("a", iq_timeout=10, queue_timeout=5)
    made.from_server(request("1"), 0)
    made.from_server(request("2"), 0)
    made.server_down(0)
    assert tick(made, 10) == []  # time is over for both, and there is nobody to tell
    assert made.queued == 2
    told = made.server_up(11)
    assert all(isinstance(each, Forward) and each.backend is None for each in told)
    assert [read(each.data).id for each in told if isinstance(each, Forward)] == ["1", "2"]
    assert made.counts.answered["iq_timeout"] == 2
    assert made.queued == 0


def test_our_answers_wait_as_long_as_it_takes_and_need_no_room() -> None:
    made = router("a", iq_timeout=10, queue_timeout=5, queue_size=1)
    made.from_server(request("1"), 0)
    made.from_server(request("2"), 0)
    made.server_down(0)
    assert (tick(made, 10), tick(made, 100)) == ([], [])
    assert len(made.server_up(101)) == 2
    assert not made.missing()


def test_giving_up_answers_what_is_held_in_both_directions() -> None:
    made = router()
    assert made.from_server(request("down"), 0) == []
    (down,) = made.give_up()
    assert isinstance(down, Answer)
    assert (down.backend, read(down.data).id) == (None, "down")
    made.join(Backend("a"), 2)
    made.server_down(0)
    worker = backend(made, "a")
    assert made.from_backend(worker, request_of("up"), 3) == []
    (up,) = made.give_up()
    assert isinstance(up, Answer)
    assert (up.backend, read(up.data).id) == (worker, "up")
    assert made.queued == 0


def request_of(id: str) -> Stanza:
    return tag("iq", "get", id, SVC, ANN)


@pytest.mark.parametrize("to", ["@localhost", "localhost/", "\u00ad", "a@\u00ad"])
def test_a_malformed_to_is_answered_to_its_sender_alone(to: str) -> None:
    made = router("a")
    worker = backend(made, "a")
    (answer,) = made.from_backend(worker, tag("presence", None, "1", SVC, to), 0)
    assert isinstance(answer, Answer)
    assert answer.backend is worker
    assert b"<jid-malformed xmlns=" in answer.data
