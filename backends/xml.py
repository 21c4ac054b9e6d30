"""XML on its way into the stream: what may not be there, and what slixmpp would lose.

A stream carries restricted XML (RFC 6120 §11.1): no comments, processing instructions or document
types.  One of them, or a character XML has no place for, costs a component its whole stream.
"""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from slixmpp import ComponentXMPP
from slixmpp.stanza.rootstanza import RootStanza
from slixmpp.xmlstream.tostring import tostring

#: Bytes of a stanza.  A balancer closes the stream of who sends more than 496 KiB, Prosody at 512.
MAX_STANZA: Final = 500_000
#: Characters that are fewer bytes than that, even if each of them is escaped.
_SMALL: Final = MAX_STANZA // 8

_XML_NS: Final = "{http://www.w3.org/XML/1998/namespace}"
#: What is no Char of XML 1.0 §2.2.
_NO_CHARACTER = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DECLARATION = re.compile(rb"\A\s*<\?xml\s[^>]*?(?:encoding\s*=\s*['\"]([^'\"]*)['\"])?\s*\?>")


class RawXml(str):
    """One element as text, to be sent as it stands."""

    __slots__ = ()


def clean(text: str) -> str:
    """Text that XML can carry: what it has no place for is U+FFFD."""
    return _NO_CHARACTER.sub("\ufffd", text)


def raw(data: bytes) -> RawXml:
    """XML that somebody else wrote, fit for a stream.

    It stays as it is (prefixes may be meant in its text too, as in ``xsi:type``), unless there
    is something in it that has no place in a stream; then it is written anew without that.

    Raises:
        ValueError: it is not well-formed.
    """
    try:
        element = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"not well-formed: {error}") from error
    declaration = _DECLARATION.match(data)
    body = data[declaration.end() :] if declaration else data
    encoding = (declaration[1] or b"utf-8").decode() if declaration else "utf-8"
    if encoding.lower() in ("utf-8", "us-ascii") and b"<!" not in body and b"<?" not in body:
        return RawXml(body.decode("utf-8-sig").strip())
    return RawXml(ElementTree.tostring(element, encoding="unicode"))


def with_payload(stanza: RootStanza, payload: RawXml) -> str:
    """An empty stanza as text, with this inside."""
    stream = stanza.stream
    assert stream is not None
    start = tostring(
        stanza.xml, xmlns=stream.default_ns, stream=stream, top_level=True, open_only=True
    )
    return f"{start}{payload}</{stanza.name}>"


def loses_attributes(element: Element) -> bool:
    """Whether slixmpp would leave something out: it writes no attribute of a foreign namespace."""
    return any(
        name.startswith("{") and not name.startswith(_XML_NS)
        for each in element.iter()
        for name in each.attrib
    )


def is_too_large(stanza: RootStanza | str) -> bool:
    """Whether a stanza is larger than `MAX_STANZA`."""
    if isinstance(stanza, RootStanza):
        # Nearly all are far from it, which is found out without writing them.
        text = sum(len(each.text or "") + len(each.tag) for each in stanza.xml.iter())
        if text + sum(len("".join(each.attrib.values())) for each in stanza.xml.iter()) < _SMALL:
            return False
    return len(str(stanza).encode()) > MAX_STANZA


def written(stanza: RootStanza, stream: ComponentXMPP) -> str:
    """A stanza as text with all its attributes."""
    start = tostring(
        stanza.xml, xmlns=stream.default_ns, stream=stream, top_level=True, open_only=True
    )
    children = []
    for child in stanza.xml:
        # ElementTree, unlike slixmpp, knows no outer namespace: it declares what it uses.
        children.append(ElementTree.tostring(child, encoding="unicode"))
    return f"{start}{''.join(children)}</{stanza.name}>"
