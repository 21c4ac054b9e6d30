"""What happens to backends, and what becomes of their stanzas: plays on the router."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from balancer.decisions import Answer, Changed, Close, Decision, Drop, Forward, Refuse, Rules, Tell
from balancer.health import HealthRules, Order, State
from balancer.pool import Backend
from balancer.router import Router
from balancer.stanza import CONTROL_NS, Stanza
from balancer.strategy import strategy
from tests.test_router import (
    ANN,
    BOB,
    COMMAND,
    SVC,
    answers,
    backend,
    grant,
    message,
    owner,
    read,
    reply,
    request,
    tag,
)

FAST = HealthRules(interval=2, timeout=1, rise=2, fall=3, eject_after=2, eject_time=10)
MARK = f"<redelivered xmlns='{CONTROL_NS}'/>".encode()


def router(*names: str, strategy_name: str = "hash", up: bool = True, **rules: object) -> Router:
    made = Router(
        Rules(SVC, health=FAST)._replace(**rules),  # type: ignore[arg-type]
        strategy(strategy_name, lambda: 0.5),
    )
    if up:
        assert made.server_up(0) == []
    for name in names:
        assert made.join(Backend(name), 0) == []
    return made


def told(decisions: Iterable[Decision]) -> list[Stanza]:
    """The checks among the decisions."""
    return [read(each.data) for each in decisions if isinstance(each, Tell)]


def forwarded(decisions: Iterable[Decision]) -> list[tuple[str, str | None, bool]]:
    """Who gets which id, and whether it is marked as redelivered."""
    return [
        (each.backend.name, read(each.data).id, MARK in each.data)
        for each in decisions
        if isinstance(each, Forward) and each.backend is not None
    ]


def pass_checks(made: Router, name: str, decisions: list[Decision], now: float) -> list[Decision]:
    """A backend answers the checks it was sent."""
    there = backend(made, name)
    there.health.heard = now
    return [
        more
        for each in decisions
        if isinstance(each, Tell) and each.backend is there
        for more in made.from_backend(there, reply(each.data), now)
    ]


def survive(made: Router, names: str, until: float, now: float = 0.0) -> list[Decision]:
    """Time passes, and only these backends answer their checks."""
    seen: list[Decision] = []
    while now < until:
        now += 0.25
        decisions = made.tick(now)
        seen += decisions
        for name in names:
            seen += pass_checks(made, name, decisions, now)
    return seen


def states(decisions: Iterable[Decision]) -> list[tuple[str, str]]:
    return [(each.backend.name, each.why) for each in decisions if isinstance(each, Changed)]


# Barriers.


def test_a_check_is_a_ping_from_an_address_of_our_own() -> None:
    made = router("a/b")
    (check,) = told(made.tick(0))
    assert (check.kind, check.type, check.to) == ("iq", "get", f"{SVC}/a/b")
    assert check.sender == made.delivery.identity
    assert b"<ping xmlns='urn:xmpp:ping'/>" in check.data


@pytest.mark.parametrize("type", ["result", "error"])
def test_the_answer_to_a_check_acknowledges_and_goes_no_further(type: str) -> None:
    made = router("a")
    a = backend(made, "a")
    made.from_server(message(), 0)
    (check,) = told(made.tick(0))
    made.from_server(message(), 0)
    assert (len(a.ledger), made.counts.delivered, made.held) == (2, 0, 2)
    (changed,) = made.from_backend(a, reply(check, type), 0.5)
    assert isinstance(changed, Changed)
    assert (len(a.ledger), made.counts.delivered, made.held) == (1, 1, 1)
    assert (a.health.state, a.health.round_trip) == (State.UP, 0.5)
    assert made.from_backend(a, reply(check), 1) == [], "said twice"
    assert (made.missing(), made.counts.accepted) == (0, 2)


def test_a_barrier_comes_each_quarter_of_the_window() -> None:
    made = router("a", max_unacked=8)
    kinds = [[type(each) for each in made.from_server(message(), 0)] for _ in range(4)]
    assert kinds == [[Forward], [Forward, Tell], [Forward], [Forward, Tell]]


def test_a_full_window_holds_until_it_is_acknowledged() -> None:
    made = router("a", max_unacked=2)
    sent = [made.from_server(message(id=str(n)), 0) for n in range(4)]
    assert [len(forwarded(each)) for each in sent] == [1, 1, 0, 0]
    assert (made.queued, made.held) == (2, 4)
    (first, _) = told([*sent[0], *sent[1]])
    served = made.from_backend(backend(made, "a"), reply(first), 1)
    assert forwarded(served) == [("a", "2", False)]
    assert not made.missing()


def test_a_window_has_bytes_too() -> None:
    made = router("a", max_unacked_bytes=len(message().data) + 1)
    assert [len(forwarded(made.from_server(message(), 0))) for _ in range(3)] == [1, 1, 0]


# Death.


def test_messages_presence_and_gets_go_to_another_and_sets_are_answered() -> None:
    made = router("a", "b")
    has = owner(made.from_server(message(id="1"), 0))
    (other,) = set(made.pool) - {has}
    for stanza in (
        tag("presence", id="2"),
        request("3"),
        request("4", type="set"),
        message(id="5"),
    ):
        assert owner(made.from_server(stanza, 0)) is has
    decisions = made.crew.leave(has, 1)
    assert forwarded(decisions) == [(other.name, id, True) for id in "1235"]
    assert answers([each for each in decisions if isinstance(each, Answer)]) == [
        (None, "backend_lost", "4", "wait remote-server-timeout")
    ]
    assert made.counts.redelivered == 4
    assert not made.missing()
    assert made.from_backend(other, reply(request("3")), 2)
    assert made.counts.delivered == 2, "the request, and its answer"


def test_what_was_acknowledged_stays_and_what_was_answered_is_done() -> None:
    made = router("a")
    a = backend(made, "a")
    made.from_server(message(id="1"), 0)
    made.from_server(request("2"), 0)
    made.from_server(request("3"), 0)
    (check,) = told(made.tick(0))
    made.from_server(message(id="4"), 0)
    made.from_server(request("5"), 0)
    made.from_backend(a, reply(check), 1)
    for id in "25":
        made.from_backend(a, reply(request(id)), 1)
    made.join(Backend("b"), 1)
    decisions = made.crew.leave(a, 2)
    # 3 was received, but a request is done only with its answer.
    assert forwarded(decisions) == [("b", "3", True), ("b", "4", True)]
    assert not made.missing()


def test_iq_sets_too_if_the_operator_says_so_and_nothing_if_not() -> None:
    everything = frozenset({"message", "presence", "iq-get", "iq-set"})
    made = router("a", "b", redeliver=everything)
    has = owner(made.from_server(request(type="set"), 0))
    assert len(forwarded(made.crew.leave(has, 0))) == 1
    made = router("a", "b", redeliver=frozenset())
    has = owner(made.from_server(message(), 0))
    assert answers(made.crew.leave(has, 0)) == [
        (None, "backend_lost", None, "wait remote-server-timeout")
    ]


def test_no_third_backend() -> None:
    made = router("a", "b", "c")
    first = owner(made.from_server(message(), 0))
    again, _check = made.crew.leave(first, 0)
    assert isinstance(again, Forward)
    assert again.backend is not None
    decisions = made.crew.leave(again.backend, 1)
    assert [reason for _, reason, _, _ in answers(decisions)] == ["backends_lost"]
    assert not made.missing()


def test_a_stanger_cannot_pretend() -> None:
    made = router("a", "b")
    fake = message(child=MARK.decode())
    first = owner(made.from_server(fake, 0))
    assert len(forwarded(made.crew.leave(first, 0))) == 1


def test_a_crash_loop_is_bounded() -> None:
    made = router("a", "b", max_unacked=20)
    while made.delivery.retries.take():  # others have used it up
        pass
    has = owner(made.from_server(message(), 0)[:1])
    decisions = made.crew.leave(has, 0)
    assert [reason for _, reason, _, _ in answers(decisions)] == ["retry_budget"]
    assert made.counts.not_retried == 1
    assert not made.missing()


def test_order_is_kept_across_a_death() -> None:
    made = router("a", "b", max_unacked=4)
    has = owner(made.from_server(message(id="0"), 0)[:1])
    for n in range(1, 8):
        made.from_server(message(id=str(n)), 0)
    decisions = made.crew.leave(has, 0)
    (other,) = made.pool
    for now in range(1, 9):
        decisions += pass_checks(made, other.name, decisions, now)
    ids = [(id, again) for _, id, again in forwarded(decisions)]
    assert ids == [(str(n), n < 4) for n in range(8)]


def test_the_last_backend_dies_and_comes_back() -> None:
    made = router("a")
    made.from_server(message(id="1"), 0)
    assert made.crew.leave(backend(made, "a"), 0) == []
    made.from_server(message(id="2"), 1)
    assert (made.queued, made.held) == (2, 2)
    assert forwarded(made.join(Backend("a"), 2)) == [("a", "1", True), ("a", "2", False)]
    assert not made.missing()


def test_who_takes_a_name_gets_what_the_old_connection_had() -> None:
    made = router("a", "b")
    has = owner(made.from_server(message(id="1"), 0))
    again = made.join(Backend(has.name), 1)
    assert forwarded(again) == [(has.name, "1", True)]
    assert backend(made, has.name) is not has
    assert has.gone


def test_nothing_of_a_dead_backends_own_is_given_to_another() -> None:
    made = router("a", "b")
    made.from_server(grant("example.org"), 0)
    a = backend(made, "a")
    (up,) = made.from_backend(a, tag("iq", "get", "1", SVC, ANN), 0)
    assert isinstance(up, Forward)
    made.from_server(reply(up.data), 0)
    decisions = made.crew.leave(a, 0)
    assert [type(each) for each in decisions] == [Drop, Drop]
    assert not made.missing()


# Health.


def test_a_black_hole_goes_down_in_time_and_its_stanzas_move() -> None:
    made = router("a", "b")
    survive(made, "ab", 2)
    senders = [f"u{n}@example.org" for n in range(20)]
    mine = [s for s in senders if owner(made.from_server(message(sender=s, id=s), 2)).name == "a"]
    seen = survive(made, "b", 2 + 2 * 3 + 1, now=2)
    assert ("a", "3 checks failed") in states(seen)
    assert forwarded(seen) == [("b", sender, True) for sender in mine]
    assert {owner(made.from_server(message(sender=s), 9)).name for s in senders} == {"b"}
    assert backend(made, "a").state == "down"
    assert not made.missing()


def test_a_backend_that_wakes_up_rises_and_is_served_again() -> None:
    made = router("a")
    decisions = survive(made, "", 8)
    a = backend(made, "a")
    assert a.state == "down"
    assert made.from_server(message(id="1"), 8) == []
    served = pass_checks(made, "a", decisions, 9)
    assert a.state in ("starting", "up")
    served += made.tick(9.1)
    assert forwarded(served) == [("a", "1", False)]
    assert not made.missing()


def test_who_is_heard_is_given_more_time() -> None:
    made = router("a")
    a = backend(made, "a")
    for tick in range(16):
        made.tick(tick / 4)
        a.health.heard = tick / 4
    assert a.state == "starting"


def test_the_barriers_of_a_burst_are_not_as_many_failures() -> None:
    made = router("a", max_unacked=4)
    for _ in range(4):
        made.from_server(message(), 0)
    made.tick(0)
    made.tick(1)
    assert backend(made, "a").state == "starting"
    assert backend(made, "a").record.check_failures == {"timeout": 1}


def test_a_check_goes_no_further_while_many_are_unanswered() -> None:
    made = router("a")
    assert len(told(survive(made, "", 100))) <= 16


def fail_requests(made: Router, who: Backend, count: int, condition: str) -> list[Decision]:
    decisions: list[Decision] = []
    for n in range(count):
        asked = request(f"{condition}{n}")
        assert made.delivery.give(who, asked, 0)
        error = f"<error type='cancel'><{condition} xmlns='urn:x'/></error>"
        decisions += made.from_backend(who, reply(asked, "error", error), 0)
    return decisions


def test_a_failing_backend_is_ejected_but_never_the_last() -> None:
    made = router("a", "b")
    a, b = made.pool
    assert not states(fail_requests(made, a, 5, "item-not-found"))
    assert states(fail_requests(made, a, 2, "internal-server-error"))
    assert a.state == "ejected"
    assert owner(made.from_server(message(), 0)) is b
    assert not states(fail_requests(made, b, 2, "internal-server-error"))
    assert (b.state, made.checkup.suppressed) == ("starting", 1)
    made.tick(10)
    assert a.state == "starting"


def test_requests_that_are_not_answered_in_time_count_as_bad() -> None:
    made = router("a", "b", iq_timeout=1)
    has = owner(made.from_server(request("1"), 0))
    made.from_server(request("2"), 0)
    assert states(made.tick(1))
    assert has.state == "ejected"


def test_slow_start_raises_the_share() -> None:
    made = router(health=FAST._replace(slow_start=10))
    made.join(Backend("a", 10), 0)
    a = backend(made, "a")
    shares = []
    for now in range(11):
        pass_checks(made, "a", made.tick(now), now)
        shares.append(round(a.share))
    assert shares == [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert a.state == "up"


# What the operator wants.


def test_drain_finishes_and_closes() -> None:
    made = router("a", "b")
    has = owner(made.from_server(request("1"), 0))
    (other,) = set(made.pool) - {has}
    (changed, check) = made.orders.order(has.name, Order.DRAIN, 0)
    assert (type(changed), type(check)) == (Changed, Tell)
    assert made.from_server(message(id="2"), 0) == [], "what it has comes first"
    assert made.orders.order(has.name, Order.DRAIN, 0) == []
    assert forwarded(pass_checks(made, has.name, [check], 1)) == [(other.name, "2", False)]
    assert Close(has) not in made.tick(1), "a request is not answered"
    made.from_backend(has, reply(request("1")), 1)
    assert Close(has) in made.tick(1.1)
    assert has.closing
    assert made.crew.leave(has, 2) == []
    assert not made.missing()


def test_a_drain_ends_at_the_latest_with_iq_timeout() -> None:
    made = router("a", "b", iq_timeout=10)
    has = owner(made.from_server(message(), 0))
    made.orders.order(has.name, Order.DRAIN, 0)
    assert Close(has) not in made.tick(9)
    assert Close(has) in made.tick(10)
    assert len(forwarded(made.crew.leave(has, 11))) == 1


def test_a_drain_waits_for_its_own_questions_and_known_conversations() -> None:
    made = router("a", "b", strategy_name="round-robin")
    has = owner(made.from_server(message(), 0))
    (up,) = made.from_backend(has, tag("iq", "get", "1", SVC, BOB), 0)
    decisions = made.orders.order(has.name, Order.DRAIN, 0)
    assert owner(made.from_server(message(), 0)) is has, "it knows this one"
    assert owner(made.from_server(message(sender=BOB), 0)) is not has
    decisions += made.tick(0)
    pass_checks(made, has.name, decisions, 0)
    assert Close(has) not in made.tick(1)
    assert isinstance(up, Forward)
    decisions = made.from_server(reply(up.data), 1)
    assert owner(decisions) is has
    decisions = made.tick(1)
    pass_checks(made, has.name, decisions, 1)
    assert Close(has) in made.tick(1)


def test_a_backend_asks_to_be_drained() -> None:
    made = router("a", "b")
    a = backend(made, "a")
    ask = tag("iq", "set", "9", f"x@{SVC}", SVC, child=f"<drain xmlns='{CONTROL_NS}'/>")
    answer, changed = made.from_backend(a, ask, 0)
    assert isinstance(answer, Answer)
    result = read(answer.data)
    assert (result.type, result.id, result.to, result.sender) == ("result", "9", f"x@{SVC}", SVC)
    assert (type(changed), a.order) == (Changed, Order.DRAIN)
    assert Close(a) in made.tick(0)
    made.crew.leave(a, 0)
    made.join(Backend("a"), 1)
    assert backend(made, "a").state == "starting", "it was its own wish, and it is back"
    assert not made.missing()


def test_only_an_iq_to_the_component_itself_controls() -> None:
    made = router("a")
    a = backend(made, "a")
    child = f"<drain xmlns='{CONTROL_NS}'/>"
    assert type(made.from_backend(a, tag("iq", "set", "9", SVC, BOB, child=child), 0)[0]) is Forward
    assert type(made.from_server(tag("iq", "set", "9", BOB, SVC, child=child), 0)[0]) is Forward
    assert a.order is Order.READY


def test_maintenance_moves_conversations_and_outlives_a_reconnect() -> None:
    made = router("a", "b", strategy_name="round-robin")
    has = owner(made.from_server(message(), 0))
    (other,) = set(made.pool) - {has}
    made.crew.full(has)
    assert made.from_server(message(id="1"), 0) == []
    decisions = made.orders.order(has.name, Order.MAINT, 0)
    moved = pass_checks(made, has.name, decisions, 0)
    assert forwarded(moved) == [(other.name, "1", False)]
    assert owner(made.from_server(message(), 0)) is other
    made.crew.leave(has, 1)
    made.join(Backend(has.name), 2)
    assert backend(made, has.name).state == "maint"
    made.orders.order(has.name, Order.READY, 3)
    assert backend(made, has.name).state == "starting"
    assert not made.orders.by_name
    assert Close(has) not in made.tick(1000)


def test_ready_serves_who_waited() -> None:
    made = router("a")
    made.orders.order("a", Order.MAINT, 0)
    assert made.from_server(message(), 0) == []
    decisions = made.orders.order("a", Order.READY, 1)
    assert len(forwarded(decisions)) == 1


def test_an_order_to_nobody() -> None:
    with pytest.raises(KeyError, match="zoe"):
        router().orders.order("zoe", Order.DRAIN, 0)


def test_busy_as_a_whole() -> None:
    made = router("a", "b", max_unacked=8)

    def fill(name: str, count: int) -> None:
        for _ in range(count):
            backend(made, name).ledger.add(message(), plain=True)

    fill("a", 6)
    fill("b", 6)
    assert not made.crowded(0)
    fill("b", 1)
    assert made.crowded(0), "more than three quarters"
    backend(made, "b").ledger.take()
    fill("b", 3)
    assert made.crowded(0), "it was, and it is more than half"
    backend(made, "b").ledger.take()
    assert not made.crowded(0)


def test_the_server_is_read_on_while_backends_wait_for_it() -> None:
    made = router("a", max_unacked=8, queue_size=100, affinity="sender")
    a = backend(made, "a")
    for number in range(8):
        made.from_server(message(id=str(number)), 0)
    assert made.crowded(0)
    asked = tag("iq", "get", "q", SVC, ANN)
    made.from_backend(a, asked, 0)
    assert not made.crowded(0), "the answer is yet to be read"
    # It goes past the window, which may be full of what waits for it.
    (answer,) = made.from_server(tag("iq", "result", f"{a.tag}/q", ANN, SVC), 0)
    assert isinstance(answer, Forward)
    assert answer.backend is a
    made.from_backend(a, asked, 0)
    while not made.delivery.budget.is_nearly_full():
        made.delivery.budget.used += 1
    assert made.crowded(0), "within bounds"


def test_of_many_not_every_look_counts() -> None:
    made = router(*map(str, range(70)), max_unacked=1)
    for each in made.pool:
        each.ledger.add(message(), plain=True)
    looks = [made.crew.is_busy(False) for _ in range(32)]
    assert looks.count(True) == 2
    assert made.crew.is_busy(True)


def test_a_weight_can_be_set() -> None:
    made = router("a", "b")
    made.orders.weigh("a", 200, 0)
    owners = [owner(made.from_server(message(sender=f"u{n}@x"), 0)[:1]).name for n in range(50)]
    assert owners.count("a") > 40
    with pytest.raises(KeyError, match="zoe"):
        made.orders.weigh("zoe", 2, 0)
    made.orders.order("b", Order.MAINT, 0)
    made.orders.weigh("b", 5, 0)
    assert not backend(made, "b").frozen or backend(made, "b").lingers, "it stays out"
    assert not backend(made, "b").eligible()


def test_sessions_stay_with_who_is_drained() -> None:
    made = router("a", "b")
    has = owner(made.from_server(message(), 0))
    session = COMMAND.format(" sessionid='s'")
    made.from_backend(has, tag("iq", "get", "1", SVC, ANN, child=session), 0)
    decisions = made.orders.order(has.name, Order.DRAIN, 0)
    pass_checks(made, has.name, decisions, 0)
    assert owner(made.from_server(request(child=session), 0)) is has
    assert owner(made.from_server(message(), 0)) is not has


# Moves in order.


def test_a_newcomer_waits_until_the_others_have_what_came_before() -> None:
    made = router("a")
    for n in range(20):
        made.from_server(message(sender=f"u{n}@example.org", id=str(n)), 0)
    decisions = made.join(Backend("b"), 0)
    mine = [
        n
        for n in range(20)
        if made.from_server(message(sender=f"u{n}@example.org", id=str(n)), 0) == []
    ]
    assert 0 < len(mine) < 20
    served = forwarded(pass_checks(made, "a", decisions, 1))
    assert served == [("b", str(n), False) for n in mine]


@pytest.mark.parametrize("name", ["round-robin", "hash"])
def test_nobody_waits_without_affinity_or_when_conversations_do_not_move(name: str) -> None:
    made = router("a", strategy_name=name, affinity="thread" if name == "hash" else "none")
    made.from_server(message(), 0)
    decisions = made.join(Backend("b"), 0)
    assert backend(made, "b").frozen is (name == "hash")
    assert len(told(decisions)) == (name == "hash")


def test_late_is_worse_than_out_of_order() -> None:
    made = router("a", settle_time=1.5)
    made.from_server(message(), 0)
    made.join(Backend("b"), 0)
    assert repr(made.crew._moves) == "<Moves of b>"
    made.tick(1)
    assert backend(made, "b").frozen
    made.tick(1.5)
    assert not backend(made, "b").frozen
    assert repr(made.crew._moves) == "<Moves of nobody>"


def test_who_is_waited_for_dies() -> None:
    made = router("a")
    made.from_server(message(id="1"), 0)
    made.join(Backend("b"), 0)
    assert forwarded(made.crew.leave(backend(made, "a"), 0)) == [("b", "1", True)]


def test_an_ejected_backend_keeps_its_conversations_until_it_has_what_came_before() -> None:
    made = router("a", "b")
    has = owner(made.from_server(message(), 0))
    decisions = fail_requests(made, has, 2, "internal-server-error")
    assert has.state == "ejected"
    assert made.from_server(message(id="2"), 0) == []
    served = forwarded(pass_checks(made, has.name, decisions, 0))
    assert [(name != has.name, id) for name, id, _ in served] == [(True, "2")]


# XEP-0198.


def test_acknowledged_to_the_stanza() -> None:
    made = router("a", max_unacked=4)
    a = backend(made, "a")
    made.from_server(message(id="0"), 0)
    made.checkup.enable_acks(a)
    sent = [made.from_server(message(id=str(n)), 0) for n in range(1, 4)]
    assert [each.data for some in sent for each in some if isinstance(each, Tell)] == [
        b"<r xmlns='urn:xmpp:sm:3'/>"
    ] * 3
    assert made.from_server(message(id="4"), 0) == []
    served = made.checkup.acknowledged(a, 1, 1)
    assert forwarded(served) == [("a", "4", False)]
    assert (made.counts.delivered, len(a.ledger)) == (2, 3)
    (refused,) = made.checkup.acknowledged(a, 99, 1)
    assert isinstance(refused, Refuse)
    assert "h=99" in refused.text


def test_our_own_answers_are_counted_by_who_counts() -> None:
    made = router("a")
    a = backend(made, "a")
    made.checkup.enable_acks(a)
    made.from_backend(a, tag("presence", None, "1", SVC, "@bad"), 0)
    made.from_server(message(id="1"), 0)
    made.checkup.acknowledged(a, 1, 0)
    assert (len(a.ledger), made.counts.delivered, made.missing()) == (1, 0, 0)
    made.from_backend(a, tag("presence", None, "1", SVC, "@bad"), 0)
    made.join(Backend("b"), 0)
    assert forwarded(made.crew.leave(a, 0)) == [("b", "1", True)]
    assert not made.missing()


def test_an_acknowledgement_nobody_asked_for() -> None:
    made = router("a")
    (refused,) = made.checkup.acknowledged(backend(made, "a"), 0, 0)
    assert isinstance(refused, Refuse)


def test_a_full_window_of_who_counts_is_asked_about_often() -> None:
    made = router("a", max_unacked=1)
    a = backend(made, "a")
    made.checkup.enable_acks(a)
    made.from_server(message(), 0)
    assert [len([e for e in made.tick(n / 10) if type(e) is Tell]) for n in range(1, 4)] == [1] * 3


# The server goes away.


def test_what_backends_had_asked_is_answered() -> None:
    made = router("a")
    a = backend(made, "a")
    (up,) = made.from_backend(a, tag("iq", "get", "1", SVC, BOB), 0)
    assert answers(made.server_down(1)) == [("a", "server_lost", "1", "wait remote-server-timeout")]
    assert made.server_down(1) == []
    made.server_up(2)
    assert isinstance(up, Forward)
    late = reply(up.data)
    assert [type(each) for each in made.from_server(late, 3)] == [Drop]
    assert made.counts.orphaned == {"late_reply": 1}
    assert not made.missing()


def test_a_reply_that_finds_no_room_is_replaced_by_a_short_error() -> None:
    made = router("a", queue_bytes=10)
    a = backend(made, "a")
    made.from_server(request("1"), 0)
    made.server_down(0)
    assert made.from_backend(a, reply(request("1")), 0) == []
    (up,) = made.server_up(1)
    assert isinstance(up, Forward)
    error = read(up.data)
    assert (error.type, error.id, error.to, error.sender) == ("error", "1", ANN, SVC)
    assert not made.missing()


def test_a_reply_waits_for_the_server_as_long_as_it_takes() -> None:
    made = router("a", queue_timeout=5)
    a = backend(made, "a")
    made.from_server(request("1"), 0)
    made.server_down(0)
    answer = reply(request("1"))
    assert made.from_backend(a, answer, 0) == []
    made.tick(500)
    assert made.server_up(501) == [Forward(None, answer.data)]


# The end.


def test_stopping_refuses_new_requests_and_settles() -> None:
    made = router("a")
    a = backend(made, "a")
    made.from_server(message(), 0)
    made.from_server(request("1"), 0)
    (check,) = made.stop(1)
    assert isinstance(check, Tell)
    stopped = "wait remote-server-timeout"
    assert answers(made.from_server(request("2"), 1)) == [(None, "stopping", "2", stopped)]
    own = tag("iq", "get", "3", SVC, BOB)
    assert answers(made.from_backend(a, own, 1)) == [("a", "stopping", "3", stopped)]
    made.from_backend(a, reply(request("1")), 1)
    assert not made.is_settled()
    pass_checks(made, "a", [check], 1)
    assert made.is_settled()
    made.from_server(message(), 1)
    assert made.is_settled(), "what came since is not waited for"
    assert made.give_up() == []
    assert not made.missing()


def test_giving_up_answers_what_is_stuck() -> None:
    made = router("a")
    made.from_server(message(id="1"), 0)
    made.from_server(request("2"), 0)
    made.stop(1)
    given_up = answers(made.give_up())
    assert [(reason, id) for _, reason, id, _ in given_up] == [("stopping", "1"), ("stopping", "2")]
    assert made.held == 0
    assert not made.missing()


def test_giving_up_while_the_server_is_away_drops_and_says_so() -> None:
    made = router("a")
    made.from_server(request("1"), 0)
    made.from_server(request("2"), 0)
    made.server_down(0)
    made.from_backend(backend(made, "a"), reply(request("1")), 0)
    made.stop(1)
    dropped = made.give_up()
    assert [type(each) for each in dropped] == [Drop, Drop]
    assert made.counts.dropped == {("server_away", "iq"): 2}
    assert not made.missing()


def test_reprs() -> None:
    made = router("a")
    assert repr(made.crew) == "<Crew <Pool a>>"
    assert repr(made.delivery) == "<Delivery 0 held>"
    assert repr(made.upward) == "<Upward connected 0 held>"
    assert repr(made.conversations) == "<Conversations 0 known, 0 sessions>"


@pytest.mark.parametrize("weight", [10, 200])
def test_another_weight_moves_conversations_in_order(weight: int) -> None:
    made = router("a", "b")
    for name in "ab":
        made.orders.weigh(name, 50, 0)
    senders = [f"u{n}@example.org" for n in range(40)]
    before = {s: owner(made.from_server(message(sender=s), 0)) for s in senders}
    asked = made.orders.weigh("a", weight, 0)
    assert {each.backend.name for each in asked if isinstance(each, Tell)} == {"a", "b"}
    # Nobody is given more until both have acknowledged what they had.
    assert not [each for s in senders for each in forwarded(made.from_server(message(sender=s), 0))]
    written = pass_checks(made, "a", asked, 0.1)
    assert not forwarded(written)
    written += pass_checks(made, "b", asked, 0.1)
    after = {name for name, _, _ in forwarded(written)}
    assert len(forwarded(written)) == len(senders)
    assert len(after) == 2
    now = {s: owner(made.from_server(message(sender=s), 1)) for s in senders}
    moved = {(before[s].name, now[s].name) for s in senders if before[s] is not now[s]}
    assert moved == ({("a", "b")} if weight == 10 else {("b", "a")})


def test_a_backend_that_is_quiet_is_asked_soon() -> None:
    made = router("a", health=HealthRules(interval=1e9, timeout=1e9))
    survive(made, "a", 3)
    made.from_server(message(), 3)
    seen = [now for now in (3.1, 3.2, 3.4, 3.7) if told(made.tick(now))]
    assert seen == [3.7], "half a second after the last stanza was seen"
    assert not told(made.tick(4.3)), "once is enough"


def test_an_order_for_who_has_gone_holds_when_it_is_back() -> None:
    made = router("a", "b")
    made.crew.leave(backend(made, "a"), 0)
    assert made.orders.order("a", Order.MAINT, 1) == []
    assert made.state("a") == "maint"
    made.join(Backend("a"), 2)
    assert made.state("a") == "maint"
    assert repr(made.orders) == "<Orders for a>"
    assert repr(made.checkup) == f"<Checkup of {made.pool!r}>"


def test_an_order_for_who_is_forgotten_can_be_taken_back() -> None:
    made = router("a", "b")
    made.orders.order("a", Order.MAINT, 0)
    made.crew.leave(backend(made, "a"), 1, orderly=True)
    made.tick(1000)
    assert "a" not in made.crew.records
    assert made.orders.order("a", Order.READY, 1001) == []
    made.join(Backend("a"), 1002)
    assert made.state("a") == "starting"


def test_what_became_of_a_backend_is_counted() -> None:
    made = router("a", "b")
    made.tick(0)
    a = backend(made, "a")
    made.crew.leave(a, 1)
    assert a.record.check_failures == {"not_connected": 1}
    assert a.record.state_changes == {"starting": 1, "down": 1}


def test_fallbacks_are_counted() -> None:
    made = router("a", strategy_name="round-robin", affinity="thread")
    made.from_server(message(), 0)
    assert made.conversations.fallbacks == {"no_key": 1}
    made.crew.leave(backend(made, "a"), 1)
    assert made.conversations.fallbacks["owner_down"] == 1


@pytest.mark.parametrize("name", ["hash", "round-robin"])
def test_a_spill_is_a_fallback(name: str) -> None:
    made = router("a", "b", strategy_name=name, spill=True, max_unacked=1)
    made.from_server(message(), 0)
    made.from_server(message(), 0)
    assert made.conversations.fallbacks["owner_full"] == 1
