"""The XEP-0114 conversation, in both roles, without a socket.

    initiator (we, to the server)            acceptor (we, to a backend)

    START ──open()──▶ HEADER                 HEADER ──header──▶ HANDSHAKE
    HEADER ──header──▶ HANDSHAKE             HANDSHAKE ──digest──▶ BINDING ──welcome()──▶ OPEN
    HANDSHAKE ──<handshake/>──▶ OPEN         (any) ──refuse()──▶ CLOSED
    OPEN ──</stream:stream>──▶ CLOSED        OPEN ──</stream:stream>──▶ CLOSED
    OPEN ──finish()──▶ FINISHING ──</stream:stream>──▶ CLOSED, in both

`Stream.receive` takes bytes and returns events, `Stream.outgoing` returns the bytes to write:
the caller moves them.  A peer's bad input never raises: the stream error is queued for it and the
caller gets a `Failed`, after which nothing more is read.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from balancer.elements import Closed, Element, Header, Violation
from balancer.framing import Framer
from balancer.stanza import (
    ACCEPT_NS,
    STREAM_ERROR_NS,
    STREAM_NS,
    Stanza,
    quoted,
)

_STREAM: Final = f"{STREAM_NS} stream"
_ERROR: Final = f"{STREAM_NS} error"
_HANDSHAKE: Final = f"{ACCEPT_NS} handshake"
_TEXT = re.compile(rb">([^<]*)<")

#: What a peer is told in the words of RFC 6120 instead of ours.  Prosody and Openfire say it of
#: any oversize stanza; XEP-0205 gave the application-specific condition its name.
_TOO_LARGE: Final = "<stanza-too-big xmlns='urn:xmpp:errors'/>"


class State(Enum):
    """Where a stream stands; the tables at the head of this file."""

    START = "start"
    HEADER = "header"
    HANDSHAKE = "handshake"
    BINDING = "binding"
    OPEN = "open"
    FINISHING = "finishing"
    CLOSED = "closed"


class Established(NamedTuple):
    """Initiator: the server has accepted the handshake (XEP-0114 §3, example 4)."""


class Introduced(NamedTuple):
    """Acceptor: a backend has proven that it knows a secret; it waits for `Acceptor.welcome`.

    ``name`` is the resource it asked for in its header or ``None``, ``credential`` the name of
    the secret that fitted or ``None`` for the component's common one.
    """

    jid: str
    name: str | None
    credential: str | None


class Failed(NamedTuple):
    """The stream is over because of an error; ``by_peer`` tells who found it.

    ``condition`` is RFC 6120 §4.9.3's, or ``not-authorized`` for a wrong secret.
    """

    condition: str
    text: str
    by_peer: bool

    def __str__(self) -> str:
        return f"{self.condition}: {self.text}" if self.text else self.condition


Event = Stanza | Element | Established | Introduced | Failed | Closed


class Credential(NamedTuple):
    """A secret that opens a component's pool, and the backend name it stands for, if any."""

    name: str | None
    secret: str


def digest(stream_id: str, secret: str) -> str:
    """The handshake of XEP-0114 §3: SHA-1 of stream id and secret, in lower-case hexadecimal."""
    return hashlib.sha1((stream_id + secret).encode()).hexdigest()


def stream_error(condition: str, text: str = "") -> bytes:
    """A stream error and the end of the stream (RFC 6120 §4.9.1)."""
    said = f"<text xmlns='{STREAM_ERROR_NS}' xml:lang='en'>{escape(text)}</text>" if text else ""
    extra = _TOO_LARGE if condition == "policy-violation" else ""
    return (
        f"<stream:error><{condition} xmlns='{STREAM_ERROR_NS}'/>{said}{extra}</stream:error>"
        "</stream:stream>"
    ).encode()


class Stream:
    """What both roles share: framing in, queued bytes out, one orderly end.

    Args:
        framer: cuts what the peer sends.
    """

    def __init__(self, framer: Framer) -> None:
        self.state = State.START
        self._framer = framer
        self._out: list[bytes] = []
        self._opened = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state.value}>"

    def outgoing(self) -> bytes:
        """Bytes of the conversation itself that wait to be written, at most once each."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer.

        Returns:
            Stanzas, and what happened to the stream, in order.
        """
        if self.state is State.CLOSED:
            return []
        framed = self._framer.feed(data)
        if self.state is State.OPEN and self._framer.only_stanzas:
            return framed  # type: ignore[return-value]  # the hot path: stanzas and nothing else
        events: list[Event] = []
        for event in framed:
            happened = self._handle(event)
            if happened is not None:
                events.append(happened)
            if self.is_closed():
                break
        return events

    def discard(self) -> None:
        """The connection is gone: nothing more is received."""
        self.state = State.CLOSED
        self._framer.discard()

    def only_stanzas(self) -> bool:
        """Whether what was last received was nothing else."""
        return self._framer.only_stanzas

    def is_closed(self) -> bool:
        """Whether this stream is over: nothing more is read."""
        return self.state is State.CLOSED

    def fail(self, condition: str, text: str = "") -> Failed:
        """End the stream with an error of ours (RFC 6120 §4.9.1.1: after a header of our own)."""
        if self.state is State.FINISHING:  # our last word is said
            self.state = State.CLOSED
        elif self.state is not State.CLOSED:
            self._ensure_opened()
            self._out.append(stream_error(condition, text))
            self.state = State.CLOSED
        return Failed(condition, text, by_peer=False)

    def close(self) -> None:
        """End the stream in good order (RFC 6120 §4.4)."""
        if self.state is not State.CLOSED:
            if self._opened and self.state is not State.FINISHING:
                self._out.append(b"</stream:stream>")
            self.state = State.CLOSED

    def finish(self) -> None:
        """Say our last word; the peer may say what it has to say before its own (RFC 6120 §4.4)."""
        if self.state is State.OPEN:
            self._out.append(b"</stream:stream>")
            self.state = State.FINISHING
        else:
            self.close()

    def _handle(self, event: Header | Stanza | Element | Closed | Violation) -> Event | None:
        match event:
            case Header():
                return self._header(event)
            case Stanza():
                if self.state in (State.OPEN, State.FINISHING):
                    return event
                return self.fail("not-authorized", "no stanza before the handshake")
            case Closed():
                self.close()
                return event
            case Violation(condition, text):
                return self.fail(condition, text)
            case Element(name) if name == _ERROR:
                self.close()
                return _stream_error_of(event)
            case Element():
                return self._element(event)

    def _header(self, header: Header) -> Event | None:
        if header.name != _STREAM or header.namespaces.get("") != ACCEPT_NS:
            return self.fail(
                "invalid-namespace", f"expected <stream:stream xmlns='{ACCEPT_NS}'> of {STREAM_NS}"
            )
        return self._on_header(header.attributes)

    def _ensure_opened(self) -> None:
        raise NotImplementedError

    def _on_header(self, attributes: Mapping[str, str]) -> Event | None:
        raise NotImplementedError

    def _element(self, element: Element) -> Event | None:
        raise NotImplementedError


class Initiator(Stream):
    """Our side of the stream to the XMPP server.

    Args:
        jid: the component's JID.
        secret: the secret the server knows it by.
        framer: cuts what the server sends.
    """

    def __init__(self, jid: str, secret: str, framer: Framer) -> None:
        super().__init__(framer)
        self._jid = jid
        self._secret = secret

    def open(self) -> None:
        """Queue our stream header (XEP-0114 §3, example 1)."""
        self._ensure_opened()
        self.state = State.HEADER

    def _ensure_opened(self) -> None:
        if not self._opened:
            self._opened = True
            self._out.append(
                f"<?xml version='1.0'?><stream:stream xmlns:stream='{STREAM_NS}' "
                f"xmlns='{ACCEPT_NS}' to={quoted(self._jid)}>".encode()
            )

    def _on_header(self, attributes: Mapping[str, str]) -> Event | None:
        proof = digest(attributes.get("id", ""), self._secret)
        self._out.append(f"<handshake>{proof}</handshake>".encode())
        self.state = State.HANDSHAKE
        return None

    def _element(self, element: Element) -> Event | None:
        if self.state is State.HANDSHAKE and element.name == _HANDSHAKE:
            self.state = State.OPEN
            return Established()
        return element if self.state in (State.OPEN, State.FINISHING) else None


class Acceptor(Stream):
    """Our side of a stream from a backend: to it we are the XMPP server.

    Args:
        components: by component JID, the secrets that open it.
        framer: cuts what the backend sends.
        stream_id: the id of the stream; unpredictable unless a test says otherwise.
    """

    def __init__(
        self,
        components: Mapping[str, tuple[Credential, ...]],
        framer: Framer,
        stream_id: str | None = None,
    ) -> None:
        super().__init__(framer)
        self.state = State.HEADER
        self.jid: str | None = None
        self._components = components
        self._name: str | None = None
        self._id = stream_id if stream_id is not None else secrets.token_hex(16)

    def welcome(self) -> None:
        """Tell the backend that it is in (XEP-0114 §3, example 4)."""
        assert self.state is State.BINDING
        self._out.append(b"<handshake/>")
        self.state = State.OPEN

    def _ensure_opened(self) -> None:
        if not self._opened:
            self._opened = True
            of = f" from={quoted(self.jid)}" if self.jid else ""
            self._out.append(
                f"<?xml version='1.0'?><stream:stream xmlns:stream='{STREAM_NS}' "
                f"xmlns='{ACCEPT_NS}' id={quoted(self._id)}{of}>".encode()
            )

    def _on_header(self, attributes: Mapping[str, str]) -> Event | None:
        # Some old transports put the domain in `from` rather than `to`.
        wanted = attributes.get("to") or attributes.get("from") or ""
        jid, _, name = wanted.partition("/")
        jid = jid.lower()
        if jid not in self._components:
            return self.fail("host-unknown", f"no component {jid!r} is served here")
        self.jid, self._name = jid, name or None
        self._ensure_opened()
        self.state = State.HANDSHAKE
        return None

    def _element(self, element: Element) -> Event | None:
        if self.state in (State.OPEN, State.FINISHING):
            return element
        if self.state is not State.HANDSHAKE or element.name != _HANDSHAKE:
            return self.fail("not-authorized", "expected <handshake/>")
        assert self.jid is not None
        found = _TEXT.search(element.data)
        given = found[1].strip().lower() if found else b""
        fitting = [
            credential
            for credential in self._components[self.jid]
            if hmac.compare_digest(given, digest(self._id, credential.secret).encode())
        ]
        if not fitting:
            return self.fail("not-authorized", "the handshake does not fit any secret")
        self.state = State.BINDING
        return Introduced(self.jid, self._name, fitting[0].name)


def _stream_error_of(element: Element) -> Failed:
    """What a peer's stream error says: its condition and text (RFC 6120 §4.9.2)."""
    wrapped = b"<x xmlns:stream='%s'>%s</x>" % (STREAM_NS.encode(), element.data)
    condition, text = "undefined-condition", ""
    try:
        children = ElementTree.fromstring(wrapped)[0]
    except ElementTree.ParseError:  # a prefix only the peer's header declares
        children = ElementTree.Element("none")
    for child in children:
        if child.tag == f"{{{STREAM_ERROR_NS}}}text":
            text = child.text or ""
        elif child.tag.startswith(f"{{{STREAM_ERROR_NS}}}"):
            condition = child.tag.partition("}")[2]
    return Failed(condition, text, by_peer=True)
