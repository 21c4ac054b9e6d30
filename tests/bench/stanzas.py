"""The stanzas of the benchmark: a mix of sizes and kinds, from many senders."""

from __future__ import annotations

from itertools import cycle, islice, product

JID = "svc.bench"

#: Bytes of the messages and iqs in the mix.
SIZES = (100, 200, 2000)


def _padded(start: str, end: str, size: int) -> bytes:
    return (start + "x" * max(0, size - len(start) - len(end)) + end).encode()


def message(sender: int, size: int) -> bytes:
    start = f"<message from='u{sender}@bench.example/r' to='{JID}' type='chat'><body>"
    return _padded(start, "</body></message>", size)


def request(sender: int, number: int, size: int) -> bytes:
    start = f"<iq from='u{sender}@bench.example/r' to='{JID}' id='q{number}' type='get'>"
    return _padded(f"{start}<q xmlns='b:", "'/></iq>", size)


def result(number: int, sender: int) -> bytes:
    """What a backend answers a request with."""
    to = f"u{sender}@bench.example/r"
    return f"<iq type='result' id='q{number}' to='{to}' from='{JID}'/>".encode()


def mix(count: int, senders: int = 1000) -> list[bytes]:
    """So many stanzas: messages and requests of all sizes, in turn."""
    kinds = cycle(product(SIZES, (True, False)))
    return [
        message(number % senders, size) if is_message else request(number % senders, number, size)
        for number, (size, is_message) in enumerate(islice(kinds, count))
    ]


def requests(count: int, senders: int = 1000) -> list[bytes]:
    """So many requests of all sizes."""
    sizes = cycle(SIZES)
    return [
        request(number % senders, number, size) for number, size in enumerate(islice(sizes, count))
    ]


def messages(count: int, senders: int = 1000) -> list[bytes]:
    """So many messages of all sizes."""
    sizes = cycle(SIZES)
    return [message(number % senders, size) for number, size in enumerate(islice(sizes, count))]


def made(what: str, count: int, senders: int) -> list[bytes]:
    """The stanzas by name: ``mix``, ``requests`` or ``messages``."""
    return {"mix": mix, "requests": requests, "messages": messages}[what](count, senders)


def answers(stanzas: list[bytes], senders: int = 1000) -> list[bytes]:
    """The answers to those of them that are requests."""
    return [
        result(number, number % senders)
        for number, stanza in enumerate(stanzas)
        if stanza.startswith(b"<iq")
    ]
