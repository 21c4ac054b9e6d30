from __future__ import annotations

import pytest

from backends.reconnecting import Address, Attempts, address

A, B = Address("a", 1), Address("b", 2)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("host", "host", 5348),
        ("host:5350", "host", 5350),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("[::1]:5350", "::1", 5350),
        ("[::1]", "::1", 5348),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert address(text) == (host, port)


@pytest.mark.parametrize("text", ["", ":1", "host:x", "[::1]x"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="not HOST:PORT"):
        address(text)


def test_an_address_is_shown_as_it_is_written() -> None:
    assert str(Address("::1", 5)) == "[::1]:5"
    assert str(A) == "a:1"


def test_all_are_tried_without_a_pause_then_pauses_grow() -> None:
    attempts = Attempts([A, B], chance=lambda: 1.0, minimum=0.2, maximum=1.0)
    seen = []
    for _ in range(10):
        seen.append(attempts.next())
        attempts.failed("remote-connection-failed")
    assert [where for where, _ in seen] == [A, B] * 5
    assert [pause for _, pause in seen] == [0, 0, 0.4, 0, 0.8, 0, 1.0, 0, 1.0, 0]


def test_full_jitter() -> None:
    attempts = Attempts([A], chance=lambda: 0.0)
    for _ in range(5):
        attempts.failed()
        assert attempts.next() == (A, 0.0)


def test_after_a_refusal_the_pause_is_long_whatever_the_dice_say() -> None:
    attempts = Attempts([A], chance=lambda: 0.0)
    attempts.failed("not-authorized")
    assert attempts.next() == (A, 5.0)
    attempts.failed("conflict")
    assert attempts.next()[1] == 10.0
    for _ in range(100):
        attempts.failed("conflict")
    assert attempts.next()[1] == 15.0


def test_one_that_was_there_for_a_while_is_tried_again_soon() -> None:
    attempts = Attempts([A, B], chance=lambda: 0.5)
    attempts.failed()
    for _ in range(10):
        attempts.ended(60.0)
        where, pause = attempts.next()
        assert (where, pause) == (B, 0.2)


def test_one_that_is_lost_at_once_is_a_failure() -> None:
    attempts = Attempts([A], chance=lambda: 1.0)
    pauses = []
    for _ in range(4):
        attempts.ended(0.1)
        pauses.append(attempts.next()[1])
    assert pauses == [0.4, 0.8, 1.6, 3.2]


def test_no_address() -> None:
    with pytest.raises(ValueError, match="no address"):
        Attempts([])
