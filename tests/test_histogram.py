"""Counts by bucket."""

from __future__ import annotations

import pytest

from balancer.histogram import EVERY, FINE, SECONDS, Histogram, Sampled


@pytest.mark.parametrize(
    ("value", "bucket"), [(0, 0), (1, 0), (1.01, 1), (2, 1), (5, 2), (5.01, 3), (1e9, 3)]
)
def test_a_bound_is_inclusive(value: float, bucket: int) -> None:
    made = Histogram((1, 2, 5))
    made.observe(value, 3)
    assert made.counts == [3 * (n == bucket) for n in range(4)]
    assert made.sum == 3 * value


def test_they_can_be_added_up() -> None:
    one, other = Histogram((1, 2)), Histogram((1, 2))
    one.observe(1)
    other.observe(1)
    other.observe(9)
    one.add(other)
    assert (one.counts, one.sum) == ([2, 0, 1], 11)
    assert repr(one) == "<Histogram 3 observed>"


@pytest.mark.parametrize("bounds", [SECONDS, FINE])
def test_bounds_rise(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


def test_a_burst_is_sampled_and_what_comes_seldom_is_not() -> None:
    made = Sampled()
    assert [made.due(1, 0.001 * n) for n in range(6)] == [1, 0, 0, 0, 0, 5]
    assert made.due(EVERY - 1, 0.006) == 0
    assert made.due(1, 0.006) == EVERY
    assert made.due(1, 99) == 1
