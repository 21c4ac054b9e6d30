"""``scope["extensions"]["xmpp"]``: how an application sends stanzas of its own.

    xmpp = request.scope["extensions"]["xmpp"]
    xmpp["message"]("alice@example.org", "your order is on its way")
    xmpp["presence"]("alice@example.org", show="away")
    answer = await xmpp["iq"]("alice@example.org/phone", Element("{urn:xmpp:ping}ping"))
    xmpp["raw"]("<message to='alice@example.org'><body>hello</body></message>")
    xmpp["stanza"]          the one that is being handled, an Element

All but ``iq`` are plain functions that may be called in any thread: a synchronous view of Django
runs in one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from slixmpp import Iq
from slixmpp.stanza.rootstanza import RootStanza

from backends.backend import Backend
from backends.connection import ACCEPT_NS, REQUEST
from backends.xml import clean, raw

Payload = Element | str | bytes

#: Namespaces in which a stanza may be written by hand.
_OWN: Final = ("", "jabber:client", ACCEPT_NS)


def extension(backend: Backend, stanza: RootStanza) -> dict[str, Any]:
    """What an application finds there while it handles a stanza."""
    sender = Sender(backend, str(stanza["to"]))
    return {
        "stanza": stanza.xml,
        "message": sender.message,
        "presence": sender.presence,
        "iq": sender.iq,
        "raw": sender.raw,
    }


class Sender:
    """Sends stanzas from the address that was spoken to.

    Args:
        backend: sends them.
        address: whose they are, unless they say otherwise.
    """

    def __init__(self, backend: Backend, address: str) -> None:
        self._backend = backend
        self._address = address

    def message(
        self, to: str, body: str | None = None, payload: Payload | None = None, type: str = "chat"
    ) -> None:
        """Send a message with a text, a payload, or both."""
        message = self._backend.Message(stype=type, sto=cast(Any, to))
        if body is not None:
            message["body"] = clean(body)
        self._send(message, payload)

    def presence(
        self,
        to: str,
        type: str | None = None,
        show: str | None = None,
        status: str | None = None,
        payload: Payload | None = None,
    ) -> None:
        """Send presence: available unless there is a ``type`` (RFC 6121 §4.7.1)."""
        presence = self._backend.Presence(sto=cast(Any, to))
        if type is not None:
            presence["type"] = type
        if show is not None:
            presence["show"] = show
        if status is not None:
            presence["status"] = clean(status)
        self._send(presence, payload)

    async def iq(
        self, to: str, payload: Payload | None = None, type: str = "get", timeout: float = REQUEST
    ) -> Element | None:
        """Ask, and wait for the answer.

        Returns:
            The payload of the result, if it has one.

        Raises:
            StanzaError: the answer is an error; its ``status`` is the HTTP status of that.
            TimeoutError: there is none in so many seconds.
        """
        iq = cast(Iq, self._with(self._backend.Iq(stype=type, sto=cast(Any, to)), payload))
        result = await self._backend.request(iq, timeout)
        return next(iter(result.xml), None)

    def raw(self, xml: str | bytes) -> None:
        """Send a stanza that is written out: a message, presence or iq.

        Raises:
            ValueError: it is no such thing.
        """
        self._call(self._backend.send, stanza_of(self._backend, xml, self._address))

    def _send(self, stanza: RootStanza, payload: Payload | None) -> None:
        self._call(self._backend.send, self._with(stanza, payload))

    def _with(self, stanza: RootStanza, payload: Payload | None) -> RootStanza:
        stanza["from"] = self._address
        if payload is not None:
            stanza.append(payload if isinstance(payload, Element) else _element(payload))
        return stanza

    def _call(self, function: Callable[[RootStanza], None], stanza: RootStanza) -> None:
        try:
            here = asyncio.get_running_loop() is self._backend.loop
        except RuntimeError:
            here = False
        if here:
            function(stanza)
        else:
            self._backend.loop.call_soon_threadsafe(function, stanza)


def stanza_of(backend: Backend, xml: str | bytes, address: str) -> RootStanza:
    """A stanza from its text.

    Raises:
        ValueError: it is no message, presence or iq.
    """
    element = _element(xml)
    namespace, _, name = element.tag.removeprefix("{").rpartition("}")
    kinds: dict[str, Callable[[], RootStanza]] = {
        "message": backend.Message,
        "presence": backend.Presence,
        "iq": backend.Iq,
    }
    if namespace not in _OWN or name not in kinds:
        raise ValueError(f"<{element.tag}/> is no stanza")
    stanza = kinds[name]()
    stanza.xml.attrib.update({"from": address, **element.attrib})
    for child in element:
        _qualify(child)
        stanza.append(child)
    return stanza


def _qualify(element: Element) -> None:
    """Names of no namespace, or a client's, are the stream's; what is in another stays."""
    namespace, _, name = element.tag.removeprefix("{").rpartition("}")
    if namespace in _OWN:
        element.tag = f"{{{ACCEPT_NS}}}{name}"
        for child in element:
            _qualify(child)


def _element(xml: str | bytes) -> Element:
    return ElementTree.fromstring(raw(xml.encode() if isinstance(xml, str) else xml))
