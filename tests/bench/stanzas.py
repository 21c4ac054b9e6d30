"""The stanzas of the benchmark: a mix of sizes and kinds, from many senders."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice

JID = "svc.bench"

#: Bytes of the messages in the mix; every fourth stanza is an iq of 200 bytes.
SIZES = (100, 200, 2000)


def _padded(start: str, end: str, size: int) -> bytes:
    return (start + "x" * max(0, size - len(start) - len(end)) + end).encode()


def message(sender: int, size: int) -> bytes:
    start = f"<message from='u{sender}@bench.example/r' to='{JID}' type='chat'><body>"
    return _padded(start, "</body></message>", size)


def request(sender: int, number: int, size: int = 200) -> bytes:
    start = f"<iq from='u{sender}@bench.example/r' to='{JID}' id='q{number}' type='get'>"
    return _padded(f"{start}<query xmlns='urn:bench:", "'/></iq>", size)


def mix(count: int, senders: int = 1000) -> list[bytes]:
    """So many stanzas: messages of all sizes and iqs, in turn."""
    kinds: Iterator[int] = cycle((*SIZES, 0))
    return [
        message(number % senders, size) if size else request(number % senders, number)
        for number, size in enumerate(islice(kinds, count))
    ]


def requests(count: int, senders: int = 1000) -> list[bytes]:
    """So many iq requests of 200 bytes."""
    return [request(number % senders, number) for number in range(count)]
