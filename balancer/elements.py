"""What a stream is made of: what a `Framer` finds in its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from balancer.stanza import ACCEPT_NS, CLIENT_NS, KINDS, SEPARATOR, Stanza


class Header(NamedTuple):
    """The stream's opening tag: its expanded name and its attributes, unescaped."""

    name: str
    attributes: Mapping[str, str]
    namespaces: Mapping[str, str]


class Element(NamedTuple):
    """A complete top-level element that is no stanza, e.g. ``handshake`` or a stream error."""

    name: str
    attributes: Mapping[str, str]
    data: bytes


class Closed(NamedTuple):
    """The stream's closing tag."""


class Violation(NamedTuple):
    """The peer broke a rule; nothing more is read.  Conditions are RFC 6120 §4.9.3's."""

    condition: str
    text: str


Event = Header | Stanza | Element | Closed | Violation


class Written(NamedTuple):
    """A stanza by expat's name for it, and how it is written: its name has no prefix."""

    kind: str
    end: bytes
    length: int
    end_starts: bytes
    starts: frozenset[bytes]


#: The stanzas there are, by expat's name for them.
STANZAS: Final = {
    f"{ns}{SEPARATOR}{kind}": Written(
        kind,
        f"</{kind}>".encode(),
        len(kind) + 3,
        f"</{kind}".encode(),
        frozenset(f"<{kind}{after}".encode() for after in " \t\r\n/>"),
    )
    for ns in (ACCEPT_NS, CLIENT_NS)
    for kind in KINDS
}
