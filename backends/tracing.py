"""The raw XML of a connection, both ways, to be switched on and off while it runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger("trace")

#: Gets the direction, ``in`` or ``out``, and the XML as it crossed the socket.
Sink = Callable[[str, str], None]

#: Who sees this digest and the stream's id can try secrets against it.
_DIGEST = re.compile(rb"(<handshake[^>]*>)[^<]+")
_HIDDEN: Final = rb"\1..."


def to_log(direction: str, xml: str) -> None:
    """Where the trace goes unless another place is named."""
    log.info("xml", direction=direction, xml=xml)


class Trace:
    """What crosses the socket, for whoever wants to see it."""

    def __init__(self) -> None:
        self._sink: Sink | None = None

    def __bool__(self) -> bool:
        """Whether it is on."""
        return self._sink is not None

    def on(self, sink: Sink = to_log) -> None:
        """Show everything from now on; the handshake's digest is left out."""
        self._sink = sink

    def off(self) -> None:
        """Show nothing more."""
        self._sink = None

    def toggle(self) -> None:
        """On if it is off, and the other way round."""
        self._sink = to_log if self._sink is None else None

    def show(self, direction: str, data: bytes | str) -> None:
        """Something crosses the socket; a sink that fails does no harm to the connection."""
        if self._sink is None:
            return
        raw = data.encode() if isinstance(data, str) else data
        try:
            self._sink(direction, _DIGEST.sub(_HIDDEN, raw).decode(errors="replace"))
        except Exception as error:
            log.warning("the trace's sink failed, it is off now", error=repr(error))
            self._sink = None
