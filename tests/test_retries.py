"""The retry budget: 20 % of traffic, at least 10, and a window from the start."""

from __future__ import annotations

from balancer.retries import RetryBudget


def spend(budget: RetryBudget, wanted: int = 1_000_000) -> int:
    taken = 0
    while taken < wanted and budget.take():
        taken += 1
    return taken


def test_a_window_from_the_start_and_at_least_ten() -> None:
    assert spend(RetryBudget(1000)) == 1000
    assert spend(RetryBudget(1)) == 10


def test_traffic_earns_a_fifth() -> None:
    budget = RetryBudget(10)
    assert spend(budget) == 10
    budget.tick(1000, 1.0)
    assert spend(budget) == 200
    budget.tick(1000, 2.0)
    assert spend(budget) == 0


def test_time_earns_ten_in_a_minute() -> None:
    budget = RetryBudget(10)
    spend(budget)
    budget.tick(0, 30)
    assert spend(budget) == 5
    budget.tick(0, 1000)
    assert spend(budget) == 10


def test_what_is_beyond_the_reserve_fades() -> None:
    budget = RetryBudget(10)
    budget.tick(1000, 0)
    budget.tick(1000, 60)
    assert 10 + 200 * 0.3 < spend(budget) < 10 + 200 * 0.45
    assert repr(budget) == "<RetryBudget 0>" or repr(budget) == "<RetryBudget 1>"


def test_a_crash_loop_costs_no_more_than_a_fifth() -> None:
    budget = RetryBudget(100)
    redelivered = accepted = 0
    for second in range(600):
        accepted += 100
        budget.tick(accepted, second)
        redelivered += spend(budget, 100)
    assert redelivered / accepted < 0.22
