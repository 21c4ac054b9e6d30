"""Holding: bounded in count, bytes and time; what comes first leaves first."""

from __future__ import annotations

import pytest

from balancer.hold import NEVER, Budget, Held, Queue


def filled(budget: Budget, *sizes: int) -> Queue[int]:
    queue: Queue[int] = Queue(budget)
    for number, size in enumerate(sizes):
        queue.put(number, size, 0)
    return queue


def items(queue: Queue[int]) -> list[int]:
    return [held.item for held in queue.pop_all()]


@pytest.mark.parametrize(
    ("stanzas", "size", "timeout", "sizes", "kept"),
    [
        (2, 100, 5, (10, 10, 10), [0, 1]),
        (9, 25, 5, (10, 10, 10), [0, 1]),
        (9, 30, 5, (10, 10, 10), [0, 1, 2]),
        (9, 25, 5, (20, 10, 5), [0, 2]),
        (9, 100, 0, (10,), []),
        (0, 100, 5, (10,), []),
    ],
)
def test_bounds(stanzas: int, size: int, timeout: int, sizes: list[int], kept: list[int]) -> None:
    budget = Budget(stanzas, size, timeout)
    queue: Queue[int] = Queue(budget)
    accepted = [number for number, each in enumerate(sizes) if queue.put(number, each, 0)]
    assert accepted == kept
    assert (budget.used, budget.used_size) == (len(kept), sum(sizes[number] for number in kept))
    assert items(queue) == kept
    assert (budget.used, budget.used_size, len(queue)) == (0, 0, 0)


def test_first_in_first_out() -> None:
    queue = filled(Budget(9, 100, 5), 1, 2, 3)
    assert queue.pop().item == 0
    queue.put(7, 1, 0)
    assert items(queue) == [1, 2, 7]
    assert items(queue) == []


def test_time_is_over() -> None:
    budget = Budget(9, 100, 5)
    queue: Queue[str] = Queue(budget)
    for now, item in enumerate("abc"):
        queue.put(item, 10, now)
    assert queue.pop_expired(4.9) == []
    assert queue.pop_expired(6) == ["a", "b"]
    assert (budget.used, budget.used_size) == (1, 10)
    assert queue.pop_expired(99) == ["c"]
    assert queue.pop_expired(99) == []


def test_a_budget_is_shared() -> None:
    budget = Budget(2, 100, 5)
    one, other = filled(budget, 10), filled(budget, 10)
    assert not one.put(9, 10, 0)
    other.pop()
    assert one.put(9, 10, 0)
    assert items(one) == [0, 9]


def test_other_bounds_keep_what_is_held() -> None:
    budget = Budget(2, 100, 5)
    queue = filled(budget, 10, 10)
    budget.limit(1, 100, 9)
    queue.pop()
    assert not queue.put(8, 10, 1)
    budget.limit(2, 20, 9)
    assert queue.put(9, 10, 1)
    assert (queue.pop_expired(5), queue.pop_expired(9), queue.pop_expired(10)) == ([1], [], [9])


@pytest.mark.parametrize(
    ("sizes", "nearly"),
    [((), False), ((1, 1), False), ((1, 1, 1), True), ((74,), False), ((75,), True)],
)
def test_nearly_full(sizes: tuple[int, ...], nearly: bool) -> None:
    budget = Budget(4, 100, 5)
    filled(budget, *sizes)
    assert budget.is_nearly_full() is nearly


def test_reprs() -> None:
    budget = Budget(4, 100, 5)
    assert repr(filled(budget, 10, 20)) == "<Queue 2 held>"
    assert repr(budget) == "<Budget 2/4 stanzas 30/100 bytes>"


def test_what_is_put_back_keeps_its_deadline_and_needs_no_room() -> None:
    budget = Budget(1, 10, 5)
    queue: Queue[str] = Queue(budget)
    assert queue.put("a", 10, 0)
    held = queue.pop()
    assert queue.put("b", 10, 3)
    queue.put_back(held)
    queue.put_back(Held("c", 10, NEVER))
    assert budget.used == 3
    assert queue.pop_expired(5) == ["a"]
    assert queue.pop_expired(1e9) == ["b"]
    assert len(queue) == 1
