"""What the demo asks for and what becomes of it: each request must be answered, and once."""

from __future__ import annotations

import asyncio
import random
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from balancer.stanza import Stanza

#: Requests that are unanswered at a time: enough to keep every backend busy.
WINDOW: Final = 100

#: Who sends.  The balancer hashes by sender, so this is how many conversations are spread.
SENDERS: Final = 200


class Account:
    """Every request: when it left, who got it, how often it was answered.

    Requests are numbers: messages below ``messages``, pings (XEP-0199) from there on.

    Args:
        messages: chat messages to send; each must be echoed.
        iqs: pings to send; each must be answered.
        sender_domain: where the senders of the requests live.
        jid: the component that is asked.
    """

    def __init__(self, messages: int, iqs: int, sender_domain: str, jid: str) -> None:
        self.total = messages + iqs
        self.owner: dict[int, str] = {}
        self.answers: Counter[int] = Counter()
        self.errors: set[int] = set()
        self.trips: dict[int, float] = {}
        self.news = asyncio.Event()
        #: Whether answers arrive on the component's own stream.
        self.intercepts = False
        self._messages = messages
        self._domain = sender_domain
        self._to = f"bot@{jid}"
        # On a real server others may use the JID too, perhaps another demo a moment ago.
        self._run = f"demo-{secrets.token_hex(4)}"
        self._mine = re.compile(rf"{self._run}-(\d+)")
        self._body = re.compile(rf"<body>{self._run}-(\d+)</body>".encode())
        self._sent: dict[int, float] = {}
        self._send: Callable[[bytes], None] | None = None
        self._waiting = list(range(self.total))
        random.Random(0).shuffle(self._waiting)  # the same mixture every time
        self._heard = self._began = time.monotonic()

    def is_message(self, number: int) -> bool:
        """Whether a request is a message, not a ping."""
        return number < self._messages

    def missing(self) -> int:
        """Requests that have no answer yet."""
        return self.total - len(self.answers)

    def silence(self) -> float:
        """Seconds since the last answer."""
        return time.monotonic() - self._heard

    def is_complete(self) -> bool:
        """Whether each request was answered exactly once, and not with an error."""
        return not self.missing() and self.answers.total() == self.total and not self.errors

    def summary(self) -> str:
        """The account in one line."""
        twice = sum(count > 1 for count in self.answers.values())
        refused = f", {len(self.errors):,} answered with an error" if self.errors else ""
        lost = self.total - len(self.errors | self.answers.keys())
        return (
            f"{len(self.answers):,} of {self.total:,} accounted for, {lost:,} lost, "
            f"{twice:,} twice{refused}, in {self._heard - self._began:.1f} s"
        )

    def begin(self, send: Callable[[bytes], None]) -> None:
        """Send the first requests; each answer lets another one go."""
        self._send = send
        self._heard = self._began = time.monotonic()
        self._next(WINDOW)

    def handed(self, stanza: Stanza, backend: str) -> None:
        """The balancer has handed a stanza to a backend."""
        found = self._mine.fullmatch(stanza.id or "")
        if found is not None:
            self.owner[int(found[1])] = backend

    def answered(self, stanzas: list[Stanza]) -> None:
        """Answers have arrived."""
        room = 0
        now = time.monotonic()
        for stanza in stanzas:
            # An echo keeps the text, not the id; an iq's answer, and an error, the id.
            found: re.Match[str] | re.Match[bytes] | None = self._body.search(stanza.data)
            if stanza.kind == "iq" or stanza.type == "error":
                found = self._mine.fullmatch(stanza.id or "")
            if found is None:
                continue
            self._heard = now
            number = int(found[1])
            if stanza.type == "error":
                self.errors.add(number)  # an answer, but not the one that was asked for
                room += 1
                continue
            self.answers[number] += 1
            if self.answers[number] == 1:
                self.trips[number] = now - self._sent[number]
                room += 1
        self._next(room)
        self.news.set()

    def is_answer(self, stanza: Stanza) -> bool:
        """Whether it is for one of our senders."""
        return (stanza.to or "").startswith(f"{self._run}-user")

    def _next(self, count: int) -> None:
        if self._send is None:  # not begun
            return
        data = []
        now = time.monotonic()
        for _ in range(min(count, len(self._waiting))):
            number = self._waiting.pop()
            self._sent[number] = now
            data.append(self._request(number))
        if data:
            self._send(b"".join(data))

    def _request(self, number: int) -> bytes:
        user = f"{self._run}-user{number % SENDERS + 1}@{self._domain}/demo"
        name = f"{self._run}-{number}"
        addresses = f"from='{user}' to='{self._to}' id='{name}'"
        if self.is_message(number):
            return f"<message type='chat' {addresses}><body>{name}</body></message>".encode()
        return f"<iq type='get' {addresses}><ping xmlns='urn:xmpp:ping'/></iq>".encode()
