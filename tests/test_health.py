"""Health, as tables: what happened, when, and the state that follows."""

from __future__ import annotations

from itertools import pairwise

import pytest

from balancer.health import PATIENCE, Health, HealthRules, State

RULES = HealthRules(interval=2, timeout=1, rise=2, fall=3, eject_after=3, eject_time=10)


def health(**rules: object) -> Health:
    return Health(RULES._replace(**rules), 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("checks", "state"),
    [
        ("", State.STARTING),
        ("+", State.UP),
        ("--", State.STARTING),
        ("---", State.DOWN),
        ("+--", State.DEGRADED),
        ("+--+", State.UP),
        ("+--+--", State.DEGRADED),
        ("+---", State.DOWN),
        ("---+", State.DOWN),
        ("---+-+", State.DOWN),
        ("---++", State.STARTING),
        ("---+++", State.UP),
    ],
)
def test_rise_and_fall(checks: str, state: State) -> None:
    made = health()
    for now, each in enumerate(checks, 1):
        before = made.state
        changed = made.passed(now, 0.1) if each == "+" else made.failed(now)
        assert changed == (made.state is not before)
    assert made.state is state
    assert made.works() == (state in (State.UP, State.STARTING, State.DEGRADED))


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_checks_come_a_little_early_and_never_pile_up(chance: float) -> None:
    made = health()
    times = []
    for _ in range(5):
        times.append(made.next_check)
        made.schedule(made.next_check, chance)
    assert all(1.59 < b - a < 1.91 for a, b in pairwise(times))
    made.schedule(1000, chance)
    assert made.next_check == 1000


@pytest.mark.parametrize(
    ("heard", "now", "overdue"),
    [
        (0, 0.9, False),
        (0, 1.0, True),
        (0.5, 1.0, False),
        (0.5, PATIENCE - 0.1, False),
        (4, PATIENCE, True),
    ],
    ids=["in time", "silent", "heard since", "patience", "enough"],
)
def test_overdue(heard: float, now: float, overdue: bool) -> None:
    made = health()
    made.heard = heard
    assert made.is_overdue(0.0, now) is overdue


def test_ejection_grows_is_capped_and_forgiven() -> None:
    made = health(eject_max=25)
    made.passed(0, 0.1)
    rests = []
    now = 0.0
    for _ in range(4):
        assert [made.answers_badly(True) for _ in range(3)] == [False, False, True]
        made.eject(now)
        start = now
        assert not made.works()
        while not made.tick(now):
            now += 1
        rests.append(now - start)
        made.tick(now)
        assert made.state is State.UP
    assert rests == [10, 20, 25, 25]
    made.tick(now + 25)
    assert made.ejections == 0


def test_a_good_answer_ends_a_row_of_bad_ones() -> None:
    made = health()
    answers = [True, True, False, True, True]
    assert not any(made.answers_badly(bad) for bad in answers)
    made.spare()
    assert not made.answers_badly(True)


def test_who_rests_or_is_down_is_not_ejected_again() -> None:
    made = health()
    made.eject(0)
    assert not any(made.answers_badly(True) for _ in range(9))


def test_an_ejected_backend_can_go_down() -> None:
    made = health()
    made.eject(0)
    assert [made.failed(n) for n in range(3)] == [False, False, True]
    assert made.state is State.DOWN
    assert not made.tick(100)


@pytest.mark.parametrize(
    ("age", "share"), [(0, 0.1), (9, 0.1), (20, 0.2), (55, 0.5), (99, 0.9), (100, 1), (500, 1)]
)
def test_slow_start(age: float, share: float) -> None:
    made = health(slow_start=100)
    assert made.share(age) == pytest.approx(share)


def test_slow_start_ends_in_up() -> None:
    made = health(slow_start=100)
    assert not made.passed(50, 0.1)
    assert made.state is State.STARTING
    assert made.tick(100)
    assert (made.state, made.share(100)) == (State.UP, 1)
    assert repr(made) == "<Health up since 100.0>"
    assert made.round_trip == 0.1
