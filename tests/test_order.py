"""Whatever happens to backends that live, nobody's messages overtake each other (RFC 6120 §10.1).

Users write, backends read what they were sent when it pleases them, and in between they come, are
weighed, put into maintenance and made ready, and the configuration is read again.
"""

from __future__ import annotations

import random
from collections import Counter, deque

import pytest

from balancer.decisions import Decision, Forward, Tell
from balancer.health import Order
from balancer.pool import Backend
from balancer.router import Router
from balancer.strategy import strategy
from tests.test_router import message, reply, router
from tests.test_router import read as parsed

USERS = [f"u{number}@example.org" for number in range(12)]
NAMES = "ABCDE"


class Play:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.router: Router = router("A", "B", "C")
        self.now = 1.0
        self.inboxes: dict[Backend, deque[Forward | Tell]] = {}
        self.written: Counter[str] = Counter()
        self.read: Counter[str] = Counter()

    def do(self, decisions: list[Decision]) -> None:
        for each in decisions:
            if isinstance(each, Forward | Tell) and each.backend is not None:
                self.inboxes.setdefault(each.backend, deque()).append(each)

    def somebody(self) -> str:
        return self.random.choice([each.name for each in self.router.pool])

    def write(self) -> None:
        user = self.random.choice(USERS)
        self.written[user] += 1
        stanza = message(sender=user, id=str(self.written[user]))
        self.do(self.router.from_server(stanza, self.now))

    def work(self) -> None:
        busy = [backend for backend, inbox in self.inboxes.items() if inbox]
        if not busy:
            return
        backend = self.random.choice(busy)
        for _ in range(min(self.random.randrange(1, 4), len(self.inboxes[backend]))):
            each = self.inboxes[backend].popleft()
            stanza = parsed(each.data)
            if isinstance(each, Tell):
                self.do(self.router.from_backend(backend, reply(stanza), self.now))
                continue
            assert stanza.sender is not None
            number = int(stanza.id or 0)
            assert number > self.read[stanza.sender], "overtaken"
            self.read[stanza.sender] = number

    def weigh(self) -> None:
        weight = self.random.randrange(1, 20)
        self.do(self.router.orders.weigh(self.somebody(), weight, self.now))

    def order(self) -> None:
        order = self.random.choice([Order.MAINT, Order.READY, Order.READY])
        self.do(self.router.orders.order(self.somebody(), order, self.now))

    def join(self) -> None:
        free = [name for name in NAMES if self.router.pool.get(name) is None]
        if free:
            self.do(self.router.join(Backend(self.random.choice(free)), self.now))

    def reload(self) -> None:
        other = strategy(self.random.choice(["hash", "round-robin"]), lambda: 0.5)
        self.do(self.router.configure(self.router.rules, other, self.now))

    def tick(self) -> None:
        self.do(self.router.tick(self.now))


@pytest.mark.parametrize("seed", range(100))
def test_nobody_is_overtaken(seed: int) -> None:
    play = Play(seed)
    seldom = (play.weigh, play.order, play.join, play.reload, play.tick)
    for _ in range(400):
        play.now += 0.002
        chance = play.random.random()
        if chance < 0.55:
            play.write()
        elif chance < 0.9:
            play.work()
        else:
            play.random.choice(seldom)()
        assert not play.router.missing()


def test_the_play_can_fail() -> None:
    play = Play(0)
    late = message(sender=USERS[0], id="2")
    early = message(sender=USERS[0], id="1")
    for backend, stanza in (("A", late), ("B", early)):
        play.inboxes[Backend(backend)] = deque([Forward(None, stanza.data)])
    play.random.choice = lambda some: some[0]  # type: ignore[method-assign,assignment]
    play.work()
    with pytest.raises(AssertionError, match="overtaken"):
        play.work()
