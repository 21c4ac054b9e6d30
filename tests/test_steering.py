"""What operators, administrators and backends themselves ask of the router."""

from __future__ import annotations

import pytest

from balancer.decisions import Administer, Answer, Drop, Forward
from balancer.pool import Backend
from balancer.stanza import CONTROL_NS, bare
from balancer.upward import MAX_ANSWER
from tests.stage import JID, configured
from tests.test_router import ANN, SVC, backend, message, owner, read, request, router, tag, tick

OPS = "ops@example.org"
COMMANDS = "http://jabber.org/protocol/commands"
STATUS = f"<command xmlns='{COMMANDS}' node='{CONTROL_NS}#status'/>"
INFO = f"<query xmlns='http://jabber.org/protocol/disco#info' node='{CONTROL_NS}'/>"
ITEMS = f"<query xmlns='http://jabber.org/protocol/disco#items' node='{CONTROL_NS}'/>"


@pytest.mark.parametrize("child", [STATUS, INFO, ITEMS])
@pytest.mark.parametrize(
    ("sender", "to", "mine"),
    [
        (f"{OPS}/pc", SVC, True),
        (OPS, SVC, True),
        ("bob@example.org/pc", SVC, False),
        (f"{OPS}.evil.example/pc", SVC, False),
        (f"{OPS}/pc", f"bot@{SVC}", False),
        (f"{OPS}/pc", f"{SVC}/worker", False),
    ],
)
def test_only_administrators_are_heard(child: str, sender: str, to: str, mine: bool) -> None:
    made = router("a", admins=frozenset({OPS}))
    asked = read(tag("iq", "set", "1", sender, to, child=child).data)
    (decision,) = made.from_server(asked, 0)
    assert isinstance(decision, Administer if mine else Forward)
    if mine:
        (answer,) = made.administered(asked, b"<iq/>")
        assert answer == Answer(None, b"<iq/>", "admin")
        assert not made.missing()


@pytest.mark.parametrize(
    "child",
    [
        f"<command xmlns='{COMMANDS}' node='ours'/>",
        f"<command xmlns='{COMMANDS}'/>",
        f"<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'/>",
        "<query xmlns='http://jabber.org/protocol/disco#info'/>",
    ],
)
def test_other_nodes_are_the_backends(child: str) -> None:
    made = router("a", admins=frozenset({OPS}))
    (decision,) = made.from_server(read(tag("iq", "get", "1", OPS, SVC, child=child).data), 0)
    assert isinstance(decision, Forward)


def test_an_administrator_is_answered_when_the_server_is_back() -> None:
    made = router("a", admins=frozenset({OPS}))
    made.server_down(0)
    assert made.administered(request("1"), b"<iq/>") == []
    assert made.server_up(1) == [Forward(None, b"<iq/>")]


@pytest.mark.parametrize(
    ("value", "weight"),
    [("1", 1), ("256", 256), ("0", None), ("257", None), ("01", None), ("x", None), ("", None)],
)
def test_a_backend_says_what_it_weighs(value: str, weight: int | None) -> None:
    made = router("a")
    a = backend(made, "a")
    child = f"<weight xmlns='{CONTROL_NS}' value='{value}'/>"
    asked = read(tag("iq", "set", "1", SVC, SVC, child=child).data)
    answer = made.from_backend(a, asked, 0)[0]
    assert isinstance(answer, Answer)
    assert read(answer.data).type == ("error" if weight is None else "result")
    assert a.weight == (weight or 1)


def test_what_only_looks_like_control_goes_up() -> None:
    made = router("a")
    asked = read(tag("iq", "get", "1", SVC, SVC, child=f"<drain xmlns='{CONTROL_NS}'/>").data)
    (decision,) = made.from_backend(backend(made, "a"), asked, 0)
    assert isinstance(decision, Forward)
    assert decision.backend is None


# Where would it go?


def explained(strategy: str, affinity: str) -> tuple[str, str | None, str]:
    made = router("a", "b", strategy_name=strategy, affinity=affinity)
    first = owner(made.from_server(message(), 0))
    key, found, why = made.conversations.explain(message(), 1)
    assert found in (None, first)
    return key, found.name if found else None, why


@pytest.mark.parametrize(
    ("strategy", "affinity", "why"),
    [
        ("hash", "sender", "the hash of the key and the backends' names and weights"),
        ("round-robin", "sender", "remembered: it began there"),
        ("random", "none", "no affinity: the strategy decides about each stanza"),
    ],
)
def test_where_a_conversation_is(strategy: str, affinity: str, why: str) -> None:
    key, name, said = explained(strategy, affinity)
    assert (key, said) == ("" if affinity == "none" else bare(ANN), why)
    assert (name is None) == (affinity == "none")


def test_where_a_conversation_would_be() -> None:
    made = router(strategy_name="round-robin")
    _, found, why = made.conversations.explain(message(), 0)
    assert (found, why) == (None, "not known: the strategy decides when it begins")
    made = router()
    assert made.conversations.explain(message(), 0)[2] == "nobody may be given conversations"


@pytest.mark.parametrize("strategy", ["hash", "round-robin"])
def test_where_it_goes_when_its_backend_is_full(strategy: str) -> None:
    made = router("a", "b", strategy_name=strategy, spill=True, max_unacked=1)
    first = owner(made.from_server(message(), 0)[:1])
    _, found, why = made.conversations.explain(message(), 1)
    assert found is not first
    assert first.name in why
    assert "full" in why


def test_to_explain_changes_nothing() -> None:
    made = router("a", "b", strategy_name="round-robin")
    turns = [made.conversations.explain(message(), 0) for _ in range(3)]
    assert len(set(turns)) == 1
    assert len(made.conversations._known) == 0


def test_waiting_for_anybody_is_waiting_too() -> None:
    made = router()
    made.from_server(message(), 0)
    tick(made, 1)
    made.join(Backend("a"), 2)
    assert made.counts.queue_wait.sum == pytest.approx(2)


def test_an_answer_that_would_be_too_large_is_not_written() -> None:
    made = router()
    made.from_server(message(id="x" * MAX_ANSWER), 0)
    (dropped,) = tick(made, 100)
    assert isinstance(dropped, Drop)
    assert made.counts.orphaned == {"unanswerable": 1}
    assert not made.missing()


def test_a_command_that_fails_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    service = configured(1, admins=[OPS])
    component = service.components[JID]
    monkeypatch.setattr(component, "_administrator", lambda component, stanza: 1 / 0)
    component.router.server_up(0)
    asked = read(tag("iq", "set", "1", OPS, JID, child=STATUS).data)
    component.carrier.carry_out(component.router.from_server(asked, 0))
    assert component.router.counts.answered == {"admin": 1}
    assert not component.router.missing()
