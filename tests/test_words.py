"""Numbers, as said to a person."""

from __future__ import annotations

import pytest

from balancer.words import duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3600, "1 h"), (86400 * 2.4, "2 d")],
)
def test_a_duration(seconds: float, said: str) -> None:
    assert duration(seconds) == said
