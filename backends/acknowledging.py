"""How far a backend is done, for XEP-0198: stanzas are handled at once, and counted in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from slixmpp import ComponentXMPP
from slixmpp.plugins.xep_0198 import stanza as sm
from slixmpp.xmlstream import StanzaBase
from slixmpp.xmlstream.handler import Callback as OnStanza
from slixmpp.xmlstream.matcher import MatchXPath

log = structlog.get_logger("backend")

SM_NS: Final = "urn:xmpp:sm:3"
#: Seconds for which what is done waits to be said, so that much is said at once.
DELAY: Final = 0.01

_MODULUS: Final = 1 << 32


class Handled:
    """The ``h`` of XEP-0198 §4, where a stanza is handled when its handler is done.

    Handlers end in any order, but ``h`` says "everything up to here": it is the length of the
    run of stanzas that are done, from the first one on.

    Whatever came before ``<enabled/>`` is not counted by the other side, and is taken as received
    with the first ``<a/>``.  So none may be sent until those are done too: `h` is ``None``.
    """

    __slots__ = ("_ahead", "_base", "_done", "_received")

    def __init__(self) -> None:
        self._base: int | None = None
        self._received = 0
        self._done = 0
        self._ahead: set[int] = set()  # done, while one before them is not

    def __repr__(self) -> str:
        return f"<Handled {self._done} of {self._received}, h={self.h}>"

    @property
    def h(self) -> int | None:
        """What an ``<a/>`` may say now; ``None`` if none may be sent."""
        if self._base is None or self._done < self._base:
            return None
        return (self._done - self._base) % _MODULUS

    @property
    def unfinished(self) -> int:
        """How many were received and are not done."""
        return self._received - self._done - len(self._ahead)

    def enabled(self) -> None:
        """``<enabled/>`` is here: the other side counts from the next stanza on."""
        self._base = self._received

    def received(self) -> int:
        """A stanza is here.

        Returns:
            Its number, for `done`.
        """
        self._received += 1
        return self._received

    def done(self, number: int) -> bool:
        """A stanza's handler is done.

        Returns:
            Whether `h` is another now.
        """
        before = self.h
        self._ahead.add(number)
        while self._done + 1 in self._ahead:
            self._done += 1
            self._ahead.remove(self._done)
        return self.h != before


class Acknowledgements:
    """Tells the balancer how far we are done, when it asks and when that has changed.

    Args:
        stream: the stream to it.
    """

    def __init__(self, stream: ComponentXMPP) -> None:
        self.enabled = False
        self._stream = stream
        self._handled = Handled()
        self._soon: asyncio.Handle | None = None
        for name, act in (("enabled", self._on), ("failed", self._refused), ("r", self._asked)):
            matcher = MatchXPath(f"{{{SM_NS}}}{name}")
            stream.register_handler(OnStanza(f"sm {name}", matcher, act))

    def __repr__(self) -> str:
        return f"<Acknowledgements {'on' if self.enabled else 'off'} {self._handled!r}>"

    @property
    def unfinished(self) -> int:
        """Stanzas of this connection that are not done."""
        return self._handled.unfinished

    def begin(self, *, enable: bool) -> None:
        """A connection is there; count anew."""
        self.end()
        self._handled = Handled()
        if enable:
            self._stream.send(sm.Enable(self._stream))

    def end(self) -> None:
        """The connection is gone: what it had is somebody else's now."""
        self.enabled = False
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    def received(self) -> Callable[[], None]:
        """A stanza is here.

        Returns:
            What to call, once, when it is done.
        """
        handled = self._handled
        number = handled.received()

        def done() -> None:
            moved = handled.done(number)
            if moved and handled is self._handled and self.enabled and self._soon is None:
                self._soon = asyncio.get_running_loop().call_later(DELAY, self._say)

        return done

    def _say(self) -> None:
        self._soon = None
        h = self._handled.h
        if self.enabled and h is not None:
            ack = sm.Ack(self._stream)
            ack["h"] = h
            self._stream.send(ack)  # behind the answers, which wait to be written too

    def _on(self, _: StanzaBase) -> None:
        self.enabled = True
        self._handled.enabled()
        self._stream.event("sm_enabled")

    def _refused(self, _: StanzaBase) -> None:
        log.warning("the balancer takes no acknowledgements")

    def _asked(self, _: StanzaBase) -> None:
        if self._soon is not None:
            self._soon.cancel()
        self._say()
