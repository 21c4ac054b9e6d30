"""From a stanza to its handlers, and from what they return or raise to its answer, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Final, Protocol, cast

import structlog
from slixmpp.stanza.rootstanza import RootStanza
from slixmpp.xmlstream import StanzaBase
from slixmpp.xmlstream.handler.base import BaseHandler
from slixmpp.xmlstream.matcher.base import MatcherBase

from backends.answers import answer_to
from backends.control import redelivered
from backends.errors import StanzaError, error_of, error_reply, is_meant, may_be_answered
from backends.handlers import REQUESTS, Handlers, Rule, is_request, payload_namespace
from backends.jobs import Jobs

log = structlog.get_logger("backend")

#: Requests that slixmpp's plugins answer: XEP-0199, XEP-0030, XEP-0092.
ANSWERED: Final = frozenset(
    {
        "urn:xmpp:ping",
        "http://jabber.org/protocol/disco#info",
        "http://jabber.org/protocol/disco#items",
        "jabber:iq:version",
    }
)


class Stream(Protocol):
    """What is needed of the connection."""

    counts: Counter[str]

    def send(self, data: StanzaBase | str) -> None:
        """Send an answer."""


class Dispatch(BaseHandler):
    """slixmpp's way to our handlers: itself a handler, of whatever they are for.

    Args:
        stream: where answers go.
        handlers: who handles what.
        jobs: runs them.
        in_order: whether messages and presence of one sender are handled one after another.
        timeout: how many seconds a handler may take.
    """

    def __init__(
        self, stream: Stream, handlers: Handlers, jobs: Jobs, in_order: bool, timeout: float | None
    ) -> None:
        super().__init__("handlers", _Handled(self))
        self.handlers = handlers
        self.jobs = jobs
        self.refusal: StanzaError | None = None  # what everybody is told, if anything
        self.answered = set(ANSWERED)  # namespaces whose requests others answer
        self._answers_to = stream
        self._in_order = in_order
        self._timeout = timeout
        self._unanswered: dict[tuple[str, str], RootStanza] = {}
        # Of the stanza that is being offered to the handlers of the stream.
        self._done: Callable[[], None] | None = None
        self._rules: list[Rule] = []

    def arrives(self, done: Callable[[], None]) -> None:
        """A stanza is about to be offered to all handlers of the stream, this one among them."""
        self._done = done

    def passed(self) -> None:
        """It has been: if no handler of ours took it, slixmpp is done with it."""
        if self._done is not None:
            self._done()
            self._done = None

    def sends(self, stanza: StanzaBase) -> None:
        """A stanza goes out, perhaps the answer to a request: one that a handler sent itself."""
        if stanza.name == "iq" and stanza.xml.get("type") not in REQUESTS:
            self._unanswered.pop(_key(stanza, "to"), None)

    def handles(self, stanza: StanzaBase) -> bool:
        """Whether there are handlers for the stanza that is being offered."""
        if not isinstance(stanza, RootStanza):
            return False
        self._rules = self.handlers.of(stanza, self._answered_elsewhere(stanza))
        return bool(self._rules)

    def _answered_elsewhere(self, stanza: RootStanza) -> bool:
        # slixmpp answers those of type get alone.
        asks = stanza.name == "iq" and stanza.xml.get("type") == "get"
        return asks and payload_namespace(stanza) in self.answered

    def run(self, payload: StanzaBase) -> None:
        """Start the handlers of a stanza."""
        stanza = cast(RootStanza, payload)
        if self.refusal is not None:
            if may_be_answered(stanza):
                self._answers_to.send(error_reply(stanza, self.refusal))
            return
        done, self._done = self._done, None
        rules = self._rules
        if redelivered(stanza):
            self._answers_to.counts["redelivered"] += 1
        if is_request(stanza) and not self._answered_elsewhere(stanza):
            self._unanswered[_key(stanza, "from")] = stanza

        async def job() -> None:
            try:
                await self._work(stanza, rules)
            finally:
                if self._owes(stanza):
                    del self._unanswered[_key(stanza, "from")]
            if done is not None:
                done()

        self.jobs.start(job, self._conversation(stanza))

    def _conversation(self, stanza: RootStanza) -> Hashable | None:
        # An iq has an id to tell its answer by: requests need not wait for one another.
        return stanza.xml.get("from") if self._in_order and stanza.name != "iq" else None

    async def _work(self, stanza: RootStanza, rules: list[Rule]) -> None:
        """Run the handlers of a stanza, and send what they return."""
        try:
            for rule in rules:
                returned = await self._ask(rule, stanza, alone=all(r.watches for r in rules))
                if returned is not None:
                    self.answer(stanza, returned)
            if self._owes(stanza):
                watched = all(rule.watches for rule in rules)
                self.answer(stanza, StanzaError("feature-not-implemented") if watched else None)
            self._answers_to.counts["handled"] += 1
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # we leave: it is not done, so another backend gets it
            self._failed(stanza, RuntimeError(f"what it waited for was cancelled: {cancelled}"))
        except Exception as exception:
            self._failed(stanza, exception)

    async def _ask(self, rule: Rule, stanza: RootStanza, *, alone: bool) -> object:
        try:
            async with asyncio.timeout(self._timeout):
                return await rule.handler(stanza)
        except Exception as exception:
            if alone or not rule.watches:
                raise
            # Who only watches must not be in the way of who handles it.
            self._answers_to.counts["failed"] += 1
            log.error("a filter failed", filter=rule.name, exc_info=exception)
            return None

    def _failed(self, stanza: RootStanza, exception: Exception) -> None:
        self._answers_to.counts["failed"] += 1
        if not is_meant(exception):
            log.error("a handler failed", stanza=stanza.name, exc_info=exception)
        try:
            self.answer(stanza, exception)
        except Exception as error:  # there is no room in the outbox, for one
            log.error("its sender could not be told", stanza=stanza.name, exc_info=error)

    def answer(self, stanza: RootStanza, returned: object) -> None:
        """Send what a handler returned or raised, unless a request has its answer already."""
        if isinstance(returned, Exception):
            if not may_be_answered(stanza):
                return
            returned = error_reply(stanza, error_of(returned))
        if is_request(stanza) and not self._owes(stanza):
            return
        answer = answer_to(stanza, returned)
        if answer is not None:
            self._answers_to.send(answer)
        self._unanswered.pop(_key(stanza, "from"), None)

    def _owes(self, stanza: RootStanza) -> bool:
        """Whether it is a request that has no answer yet."""
        return self._unanswered.get(_key(stanza, "from")) is stanza


class _Handled(MatcherBase):
    """Matches what there are handlers for."""

    def match(self, xml: StanzaBase) -> bool:
        return cast(Dispatch, self._criteria).handles(xml)


def _key(iq: StanzaBase, attribute: str) -> tuple[str, str]:
    """What tells a request from others: who asks, and the id (RFC 6120 §8.1.3)."""
    return iq.xml.get(attribute, ""), iq.xml.get("id", "")
