"""A stanza as the balancer sees it: its exact bytes and what routing needs to know of it.

Nothing else of a stanza becomes an object.  What must change on its way (an id, a namespace
declaration) is changed in the bytes of its start tag; the rest is forwarded as it came.

Error replies are made here too, with the one rule about them that matters most: an ``error`` or a
``result`` is never answered (RFC 6120 §8.3.1, §8.2.3), so no two entities can bounce for ever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from stringprep import in_table_b1
from types import MappingProxyType
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

ACCEPT_NS: Final = "jabber:component:accept"
CLIENT_NS: Final = "jabber:client"
STREAM_NS: Final = "http://etherx.jabber.org/streams"
STANZA_ERROR_NS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
STREAM_ERROR_NS: Final = "urn:ietf:params:xml:ns:xmpp-streams"
PING_NS: Final = "urn:xmpp:ping"
#: What expat is to write between a namespace and a name: nothing that can stand in either, or a
#: stranger's namespace with a space in it would be a "syntax error".
SEPARATOR: Final = "\x01"

#: Characters an iq's id may have: an answer must repeat it, and ours must fit into a stanza.
MAX_ID: Final = 4096

#: What the balancer and its backends say to each other, and nobody else hears.
CONTROL_NS: Final = "urn:xmpp-balancer:0"

KINDS: Final = frozenset({"message", "presence", "iq"})
IQ_TYPES: Final = frozenset({"get", "set", "result", "error"})

#: What is said of a stanza beyond its own attributes, by name (see ``framing``):
#: ``session`` (XEP-0050 sessionid, XEP-0047 sid), ``thread``, ``delegated`` (the sender of an iq
#: that the server forwards, XEP-0355), ``grant`` (the namespace of a XEP-0355/0356 grant) and
#: ``control`` (what a backend asks of the balancer itself).
NO_CLUES: Final[Mapping[str, str]] = MappingProxyType({})


class Stanza(NamedTuple):
    """One complete ``message``, ``presence`` or ``iq``.

    ``data`` is the stanza's exact slice of the stream, in bytes; ``clues`` what routing may want
    to know of its children.  The attributes are unescaped, and ``None`` when they are not there.
    """

    kind: str
    to: str | None
    sender: str | None
    id: str | None
    type: str | None
    data: bytes
    clues: Mapping[str, str] = NO_CLUES

    def __repr__(self) -> str:
        what = f"{self.kind} {self.type}" if self.type else self.kind
        return f"<Stanza {what} {self.sender} -> {self.to} id={self.id!r} {len(self.data)} bytes>"

    @property
    def is_request(self) -> bool:
        """True for an iq that must be answered (RFC 6120 §8.2.3)."""
        return self.kind == "iq" and self.type in ("get", "set")

    @property
    def is_reply(self) -> bool:
        """True for an iq that answers another."""
        return self.kind == "iq" and self.type in ("result", "error")


def bare(jid: str) -> str:
    """The bare JID: without its resource (RFC 7622 §3.1)."""
    return jid.partition("/")[0]


def domain(jid: str) -> str:
    """The domain part of a JID (RFC 7622 §3.2): what stands after the first ``@``, before ``/``."""
    address = jid.partition("/")[0]
    _, at, host = address.partition("@")
    return host if at else address


_ADDRESS = re.compile(r"(?:[^@/]+@)?[^@/]+(?:/.+)?", re.DOTALL)


def is_address(jid: str) -> bool:
    """Whether a JID has the form of RFC 7622 §3.1, and keeps it when a server prepares it.

    A server removes the characters that stringprep maps to nothing (RFC 3454 table B.1).  Prosody
    0.12 does so after its check: a part of which nothing is left comes back as the component's
    own bad address, and costs it the stream of all backends.
    """
    if not jid.isascii():
        jid = "".join(character for character in jid if not in_table_b1(character))
    return _ADDRESS.fullmatch(jid) is not None


def quoted(value: str) -> str:
    """A value with the quotes round it; what a parser would fold into a space is kept.

    With those quotes of which there are fewer within, so that it is never longer than it came: a
    server closes the stream of who sends too large a stanza.
    """
    value = value.replace("&", "&amp;").replace("<", "&lt;")
    mark, entity = ("'", "&apos;") if value.count("'") <= value.count('"') else ('"', "&quot;")
    for character, written in ((mark, entity), *_FOLDED):
        value = value.replace(character, written)
    return f"{mark}{value}{mark}"


_FOLDED: Final = (("\n", "&#10;"), ("\r", "&#13;"), ("\t", "&#9;"))


# One attribute of a start tag; the tag has been through a parser, so this can be this simple.
# Only a name without ">" keeps it from running on into text that looks like an attribute.
_ATTRIBUTE = rb"""\s+[^\s=/>]+\s*=\s*(?:"[^"]*"|'[^']*')"""
_NAME = re.compile(rb"<[^\s/>]+")
_START_TAG = re.compile(rb"<[^\s/>]+(?:" + _ATTRIBUTE + rb")*\s*/?>")


def _attribute(name: bytes) -> re.Pattern[bytes]:
    other = rb"""\s+(?!""" + name + rb"""[\s=])[^\s=/>]+\s*=\s*(?:"[^"]*"|'[^']*')"""
    wanted = rb"""(\s+""" + name + rb"""\s*=\s*("[^"]*"|'[^']*'))"""
    return re.compile(rb"<[^\s/>]+(?:" + other + rb")*" + wanted)


_ID = _attribute(b"id")
_XMLNS = _attribute(b"xmlns")


def start_tag_end(data: bytes, start: int = 0) -> int:
    """Where the start tag that begins at ``start`` ends: the index after its ``>``."""
    match = _START_TAG.match(data, start)
    assert match is not None, "start_tag_end() is for tags a parser has accepted"
    return match.end()


def with_id(data: bytes, value: str) -> bytes:
    """The same stanza under another id; every other byte stays as it was."""
    match = _ID.match(data)
    assert match is not None, "only a stanza that has an id can get another"
    start, end = match.span(2)
    return b"".join((data[:start], quoted(value).encode(), data[end:]))


def without_xmlns(data: bytes) -> bytes:
    """The same stanza without a default namespace of its own, so that it takes the stream's."""
    match = _XMLNS.match(data)
    if match is None:
        return data
    start, end = match.span(1)
    return data[:start] + data[end:]


def with_prefixes(data: bytes, prefixes: Mapping[str, str]) -> bytes:
    """The same stanza, declaring the prefixes that only its stream's header declared.

    Args:
        data: the stanza.
        prefixes: namespace name by prefix.  What the stanza declares itself stays its own.
    """
    tag = data[: start_tag_end(data)]
    declarations = [
        f" xmlns:{prefix}={quoted(name)}".encode()
        for prefix, name in prefixes.items()
        if _attribute(b"xmlns:" + re.escape(prefix.encode())).match(tag) is None
    ]
    match = _NAME.match(data)
    assert match is not None
    return b"".join((data[: match.end()], *declarations, data[match.end() :]))


def with_last_child(data: bytes, child: bytes) -> bytes:
    """The same stanza with one more child, after all others."""
    if start_tag_end(data) < len(data):
        end = data.rindex(b"</")  # nothing but its own end tag can stand last
        return b"".join((data[:end], child, data[end:]))
    match = _NAME.match(data)
    assert match is not None
    return b"".join((data[:-2], b">", child, b"</", match[0][1:], b">"))


def may_be_answered(stanza: Stanza) -> bool:
    """False for errors and results: answering them could go on for ever (RFC 6120 §8.3.1)."""
    return stanza.type != "error" and not (stanza.kind == "iq" and stanza.type == "result")


def error_reply(stanza: Stanza, kind: str, condition: str, text: str) -> bytes | None:
    """The error that answers a stanza, or ``None`` when it must not be answered.

    Args:
        stanza: what is answered; its addresses are swapped.
        kind: the error type of RFC 6120 §8.3.2 (``wait``, ``cancel``, ``modify``, …).
        condition: the defined condition of RFC 6120 §8.3.3.
        text: the reason, for a person.
    """
    if not may_be_answered(stanza):
        return None
    attributes = {"from": stanza.to, "to": stanza.sender, "id": stanza.id}
    given = "".join(f" {k}={quoted(v)}" for k, v in attributes.items() if v is not None)
    return (
        f"<{stanza.kind} type='error'{given}><error type='{kind}'>"
        f"<{condition} xmlns='{STANZA_ERROR_NS}'/>"
        f"<text xmlns='{STANZA_ERROR_NS}' xml:lang='en'>{escape(text)}</text>"
        f"</error></{stanza.kind}>"
    ).encode()
