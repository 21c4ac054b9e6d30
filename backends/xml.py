"""XML on its way into the stream: what may not be there, and what slixmpp would lose.

A stream carries restricted XML (RFC 6120 §11.1): no comments, processing instructions or document
types.  One of them, or a character XML has no place for, costs a component its whole stream.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from slixmpp import ComponentXMPP
from slixmpp.stanza.rootstanza import RootStanza
from slixmpp.xmlstream.tostring import tostring

#: Bytes of a stanza.  A balancer closes the stream of who sends more than 496 KiB, Prosody at 512.
MAX_STANZA: Final = 500_000
#: Levels of elements: what is deeper cannot be copied, and says nothing that is meant.
MAX_DEPTH: Final = 200
#: Characters that are fewer bytes than that, even if each of them is escaped.
_SMALL: Final = MAX_STANZA // 8

_XML_NS: Final = "{http://www.w3.org/XML/1998/namespace}"
#: What is no Char of XML 1.0 §2.2.
_NO_CHARACTER = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DECLARATION = re.compile(
    rb"\A\s*<\?xml\s[^>]*?(?:encoding\s*=\s*['\"]([^'\"]*)['\"][^>]*?)?\s*\?>"
)


class RawXml(str):
    """One element as text, to be sent as it stands."""

    __slots__ = ()


def clean(text: str) -> str:
    """Text that XML can carry: what it has no place for is U+FFFD."""
    return _NO_CHARACTER.sub("\ufffd", text)


def cleanse(element: Element) -> None:
    """Put U+FFFD for what XML has no place for, wherever it stands."""
    for each in element.iter():
        if each.text is not None and _NO_CHARACTER.search(each.text):
            each.text = clean(each.text)
        if each.tail is not None and _NO_CHARACTER.search(each.tail):
            each.tail = clean(each.tail)
        for name, value in each.attrib.items():
            if _NO_CHARACTER.search(value):
                each.set(name, clean(value))


def is_too_deep(element: Element) -> bool:
    """Whether it has more levels than `MAX_DEPTH`."""
    level = [element]
    for _ in range(MAX_DEPTH):
        level = [child for each in level for child in each]
        if not level:
            return False
    return True


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
    plain = encoding.lower() in ("utf-8", "us-ascii") and b"<!" not in body and b"<?" not in body
    with suppress(UnicodeDecodeError):  # then it was another encoding, which expat has found out
        text = body.decode("utf-8-sig").strip()
        if plain and not _NO_CHARACTER.search(text):
            return RawXml(text)
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
    # Nearly all are far from it, which is found out without writing them.
    if isinstance(stanza, RootStanza) and sum(map(_characters, stanza.xml.iter())) < _SMALL:
        return False
    return len(str(stanza).encode()) > MAX_STANZA


def _characters(element: Element) -> int:
    words = (element.tag, element.text or "", element.tail or "", *element.attrib.values())
    return sum(map(len, words)) + sum(map(len, element.attrib))


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
