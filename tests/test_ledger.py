"""The ledger: what was sent and not acknowledged, its window, and barriers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.ledger import OURS, Ledger, Mark
from balancer.stanza import Stanza


def stanza(size: int = 10, id: str = "1") -> Stanza:
    return Stanza("message", None, None, id, None, b"x" * size)


def filled(*sizes: int, stanzas: int = 1000, size: int = 1000) -> Ledger:
    ledger = Ledger(stanzas, size)
    for number, each in enumerate(sizes, 1):
        ledger.add(stanza(each, str(number)), True)
    return ledger


def ids(stanzas: list[Stanza]) -> list[str | None]:
    return [each.id for each in stanzas]


@pytest.mark.parametrize(
    ("sizes", "full", "wants"),
    [
        ((), False, False),
        ((1,), False, True),  # a quarter of four
        ((1, 1, 1), False, True),
        ((1, 1, 1, 1), True, True),
        ((99,), False, True),
        ((100,), True, True),
    ],
)
def test_window(sizes: tuple[int, ...], full: bool, wants: bool) -> None:
    ledger = Ledger(4, 100)
    wanted = [ledger.add(stanza(each), True) for each in sizes]
    assert (ledger.is_full(), any(wanted)) == (full, wants)


def test_a_barrier_is_wanted_each_quarter() -> None:
    ledger = Ledger(100, 1 << 20)
    asked = []
    for number in range(1, 101):
        if ledger.add(stanza(), True):
            ledger.ask(str(number), 0)
            asked.append(number)
    assert asked == [25, 50, 75, 100]
    assert not ledger.has_news()


def test_a_barrier_acknowledges_what_was_before_it() -> None:
    ledger = filled(1, 2)
    ledger.ask("a", 5)
    ledger.add(stanza(4, "3"), True)
    assert ledger.answered("z") is None
    check = ledger.answered("a")
    assert check is not None
    assert (check.mark, check.asked) == (Mark(2, 3, 2), 5)
    assert ledger.acknowledge(check.mark) == 2
    assert ids(ledger.entries) == ["3"]
    assert (len(ledger), ledger.size, ledger.acknowledged) == (1, 4, 2)
    assert ledger.answered("a") is None
    assert ledger.acknowledge(check.mark) == 0


def test_a_later_barrier_stands_for_those_before_it() -> None:
    ledger = filled(1)
    ledger.ask("a", 0)
    ledger.add(stanza(1, "2"), False)
    ledger.ask("b", 1)
    check = ledger.answered("b")
    assert check is not None
    assert ledger.acknowledge(check.mark) == 1, "a request is done with its answer"
    assert not ledger.checks


def test_all_barriers_at_once() -> None:
    ledger = filled(1)
    assert ledger.answered() is None
    ledger.ask("a", 3)
    ledger.ask("b", 4)
    first = ledger.answered()
    assert first is not None
    assert first.asked == 3
    assert not ledger.checks


def test_take() -> None:
    ledger = filled(1, 2, 3)
    ledger.ask("a", 0)
    ledger.acknowledge(ledger.mark_at(1))
    assert ids(ledger.take()) == ["2", "3"]
    assert (len(ledger), ledger.size, ledger.acknowledged) == (0, 0, 3)
    assert ledger.checks, "it can still show that it is alive"


def test_other_limits() -> None:
    ledger = filled(1, 1)
    ledger.limit(2, 100)
    assert ledger.is_full()
    assert repr(ledger) == "<Ledger 2/2 unacked 2 bytes>"


@given(st.lists(st.one_of(st.integers(1, 50), st.just("ask"), st.just("answer"))))
def test_nothing_is_lost_or_counted_twice(steps: list[int | str]) -> None:
    ledger = Ledger(1000, 1 << 20)
    sent: list[str | None] = []
    received: list[str | None] = []
    for number, step in enumerate(steps):
        if isinstance(step, int):
            ledger.add(stanza(step, str(number)), True)
            sent.append(str(number))
        elif step == "ask":
            ledger.ask(str(number), 0)
        elif ledger.checks:
            check = ledger.answered(ledger.checks[0].id)
            assert check is not None
            before = ids(ledger.entries)
            done = ledger.acknowledge(check.mark)
            received += before[:done]
            assert ids(ledger.entries) == before[done:]
        assert ledger.size == sum(len(each.data) for each in ledger.entries)
    assert received + ids(ledger.take()) == sent


def test_acknowledged_to_the_stanza() -> None:
    ledger = filled(1, 2)
    ledger.add(stanza(4)._replace(kind="iq", type="get"), False)
    ledger.add(OURS, False)
    ledger.add(stanza(8), True)
    assert ledger.mark_at(2) == Mark(2, 3, 2)
    assert ledger.mark_at(4) == Mark(4, 7, 2)
    assert ledger.acknowledge(ledger.mark_at(4)) == 2
    assert (ledger.unfinished, ledger.size, len(ledger)) == (1, 8, 1)
