"""A component as a backend should be: see `Backend`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final
from xml.etree.ElementTree import Element

import structlog
from slixmpp import Iq
from slixmpp.stanza.rootstanza import RootStanza
from slixmpp.xmlstream import StanzaBase

from backends import control
from backends.acknowledging import Acknowledgements
from backends.connection import Connection
from backends.dispatching import Dispatch
from backends.errors import StanzaError, error_reply, may_be_answered
from backends.handlers import Handlers
from backends.jobs import Jobs
from backends.xml import is_too_deep

log = structlog.get_logger("backend")

#: Handlers at once.  A balancer's window is a thousand stanzas: what is beyond this waits here.
CONCURRENCY: Final = 100

#: Seconds for handlers to end when the backend leaves; a balancer waits 60 s for answers.
DRAIN: Final = 50.0


#: Seconds without anything to do after which a backend that was drained leaves by itself.  The
#: balancer would end the stream sooner, but waits for answers to requests that we have given up.
QUIET: Final = 2.0


class Backend(Connection):
    """A slixmpp component with what a backend needs and nobody should write again.

        backend = Backend("svc.example.org", secret, name="worker-1")

        @backend.message
        async def echo(message):
            return message["body"]

        backend.run()

    What a handler returns is the answer (`answers.answer_to`), and an exception becomes a stanza
    error (`errors.error_of`).  A stanza counts as handled when its handlers are done: only then is
    it acknowledged to the balancer (XEP-0198 §4), so one whose backend dies is given to another.

    Args:
        jid: the component's JID.
        secret: its secret, at the balancer.
        servers: where balancers listen, as ``HOST:PORT``; tried in turn.
        name: the backend's name, which conversations are hashed by: it should outlive a restart.
            It may be the resource of ``jid`` as well.
        weight: its share of the conversations, 1 to 256; else the balancer's configuration says.
        balancer: whether there is one.  A bare server must not be told a name (Prosody answers
            ``host-unknown``) nor be asked for acknowledgements (``unsupported-stanza-type``), and
            nothing on the wire tells the two apart before that: this is for you to say.
        concurrency: how many handlers may run at once.
        handlers: those of another backend, to share: one process with several connections.
        timeout: how many seconds a handler may take, then its sender gets
            ``remote-server-timeout``; as long as it likes if not given.
        in_order: whether messages and presence of one sender are handled one after another.
        software: name and version, for XEP-0092.

    Raises:
        ValueError: a server's address, the weight or the concurrency is no such thing.
    """

    def __init__(
        self,
        jid: str,
        secret: str,
        servers: Sequence[str] = ("127.0.0.1:5348",),
        *,
        name: str | None = None,
        weight: int | None = None,
        balancer: bool = True,
        concurrency: int = CONCURRENCY,
        timeout: float | None = None,
        in_order: bool = True,
        handlers: Handlers | None = None,
        software: tuple[str, str] = ("xmpp-balancer backend", ""),
    ) -> None:
        bare, _, resource = jid.partition("/")
        super().__init__(bare, secret, servers, (name or resource or None) if balancer else None)
        self.balancer = balancer
        self.handlers = handlers = handlers if handlers is not None else Handlers()
        # As decorators.
        self.message = handlers.message
        self.presence = handlers.presence
        self.iq = handlers.iq
        self.filter = handlers.filter
        self.jobs = Jobs(concurrency, self._adjust_reading, self._adjust_reading)
        self.acknowledgements = Acknowledgements(self)
        self.draining = False
        self._weight = control.weight(weight) if weight is not None else None
        self._dispatch = Dispatch(self, self.handlers, self.jobs, in_order, timeout)
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0092", {"software_name": software[0], "version": software[1]})
        self.register_plugin("xep_0199")
        self.register_handler(self._dispatch)
        # It keeps a roster in memory, of everybody for ever, and answers probes by it: after a
        # restart, and behind a balancer, it would cancel subscriptions it knows nothing of.
        self.remove_handler("Presence")
        self.add_event_handler("sm_enabled", lambda _: self._adjust_reading())
        self.add_event_handler("disconnected", lambda _: self.acknowledgements.end())

    def __repr__(self) -> str:
        state = "draining" if self.draining else "online" if self.online else "offline"
        return f"<Backend {self.boundjid}/{self.name or ''} {state} {self.jobs!r}>"

    # From start to end.

    def run(self, main: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """Serve until SIGTERM or SIGINT, which drain; a second one ends at once.

        SIGUSR1 switches the trace of raw XML on and off.

        Args:
            main: what to run instead, round `serve`.
        """
        # slixmpp has a loop already, made where there was none.
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(main() if main is not None else self.serve(signals=True))

    async def serve(self, *, signals: bool = False, drain: float = DRAIN) -> None:
        """Be connected until `stop` is called; then drain, and leave.

        Args:
            signals: whether SIGTERM and SIGINT call it, and SIGUSR1 switches the trace.
            drain: how many seconds handlers have then; what is unfinished is redelivered.
        """
        self.loop = asyncio.get_running_loop()
        if signals:
            stop_on_signals(self)
        connecting = asyncio.create_task(self.stay_connected())
        connecting.add_done_callback(lambda _: self.stop())  # by a defect: it is raised below
        try:
            await self._stopping.wait()
            if not connecting.done():
                with suppress(TimeoutError):
                    async with asyncio.timeout(drain):
                        await self._drain(drain)
        finally:
            connecting.cancel()
            await asyncio.wait({connecting})
            await self.jobs.cancel()
            await self.leave()
        if not connecting.cancelled():
            connecting.result()

    def stop(self) -> None:
        """Let `serve` drain, and return."""
        self._stopping.set()

    async def _drain(self, timeout: float) -> None:
        """Get nothing new, and finish what there is.

        A balancer gives new conversations to others from here on, and ends our stream when it
        has everything it waits for.  A bare server knows no such thing: what it still sends is
        answered with an error of type ``wait``.
        """
        self.draining = True
        self.returns = False
        if not self.balancer:
            self._dispatch.refusal = StanzaError("remote-server-timeout", "this backend leaves")
        self.event("draining")
        log.info("draining", backend=self.name, handlers=len(self.jobs))
        drained = self.balancer and self.online
        if drained:
            try:
                await self.request(self._control(control.drain()), timeout)
            except StanzaError as error:
                log.error("the balancer did not drain us", error=str(error))
                drained = False
        await self.jobs.idle()
        while drained and not self.offline.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(QUIET):
                    await self.offline.wait()
            if not len(self.jobs):
                return
            await self.jobs.idle()

    def established(self) -> None:
        self.acknowledgements.begin(enable=self.balancer)
        for namespace in self.handlers.namespaces:
            self.plugin["xep_0030"].add_feature(namespace)
        if self.balancer and self._weight is not None:
            self.in_background(self._announce(self._weight))

    async def _announce(self, weight: Element) -> None:
        try:
            await self.request(self._control(weight))
        except (StanzaError, TimeoutError) as error:
            log.error("the balancer did not take the weight", error=str(error))

    def _control(self, payload: Element) -> Iq:
        bare = self.boundjid.bare
        return self.make_iq_set(payload, ito=bare, ifrom=bare)

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something go on by itself, until it ends or we leave."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def leave(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().leave()

    # Stanzas in.

    def recv_stanza(self, stanza: StanzaBase) -> None:
        if not isinstance(stanza, RootStanza):
            return super().recv_stanza(stanza)
        self.counts[f"received {stanza.name}"] += 1
        self._dispatch.arrives(self.acknowledgements.received())
        try:
            if is_too_deep(stanza.xml):
                self._refuse(stanza)
            else:
                super().recv_stanza(stanza)
        except Exception as error:  # out of here it would cost the connection
            log.error("a stanza could not be handled", stanza=stanza.name, exc_info=error)
        finally:
            self._dispatch.passed()
        return None

    def _refuse(self, stanza: RootStanza) -> None:
        """Answer what is nested so deeply that nothing of it can be copied."""
        stanza.xml[:] = []
        if may_be_answered(stanza):
            self.send(error_reply(stanza, StanzaError("not-acceptable", "nested too deeply")))

    def send(self, data: StanzaBase | str, use_filters: bool = True) -> None:
        super().send(data, use_filters)
        if isinstance(data, RootStanza):
            self._dispatch.sends(data)

    def answer(self, stanza: RootStanza, returned: object) -> None:
        """Send the answer of a handler that goes on afterwards; what it returns is sent no more.

        Args:
            stanza: the one that is being handled.
            returned: see `answers`; or an exception, which becomes a stanza error.
        """
        self._dispatch.answer(stanza, returned)

    # Back-pressure.

    def connection_made(self, transport: asyncio.BaseTransport, send_event: bool = True) -> None:
        super().connection_made(transport, send_event)
        self._adjust_reading()

    def asked(self) -> None:
        self._adjust_reading()

    def _adjust_reading(self) -> None:
        """Read no more while there is enough to do.

        Not with acknowledgements: those that are withheld fill the balancer's window, and its
        question for them, which is its health check as well, must be heard.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        # Nor while handlers wait for answers, which are to be read too.
        waits = self.acknowledgements.enabled or self.asking > 0
        full = len(self.jobs) >= self.jobs.bound and not waits
        if full and transport.is_reading():
            transport.pause_reading()
        elif not full and not transport.is_reading():
            transport.resume_reading()


def stop_on_signals(*backends: Backend) -> None:
    """Stop them on SIGTERM and SIGINT, end at once on a second one; SIGUSR1: trace or do not."""
    loop = asyncio.get_running_loop()
    stopping = False

    def end() -> None:
        nonlocal stopping
        if stopping:
            raise SystemExit(1)
        stopping = True
        for backend in backends:
            backend.stop()

    def trace() -> None:
        for backend in backends:
            backend.trace.toggle()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGUSR1, trace)
