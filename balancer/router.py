"""The one place that decides: forward, hold, answer or drop.

A stanza comes in with the time; what is to be done with it comes out as a list of decisions,
which the service carries out in order.  Nothing here waits, writes or calls back.

    from_server(stanza)            a stanza for the component
    from_backend(backend, stanza)  a stanza of one of its backends
    join, leave, room, full        what happens to backends
    server_up, server_down         what happens to the link to the server
    tick                           time passes

Sticky iq, outward: a backend's request leaves under the id ``tag/id``, so the reply says itself
where it belongs and no table is needed.  Inward: a request handed to a backend is in `Inflight`
until it is answered, and is answered once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from balancer.affinity import CONVERSATIONS, Recall
from balancer.decisions import Answer, Decision, Drop, Forward, Refuse, Rules
from balancer.hold import Budget, Queue
from balancer.inflight import Inflight
from balancer.pool import Backend, Pool
from balancer.stanza import IQ_TYPES, Stanza, domain, error_reply, is_address, with_id
from balancer.strategy import Strategy

#: Entries and seconds for which an error still finds the backend that caused it.
RETURNS: Final = (50_000, 120.0)

#: Entries and seconds of multi-step exchanges: XEP-0050 sessions, XEP-0047 bytestreams.
SESSIONS: Final = (50_000, 3600.0)

#: Grants that are replayed; a server has a handful.
MAX_GRANTS: Final = 64


class _Up(NamedTuple):
    """What waits for the server: a backend's stanza, or with no backend our answer to one."""

    backend: Backend | None
    stanza: Stanza
    data: bytes


class Router:
    """Decides for one component.

    Args:
        rules: what the operator decided.
        strategy: picks the backend of a new conversation.
    """

    def __init__(self, rules: Rules, strategy: Strategy) -> None:
        self.pool = Pool()
        self.grants: dict[tuple[str, str], Stanza] = {}
        self.inflight = Inflight(rules.iq_timeout)
        self.connected = False
        self.counts: Counter[str] = Counter()
        self._conversations = Recall(rules.affinity_entries, rules.affinity_ttl)
        self._sessions = Recall(*SESSIONS)
        self._returns = Recall(*RETURNS)
        self._down_budget = Budget(*rules.budget)
        self._nobody: Queue[Stanza] = Queue(self._down_budget)
        self._waiting: dict[Backend, Queue[Stanza]] = {}
        self._up_budget = Budget(*rules.budget)
        self._up: Queue[_Up] = Queue(self._up_budget)
        self.configure(rules, strategy)

    def configure(self, rules: Rules, strategy: Strategy) -> None:
        """Go on under other rules; what is held or in flight keeps the times it was given."""
        self.rules = rules
        self.inflight.timeout = rules.iq_timeout
        self._down_budget.limit(*rules.budget)
        self._up_budget.limit(*rules.budget)
        self._conversation: Callable[[Stanza], str] = CONVERSATIONS[rules.affinity]
        self._conversations.limit(rules.affinity_entries, rules.affinity_ttl)
        # A hash finds a conversation's backend again by itself; any other choice is remembered.
        self._remembers = rules.affinity != "none" and not strategy.finds_again
        self._strategy = strategy
        strategy.update(self.pool)

    def __repr__(self) -> str:
        link = "connected" if self.connected else "away"
        return f"<Router {self.rules.jid} {len(self.pool)} backends, server {link}>"

    @property
    def held(self) -> int:
        """Stanzas that wait for a backend or for the server."""
        return self._down_budget.used + len(self._up)

    def crowded(self) -> bool:
        """Whether the holding queue is nearly full and no backend has room."""
        budget = self._down_budget
        return budget.is_nearly_full() and not any(each.available() for each in self.pool)

    # From the server.

    def from_server(self, stanza: Stanza, now: float) -> list[Decision]:
        """Decide about a stanza for the component."""
        if stanza.kind == "iq":
            if stanza.id is None or stanza.type not in IQ_TYPES:
                return self._answer(
                    None, stanza, "modify", "bad-request", _BAD_IQ, "bad_request", now
                )
            if stanza.is_reply:
                return self._reply_from_server(stanza, now)
        elif stanza.type == "error":
            owner = self._returns.get((stanza.to, stanza.sender, stanza.id), now)
            if owner is not None:
                return self._give(owner, stanza, now)
        elif "grant" in stanza.clues and self._is_grant(stanza):
            return self._granted(stanza, now)
        return self._give(self._owner(stanza, now), stanza, now)

    def _reply_from_server(self, stanza: Stanza, now: float) -> list[Decision]:
        assert stanza.id is not None
        tag, _, original = stanza.id.partition("/")
        backend = self.pool.by_tag(tag)
        if backend is None:
            return [self._drop(stanza, "orphan_reply")]
        own = stanza._replace(id=original, data=with_id(stanza.data, original))
        return self._give(backend, own, now)

    def _owner(self, stanza: Stanza, now: float) -> Backend | None:
        """The backend whose conversation a stanza belongs to."""
        if stanza.kind == "iq":
            # Who has a request gets its repetition, so that each answer finds its question.
            owner = self.inflight.holder(stanza.sender, stanza.to, stanza.id)
            if owner is not None:
                return owner
        session = stanza.clues.get("session")
        if session is not None:
            owner = self._sessions.get((stanza.sender, session), now)
            if owner is None:
                owner = self._conversation_owner(stanza, now)
            if owner is not None:
                self._sessions.put((stanza.sender, session), owner, now)
            return owner
        return self._conversation_owner(stanza, now)

    def _conversation_owner(self, stanza: Stanza, now: float) -> Backend | None:
        key = self._conversation(stanza)
        if not self._remembers:
            return self._strategy.pick(key, spill=self.rules.spill)
        owner = self._conversations.get(key, now)
        if owner is None or (self.rules.spill and not owner.available()):
            owner = self._strategy.pick(key, spill=self.rules.spill)
        if owner is not None:
            self._conversations.put(key, owner, now)
        return owner

    def _give(self, owner: Backend | None, stanza: Stanza, now: float) -> list[Decision]:
        """Forward to the owner, behind what already waits for it; hold while it has no room."""
        queue = self._nobody if owner is None else self._waiting[owner]
        if owner is not None and not queue and owner.available():
            if stanza.is_request:
                # While this one was held, another may have got a request under the same id.
                holder = self.inflight.holder(stanza.sender, stanza.to, stanza.id)
                if holder is not None and holder is not owner:
                    return self._give(holder, stanza, now)
                self.inflight.open(owner, stanza, now)
            self.counts["forwarded"] += 1
            return [Forward(owner, stanza.data)]
        if queue.put(stanza, len(stanza.data), now):
            return []
        reason = "queue_full" if self.rules.queue_timeout else "no_backend"
        return self._answer(None, stanza, "wait", "remote-server-timeout", _NOBODY, reason, now)

    def _is_grant(self, stanza: Stanza) -> bool:
        # Only a server grants, so it comes from a bare domain; a user could write anything.
        sender = stanza.sender or ""
        return stanza.kind == "message" and bool(sender) and sender == domain(sender)

    def _granted(self, stanza: Stanza, now: float) -> list[Decision]:
        assert stanza.sender is not None
        key = (stanza.sender, stanza.clues["grant"])
        if key in self.grants or len(self.grants) < MAX_GRANTS:
            self.grants[key] = stanza
        return [each for backend in self.pool for each in self._give(backend, stanza, now)]

    # From a backend.

    def from_backend(self, backend: Backend, stanza: Stanza, now: float) -> list[Decision]:
        """Decide about a stanza of a backend, checked so that it cannot hurt its neighbours."""
        if not stanza.sender or not stanza.to:
            return [Refuse(backend, "improper-addressing", "a stanza needs `from` and `to`")]
        if domain(stanza.sender) != self.rules.jid or not is_address(stanza.sender):
            given = stanza.sender[:100]
            text = f"`from` must be an address in the domain {self.rules.jid}, not {given}"
            return [Refuse(backend, "invalid-from", text)]
        if not is_address(stanza.to):
            return self._answer(
                backend, stanza, "modify", "jid-malformed", _BAD_TO, "jid_malformed", now
            )
        data = stanza.data
        if stanza.kind == "iq":
            if stanza.id is None or stanza.type not in IQ_TYPES:
                return self._answer(
                    backend, stanza, "modify", "bad-request", _BAD_IQ, "bad_request", now
                )
            if stanza.is_request:
                data = with_id(data, f"{backend.tag}/{stanza.id}")
            elif not self.inflight.settle(backend, stanza):
                return [self._drop(stanza, "late_reply")]
        elif stanza.type != "error":
            self._returns.put((stanza.sender, stanza.to, stanza.id), backend, now)
        if "session" in stanza.clues:
            self._sessions.put((stanza.to, stanza.clues["session"]), backend, now)
        if self.connected:
            self.counts["forwarded"] += 1
            return [Forward(None, data)]
        if self._up.put(_Up(backend, stanza, data), len(data), now):
            return []
        return self._not_sent(_Up(backend, stanza, data), "queue_full", now)

    def _not_sent(self, up: _Up, reason: str, now: float) -> list[Decision]:
        if up.backend is None:
            return [self._drop(up.stanza, "server_away")]
        if up.backend not in self.pool:
            return [self._drop(up.stanza, "backend_gone")]
        return self._answer(
            up.backend, up.stanza, "wait", "remote-server-timeout", _NO_SERVER, reason, now
        )

    # What happens to backends and to the server.

    def join(self, backend: Backend, now: float) -> list[Decision]:
        """A backend is there: it hears the grants, and those who waited for one are served."""
        self.pool.add(backend)
        self._waiting[backend] = Queue(self._down_budget)
        self._strategy.update(self.pool)
        decisions: list[Decision] = [
            each for grant in self.grants.values() for each in self._give(backend, grant, now)
        ]
        return decisions + self._serve_nobodys(now)

    def leave(self, backend: Backend, now: float) -> list[Decision]:
        """A backend has gone: its requests are answered, and what waited for it moves."""
        self.pool.remove(backend)
        self._strategy.update(self.pool)
        for table in (self._conversations, self._sessions, self._returns):
            table.forget(backend)
        decisions: list[Decision] = []
        for _, request in self.inflight.abandon(backend):
            decisions += self._answer(
                None, request, "wait", "remote-server-timeout", _GONE, "backend_lost", now
            )
        for stanza in self._waiting.pop(backend).pop_all():
            if stanza.is_reply:
                decisions.append(self._drop(stanza, "orphan_reply"))
            else:
                decisions += self._give(self._owner(stanza, now), stanza, now)
        return decisions

    def full(self, backend: Backend) -> None:
        """A backend takes nothing more for now."""
        backend.full = True

    def room(self, backend: Backend, now: float) -> list[Decision]:
        """A backend takes stanzas again: what waited for it comes first."""
        backend.full = False
        decisions = [
            each
            for stanza in self._waiting[backend].pop_all()
            for each in self._give(backend, stanza, now)
        ]
        return decisions + self._serve_nobodys(now)

    def _serve_nobodys(self, now: float) -> list[Decision]:
        """Somebody has room: serve those for whom there was nobody."""
        return [
            each
            for stanza in self._nobody.pop_all()
            for each in self._give(self._owner(stanza, now), stanza, now)
        ]

    def server_up(self, now: float) -> list[Decision]:
        """The server is there: what the backends sent meanwhile goes out in order."""
        self.connected = True
        self.grants.clear()  # the server sends them anew at every login
        held = self._up.pop_all()
        self.counts["forwarded"] += sum(up.backend is not None for up in held)
        return [Forward(None, up.data) for up in held]

    def server_down(self) -> None:
        """The server is away: what backends send is held."""
        self.connected = False

    def give_up(self, now: float) -> list[Decision]:
        """The balancer stops: answer whatever still waits for a backend or for the server."""
        decisions: list[Decision] = []
        for stanza in self._nobody.pop_all():
            decisions += self._answer(
                None, stanza, "wait", "remote-server-timeout", _NOBODY, "stopping", now
            )
        if not self.connected:
            for up in self._up.pop_all():
                decisions += self._not_sent(up, "stopping", now)
        return decisions

    def tick(self, now: float) -> list[Decision]:
        """Time passes: answer what has waited too long.  To be called about once a second."""
        decisions: list[Decision] = []
        for backend, request in self.inflight.expire(now):
            text = f"{backend.name} did not answer in {self.rules.iq_timeout:g} s"
            decisions += self._answer(
                None, request, "wait", "remote-server-timeout", text, "iq_timeout", now
            )
        for queue in (self._nobody, *self._waiting.values()):
            for stanza in queue.pop_expired(now):
                decisions += self._answer(
                    None, stanza, "wait", "remote-server-timeout", _NOBODY, "queue_timeout", now
                )
        for up in self._up.pop_expired(now):
            decisions += self._not_sent(up, "queue_timeout", now)
        for table in (self._conversations, self._sessions, self._returns):
            table.expire(now)
        return decisions

    # Ends.

    def _answer(  # noqa: PLR0917
        self,
        backend: Backend | None,
        stanza: Stanza,
        kind: str,
        condition: str,
        text: str,
        reason: str,
        now: float,
    ) -> list[Decision]:
        data = error_reply(stanza, kind, condition, text)
        if data is None:
            return [self._drop(stanza, reason)]
        if backend is None and not self.connected:
            # The server still knows who asked, and hears it when it is back.
            up = _Up(None, stanza, data)
            if not self._up.put(up, len(data), now):
                return self._not_sent(up, reason, now)
            self.counts[f"answered:{reason}"] += 1
            return []
        self.counts[f"answered:{reason}"] += 1
        return [Answer(backend, data, reason)]

    def _drop(self, stanza: Stanza, reason: str) -> Drop:
        self.counts[f"dropped:{reason}"] += 1
        return Drop(stanza, reason)


_BAD_IQ: Final = "an iq needs an id and the type get, set, result or error (RFC 6120 §8.2.3)"
_BAD_TO: Final = "`to` is not an address (RFC 7622 §3.1)"
_NOBODY: Final = "no backend is there to take this"
_NO_SERVER: Final = "the XMPP server is away"
_GONE: Final = "the backend that had this request has gone"
