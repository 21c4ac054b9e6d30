from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.acknowledging import Handled


def test_h_is_the_run_that_is_done() -> None:
    handled = Handled()
    handled.enabled()
    numbers = [handled.received() for _ in range(4)]
    assert handled.h == 0
    assert not handled.done(numbers[1])
    assert not handled.done(numbers[3])
    assert handled.done(numbers[0])
    assert (handled.h, handled.unfinished) == (2, 1)
    assert handled.done(numbers[2])
    assert (handled.h, handled.unfinished) == (4, 0)


def test_nothing_is_said_before_what_came_first_is_done() -> None:
    handled = Handled()
    early = handled.received()
    assert handled.h is None, "not enabled"
    handled.enabled()
    assert handled.h is None, "an <a h='0'/> would acknowledge it"
    late = handled.received()
    assert not handled.done(late)
    assert handled.done(early)
    assert handled.h == 1


def test_h_wraps() -> None:
    handled = Handled()
    handled.enabled()
    handled._done = (1 << 32) + 5
    assert handled.h == 5


@given(st.permutations(range(1, 9)))
def test_in_any_order(order: list[int]) -> None:
    handled = Handled()
    handled.enabled()
    for _ in order:
        handled.received()
    done: set[int] = set()
    for number in order:
        handled.done(number)
        done.add(number)
        expected = next(n for n in range(1, 10) if n not in done) - 1
        assert handled.h == expected
    assert handled.unfinished == 0
