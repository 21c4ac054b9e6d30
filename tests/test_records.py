"""What is remembered of a backend beyond its connection, and for how long."""

from __future__ import annotations

import pytest

from balancer.pool import Backend
from balancer.records import FORGET_LEFT, FORGET_LOST, MAX_GONE, POINTS, Records
from tests.test_router import message, request


def test_a_name_goes_on_counting_where_it_was() -> None:
    made = Records()
    for received in (3, 4):
        backend = Backend("a")
        record = made.here(backend)
        backend.ledger.add(message(), plain=True)
        backend.ledger.add(request(), plain=False)
        backend.ledger.acknowledge(backend.ledger.mark()._replace(stanzas=1))
        backend.received, backend.pongs = received, 1
        record.told["iq"] += 1
    assert record.sent() == {"message": 2, "iq": 4}
    made.gone("a", 5, orderly=False)
    assert "a" in made
    assert made.here(Backend("a")) is record
    made.tick(FORGET_LOST * 2)
    assert [repr(record) for _, record in made] == ["<Record here 6 sent 5 received>"]


@pytest.mark.parametrize(("orderly", "time"), [(True, FORGET_LEFT), (False, FORGET_LOST)])
def test_who_has_gone_is_forgotten(orderly: bool, time: float) -> None:
    made = Records()
    made.here(Backend("a"))
    made.gone("a", 5, orderly=orderly)
    made.tick(time - 1)
    (shown,) = (repr(record) for _, record in made)
    assert shown.startswith("<Record left" if orderly else "<Record lost")
    made.tick(time + 5)
    assert (len(made), repr(made)) == (0, "<Records of 0>")


def test_new_names_every_time_are_bounded() -> None:
    made = Records()
    for number in range(MAX_GONE + 10):
        made.here(Backend(str(number)))
    for number in range(MAX_GONE + 5):
        made.gone(str(number), 1, orderly=False)
    there = [name for name, _ in made]
    assert len(there) == MAX_GONE + 5
    assert "4" not in there, "who went first is forgotten first"
    assert {"5", str(MAX_GONE + 9)} < set(there)


def test_recent_traffic_in_steps() -> None:
    made = Records()
    backend = Backend("a")
    record = made.here(backend)
    for _ in range(3):
        backend.ledger.add(request(), plain=False)
    made.tick(0)
    backend.received += 2
    made.tick(1)
    made.tick(5)
    made.tick(10)
    assert list(record.recent) == [(3, 0), (0, 2), (0, 0)]
    for number in range(POINTS):
        made.tick(100 + 5 * number)
    assert len(record.recent) == POINTS
