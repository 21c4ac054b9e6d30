"""Bytes in, exact top-level slices out.

An XMPP stream is one long XML document.  The framer lets expat say where each child of its root
begins and ends, and hands out those bytes untouched with the few attributes that routing needs.
It does no I/O, and a peer's bad input is not raised: it ends the framer with a `Violation`.

Three things about expat shape this file:

* *Where a stanza ends.*  In the end handler ``CurrentByteIndex`` points at the ``<`` of an end
  tag, but past the ``/>`` of an empty element; the root alone could be closed right there, and
  it has another name.  A stanza begins where the last one ended.
* *A parser forgets nothing.*  It keeps every name it has ever seen (160 MiB after 500,000 made-up
  names), so at intervals a new one gets the same header and the unfinished tail.  It costs
  microseconds.
* *Reparse deferral* (expat 2.6).  A token that was incomplete once may not be looked at again
  until much more has arrived.  A stanza must be delivered when its last byte is there, so this
  is switched off; where Python is too old for the switch, a new parser does it.

Restricted XML (RFC 6120 §11.1): no comment, processing instruction, document type.
"""

from __future__ import annotations

from typing import Final
from xml.parsers import expat

from balancer.clues import CHILDREN
from balancer.elements import STANZAS, Closed, Element, Event, Header, Violation
from balancer.errors import StreamViolation
from balancer.looking import TOO_DEEP, Looking
from balancer.stanza import (
    CLIENT_NS,
    NO_CLUES,
    SEPARATOR,
    STREAM_NS,
    Stanza,
    start_tag_end,
    with_prefixes,
    without_xmlns,
)

#: Bytes after which a parser is replaced.  Names a stranger makes up cost at most this much.
RENEW_AFTER: Final = 1 << 18

#: Bytes that a stream header may have, XML declaration included.
MAX_HEADER: Final = 1 << 14


_new = tuple.__new__
_PREFIXED_TEXT: Final = "a stanza's own namespace may not have a prefix (RFC 6120 §4.8.5)"
_TEXT_BETWEEN: Final = "text between stanzas"
_NEEDS_RENEWAL: Final = expat.version_info >= (2, 6, 0) and not hasattr(
    expat.ParserCreate(), "SetReparseDeferralEnabled"
)


def _spoken(name: str) -> str:
    return name.replace(SEPARATOR, " ")


class Framer:
    """Cuts one direction of one stream into stanzas.

    Args:
        max_size: bytes one stanza may have; more is a ``policy-violation``.
        max_depth: levels of elements one stanza may have, or ``None`` for any number.
    """

    def __init__(self, max_size: int, max_depth: int | None = None) -> None:
        self._max_size = max_size
        # one more: the stream's root counts too
        self._max_depth = max_depth + 1 if max_depth is not None else 1 << 62
        self.only_stanzas = True  # of what was last returned
        self._events: list[Event] = []
        self._header: bytes | None = None
        self._prefixes: dict[str, str] = {}
        self._declared: dict[str, str] = {}
        self._ended = False
        self._parts: list[bytes] = []  # what has not been handed out yet
        self._length = 0  # bytes in _parts
        self._base: int  # the parser's index of the first of them
        self._done: int  # the index before which everything has been handed out
        self._reset()

    def __repr__(self) -> str:
        state = "ended" if self._ended else "open" if self._header is not None else "header"
        return f"<Framer {state} depth={self._depth} pending={self._length}>"

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes of the stream, however they were split.

        Returns:
            What is complete with them, in order.  After a `Violation` or `Closed` nothing follows.
        """
        if self._ended:
            return []
        self._events = []
        self.only_stanzas = True
        self._take(data)
        try:
            self._parser.Parse(data, False)
            if not self._ended:
                self._check_size()
                if self._header is not None and (
                    _NEEDS_RENEWAL or self._since_renewal > RENEW_AFTER
                ):
                    self._renew()
        except expat.ExpatError as error:
            self._end(Violation("not-well-formed", expat.ErrorString(error.code)))
        except StreamViolation as error:
            self._end(Violation(error.condition, error.text))
        return self._events

    def discard(self) -> None:
        """Nothing more will be fed: framer and parser let go of each other.

        They are a cycle, which the garbage collector would find much later, and a parser is big.
        """
        self._ended = True
        self._parts = []
        parser = self._parser
        parser.StartElementHandler = None
        parser.EndElementHandler = None
        parser.StartNamespaceDeclHandler = None
        parser.CharacterDataHandler = None
        parser.CommentHandler = None
        parser.ProcessingInstructionHandler = None
        parser.StartDoctypeDeclHandler = None
        del self._look

    # The buffer: bytes from ``_base``, an absolute index of the parser, to ``_base + _length``.

    def _take(self, data: bytes) -> None:
        self._parts.append(data)
        self._length += len(data)
        self._since_renewal += len(data)

    def _buffer(self) -> bytes:
        if len(self._parts) != 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0]

    def _drop_until(self, index: int) -> None:
        """Forget everything before an absolute index."""
        if self._parts:
            rest = self._buffer()[index - self._base :]
            self._length = len(rest)
            self._parts = [rest] if rest else []
        self._base = index

    def _check_size(self) -> None:
        if self._header is None:
            if self._length > MAX_HEADER:
                raise self._header_too_long()
            return
        if self._done > self._base:
            self._drop_until(self._done)
        if self._length and self._buffer()[0] != 0x3C:
            # Between stanzas only white space may stand (keep-alives); it is not kept.
            tail = self._buffer().lstrip(b" \t\r\n")
            if tail and not tail.startswith(b"<"):
                raise StreamViolation("bad-format", _TEXT_BETWEEN)
            self._drop_until(self._base + self._length - len(tail))
            self._done = self._base
        if self._length > self._max_size:
            raise self._too_large()

    def _header_too_long(self) -> StreamViolation:
        return StreamViolation("policy-violation", "the stream header is too long")

    def _check_gap(self, index: int) -> None:
        """What stands between the last stanza and an absolute index must be white space."""
        if index > self._done and self._buffer()[
            self._done - self._base : index - self._base
        ].strip(b" \t\r\n"):
            raise StreamViolation("bad-format", _TEXT_BETWEEN)

    def _too_large(self) -> StreamViolation:
        return StreamViolation(
            "policy-violation", f"a stanza may have no more than {self._max_size} bytes"
        )

    # The parser.

    def _reset(self) -> None:
        parser = expat.ParserCreate("UTF-8", namespace_separator=SEPARATOR)
        if hasattr(parser, "SetReparseDeferralEnabled"):  # pragma: no cover - by version
            parser.SetReparseDeferralEnabled(False)
        parser.StartElementHandler = self._start_root
        parser.EndElementHandler = self._end_element
        parser.StartNamespaceDeclHandler = self._namespace
        parser.CommentHandler = self._restricted_comment
        parser.ProcessingInstructionHandler = self._restricted_instruction
        parser.StartDoctypeDeclHandler = self._restricted_doctype
        self._parser = parser
        self._look = Looking(parser, self._start_element, self._end_element, self._max_depth - 2)
        self._depth = 0
        self._base = 0
        self._done = 0
        self._since_renewal = 0

    def _renew(self) -> None:
        """Go on with a new parser, which knows the header and the unfinished tail only."""
        header, tail = self._header, self._buffer()
        assert header is not None
        self._reset()
        self._parser.StartElementHandler = None
        self._parser.StartNamespaceDeclHandler = None
        self._parser.Parse(header, False)
        self._depth = 1
        self._base = self._done = len(header)
        self._parser.StartElementHandler = self._start_element
        if tail:
            self._parser.Parse(tail, False)

    def _end(self, last: Event) -> None:
        if self._ended:  # what follows </stream:stream> is nobody's
            return
        self._events.append(last)
        self.only_stanzas = False
        self._ended = True
        self._parts = []
        self._length = 0

    # Handlers.  Depth 1 is the stream's root, 2 a top-level element, 3 its children.  Two of them
    # are called for every element there is: most of what a stanza costs is spent here, so they
    # call nothing they need not.

    def _namespace(self, prefix: str | None, name: str | None) -> None:
        self._declared[prefix or ""] = name or ""

    def _start_root(self, name: str, attributes: dict[str, str]) -> None:
        parser = self._parser
        start = parser.CurrentByteIndex
        buffer = self._buffer()
        end = start_tag_end(buffer, start)
        if buffer[end - 2 : end] == b"/>":
            raise StreamViolation("bad-format", "the stream ends in its header")
        if end > MAX_HEADER:
            raise self._header_too_long()
        self._header = buffer[:end]
        self._prefixes = {
            prefix: namespace
            for prefix, namespace in self._declared.items()
            if prefix and (prefix, namespace) != ("stream", STREAM_NS)
        }
        self.only_stanzas = False
        self._events.append(Header(_spoken(name), attributes, self._declared))
        self._done = end
        self._depth = 1
        parser.StartNamespaceDeclHandler = None
        parser.StartElementHandler = self._start_element

    def _start_element(self, name: str, attributes: dict[str, str]) -> None:
        depth = self._depth + 1
        self._depth = depth
        if depth == 2:
            self._attributes = attributes
        elif depth > self._max_depth:
            raise StreamViolation("policy-violation", TOO_DEEP)
        elif depth == 3 and name in CHILDREN:
            self._look.into(name, attributes)

    def _end_element(self, name: str) -> None:
        depth = self._depth - 1
        self._depth = depth
        if depth > 1:
            return
        if depth == 0:
            self._check_gap(self._parser.CurrentByteIndex)
            self._end(Closed())
            return
        parts, base = self._parts, self._base
        buffer = parts[0] if len(parts) == 1 else self._buffer()
        start = self._done - base
        if buffer[start] != 0x3C:  # "<": nothing stands between two stanzas as a rule
            start = self._skip_gap(buffer, start)
        end = self._parser.CurrentByteIndex - base
        known = STANZAS.get(name)
        if known is None:
            self._end_other(name, buffer, start, end)
            return
        kind, tag, length, start_of_tag, starts = known
        if buffer.startswith(tag, end):
            end += length
        else:  # an empty element, which ends right there, or something unusual
            if buffer.startswith(start_of_tag, end):
                end = buffer.index(b">", end) + 1
            if buffer[start : start + length - 1] not in starts:
                raise StreamViolation("bad-namespace-prefix", _PREFIXED_TEXT)
        if end - start > self._max_size:
            raise self._too_large()
        self._done = base + end
        data = buffer[start:end]
        if self._prefixes or name[8] == "l":  # "jabber:client"
            data = self._adapted(name, data)
        get = self._attributes.get
        clues = self._look.clues
        # What NamedTuple's own constructor does, in a third of its time.
        self._events.append(
            _new(Stanza, (kind, get("to"), get("from"), get("id"), get("type"), data, clues))
        )
        if clues:
            self._look.clues = NO_CLUES

    def _skip_gap(self, buffer: bytes, start: int) -> int:
        """Where the element begins that stands after white space."""
        begin = buffer.index(b"<", start)
        self._check_gap(self._base + begin)
        return begin

    def _end_other(self, name: str, buffer: bytes, start: int, end: int) -> None:
        """The end of a top-level element that is no stanza."""
        if start_tag_end(buffer, start) != end or buffer[end - 2 : end] != b"/>":
            end = buffer.index(b">", end) + 1
        if end - start > self._max_size:
            raise self._too_large()
        self._done = self._base + end
        self._events.append(Element(_spoken(name), self._attributes, buffer[start:end]))
        self._look.clues = NO_CLUES
        self.only_stanzas = False

    def _adapted(self, name: str, data: bytes) -> bytes:
        """The stanza for the other stream: its namespace is the same, its prefixes are not."""
        if name.startswith(CLIENT_NS):
            data = without_xmlns(data)
        return with_prefixes(data, self._prefixes) if self._prefixes else data

    # Restricted XML.

    def _restricted_comment(self, _text: str) -> None:
        raise StreamViolation("restricted-xml", "comments are not allowed on an XMPP stream")

    def _restricted_instruction(self, _target: str, _text: str) -> None:
        raise StreamViolation(
            "restricted-xml", "processing instructions are not allowed on an XMPP stream"
        )

    def _restricted_doctype(self, *_: object) -> None:
        raise StreamViolation(
            "restricted-xml", "document type declarations are not allowed on an XMPP stream"
        )
