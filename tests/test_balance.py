"""Nothing is lost: a hundred backends come, go, stall and die on a simulated clock.

The machine plays the server, the users and every backend.  What the router decides is carried out
at once; a backend handles what it was written when the machine says so.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from balancer import batch
from balancer.decisions import Answer, Close, Decision, Drop, Forward, Rules, Tell
from balancer.framing import Framer
from balancer.health import HealthRules, Order
from balancer.pool import Backend
from balancer.router import Router
from balancer.stanza import Stanza
from balancer.strategy import strategy
from tests.test_crew import MARK
from tests.test_router import HEADER, SVC, message, read, reply, request, tag

USERS = [f"u{n}@example.org/x" for n in range(5)]
NAMES = st.integers(0, 99).map(str)
#: Why a stanza may be let go: nobody is left who waits for it.
ORPHANED = ("late_reply", "orphan_reply", "backend_gone")


def several(data: bytes) -> list[Stanza]:
    """The stanzas that were written at once."""
    framer = Framer(1 << 20)
    framer.feed(HEADER)
    return [each for each in framer.feed(data) if isinstance(each, Stanza)]


class Worker:
    """A backend as a process: what it was written and has not read, and whether it reads."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.inbox: deque[bytes] = deque()


class Balance(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.number = 0
        self.workers: dict[str, Worker] = {}
        self.sent: dict[str, list[str]] = defaultdict(list)  # by user
        self.heard: dict[str, list[tuple[str, bool]]] = defaultdict(list)  # id, marked
        self.bounced: set[str] = set()
        self.open: Counter[tuple[str | None, str | None]] = Counter()

    @initialize(
        name=st.sampled_from(["hash", "round-robin", "least-outstanding"]),
        window=st.sampled_from([1, 4, 100]),
        size=st.sampled_from([3, 1000]),
    )
    def begin(self, name: str, window: int, size: int) -> None:
        health = HealthRules(interval=2, timeout=1, slow_start=0)
        rules = Rules(
            SVC, max_unacked=window, queue_size=size, iq_timeout=20, health=health, settle_time=1e9
        )
        self.router = Router(rules, strategy(name, lambda: 0.5), lambda: 0.5)
        self.do(self.router.server_up(0))

    def do(self, decisions: Iterable[Decision]) -> None:
        for each in decisions:
            if isinstance(each, Tell) or (isinstance(each, Forward | Answer) and each.backend):
                assert each.backend is not None
                self.workers[each.backend.name].inbox.append(each.data)
            elif isinstance(each, Forward | Answer):
                assert self.router.connected
                self.server_hears(read(each.data))
            elif isinstance(each, Close):
                self.workers[each.backend.name].inbox.append(b"")
            else:
                assert not isinstance(each, Drop) or each.reason in ORPHANED

    def server_hears(self, stanza: Stanza) -> None:
        if stanza.kind == "iq" and stanza.is_reply:
            self.open[stanza.to, stanza.id] -= 1
            assert self.open[stanza.to, stanza.id] >= 0, "answered twice"
        elif stanza.type == "error":
            assert stanza.id is not None
            self.bounced.add(stanza.id)

    @rule(user=st.sampled_from(USERS), many=st.integers(1, 12))
    def users_write(self, user: str, many: int) -> None:
        if not self.router.connected:
            return
        numbers = [str(self.number + n) for n in range(1, many + 1)]
        self.number += many
        self.sent[user] += numbers
        stanzas = [message(sender=user, id=number) for number in numbers]
        self.do(batch.from_server(self.router, stanzas, self.now))

    @rule(user=st.sampled_from(USERS), kind=st.sampled_from(["get", "set"]))
    def users_ask(self, user: str, kind: str) -> None:
        if not self.router.connected:
            return
        self.number += 1
        self.open[user, str(self.number)] += 1
        self.do(self.router.from_server(request(str(self.number), user, type=kind), self.now))

    @rule(name=NAMES)
    def joins(self, name: str) -> None:
        backend = Backend(name)
        self.workers[name] = Worker(backend)  # the old connection's inbox is lost with it
        self.do(self.router.join(backend, self.now))

    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        if self.workers:
            name = data.draw(st.sampled_from(sorted(self.workers)))
            self.leave(name)

    def leave(self, name: str) -> None:
        backend = self.workers.pop(name).backend
        self.do(self.router.crew.leave(backend, self.now))

    @rule(data=st.data(), many=st.integers(1, 50))
    def works(self, data: st.DataObject, many: int) -> None:
        if self.workers:
            name = data.draw(st.sampled_from(sorted(self.workers)))
            self.work(name, many)

    def work(self, name: str, many: int) -> None:
        worker = self.workers[name]
        worker.backend.health.heard = self.now
        while worker.inbox and many:
            many -= 1
            data = worker.inbox.popleft()
            if not data:  # </stream:stream>
                self.leave(name)
                return
            stanzas = several(data)
            if len(stanzas) > 1:
                worker.inbox.extendleft(reversed([each.data for each in stanzas]))
                many += 1
                continue
            (stanza,) = stanzas
            if stanza.is_request:
                answer = reply(stanza)
                self.do(self.router.from_backend(worker.backend, answer, self.now))
            elif stanza.kind == "message" and stanza.type == "chat":
                assert stanza.id is not None
                assert stanza.sender is not None
                self.heard[stanza.sender].append((stanza.id, MARK in stanza.data))

    @rule(data=st.data())
    def asks_the_server(self, data: st.DataObject) -> None:
        if self.workers:
            worker = self.workers[data.draw(st.sampled_from(sorted(self.workers)))]
            ask = tag("iq", "get", "7", SVC, USERS[0])
            self.do(self.router.from_backend(worker.backend, ask, self.now))

    @rule(data=st.data(), order=st.sampled_from(Order))
    def ordered(self, data: st.DataObject, order: Order) -> None:
        if self.workers:
            name = data.draw(st.sampled_from(sorted(self.workers)))
            self.do(self.router.orders.order(name, order, self.now))

    @rule(data=st.data())
    def socket(self, data: st.DataObject) -> None:
        if self.workers:
            worker = self.workers[data.draw(st.sampled_from(sorted(self.workers)))]
            if worker.backend.congested:
                self.do(self.router.crew.room(worker.backend, self.now))
            else:
                self.router.crew.full(worker.backend)

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.do(self.router.tick(self.now))

    @rule()
    def server_comes_and_goes(self) -> None:
        if self.router.connected:
            self.do(self.router.server_down(self.now))
        else:
            self.do(self.router.server_up(self.now))

    @invariant()
    def the_law(self) -> None:
        if hasattr(self, "router"):
            assert not self.router.missing()
            assert not self.router.counts.dropped.total()

    def teardown(self) -> None:
        if not hasattr(self, "router"):
            return
        router = self.router
        if not router.connected:
            self.do(router.server_up(self.now))
        router.orders.by_name.clear()
        self.workers["last"] = Worker(Backend("last"))
        self.do(router.join(self.workers["last"].backend, self.now))
        for name, worker in list(self.workers.items()):
            if worker.backend.congested and name in self.workers:
                self.do(router.crew.room(worker.backend, self.now))
        for _ in range(100):
            for name in list(self.workers):
                self.work(name, 1000)
            self.now += 1
            self.do(router.tick(self.now))
            if not router.held:
                break
        assert router.held == 0
        self.the_law()
        assert not +self.open, "never answered"
        for user, sent in self.sent.items():
            heard = self.heard[user]
            assert set(sent) == {id for id, _ in heard} | (self.bounced & set(sent)), "lost"
            again = Counter(id for id, marked in heard if marked)
            first = [id for id, marked in heard if not marked]
            assert len(first) == len(set(first)), "given twice without a mark"
            once = [  # who wakes up reads what it had
                id for id in first if id not in again and id not in self.bounced
            ]
            assert once == sorted(once, key=int), "out of order"
            assert not again or max(again.values()) == 1, "given to a third"


TestBalance = Balance.TestCase
TestBalance.settings = settings(
    max_examples=300,
    stateful_step_count=60,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
