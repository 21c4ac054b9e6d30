from __future__ import annotations

import pytest

from backends.outbox import Outbox, OutboxFullError


def test_in_order_to_be_inspected_and_purged() -> None:
    outbox = Outbox(4)
    for each in ("b", "c", "d"):
        outbox.put(each)
    outbox.put_back(["a"])
    assert (list(outbox), len(outbox)) == (["a", "b", "c", "d"], 4)
    assert outbox.purge(lambda each: each in ("b", "d")) == 2
    assert outbox.take() == ["a", "c"]
    assert outbox.take() == []
    outbox.put("e")
    assert outbox.purge() == 1
    assert not list(outbox)


def test_a_limit() -> None:
    outbox = Outbox(1)
    outbox.put("a")
    with pytest.raises(OutboxFullError):
        outbox.put("b")
    outbox.put_back(["0"])
    assert list(outbox) == ["0", "a"], "what was on its way is not given up"
