"""Exact slices of a stream, however it was split, and the rules a peer may break."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer import framing
from balancer.elements import Closed, Element, Event, Header, Violation
from balancer.framing import MAX_HEADER, Framer
from balancer.stanza import ACCEPT_NS, NO_CLUES, STREAM_NS, Stanza

ATTRIBUTES = f"xmlns:stream='{STREAM_NS}' xmlns='{ACCEPT_NS}'"
HEADER = f"<?xml version='1.0'?><stream:stream {ATTRIBUTES} id='1'>".encode()
END = b"</stream:stream>"
LIMIT = 100_000


def run(*chunks: bytes, limit: int = LIMIT, depth: int | None = None) -> list[Event]:
    framer = Framer(limit, depth)
    return [event for chunk in chunks for event in framer.feed(chunk)]


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def every_split(document: bytes, limit: int = LIMIT, depth: int | None = None) -> list[Event]:
    """The events of a document, which must not depend on how it arrives."""
    whole = run(document, limit=limit, depth=depth)
    assert run(*bytewise(document), limit=limit, depth=depth) == whole
    for i in range(1, len(document)):
        assert run(document[:i], document[i:], limit=limit, depth=depth) == whole, i
    return whole


def body(data: bytes, limit: int = LIMIT, depth: int | None = None) -> list[Event]:
    """The events that follow the header."""
    header, *rest = every_split(HEADER + data, limit, depth)
    assert isinstance(header, Header)
    return rest


def slices(events: list[Event]) -> list[bytes]:
    return [event.data for event in events if isinstance(event, Stanza | Element)]


def only(data: bytes) -> Stanza:
    (event,) = body(data)
    assert isinstance(event, Stanza)
    return event


def canonical(element: ElementTree.Element) -> str:
    element.tail = None
    return ElementTree.canonicalize(ElementTree.tostring(element))


def parsed(slices: bytes, header: bytes = HEADER) -> list[str]:
    return [canonical(element) for element in ElementTree.fromstring(header + slices + END)]


# The header and the whole.


def test_a_stream_from_end_to_end() -> None:
    assert every_split(HEADER + b"\n<message to='a&amp;b' from='c' id='\"' type='t'/> " + END) == [
        Header(f"{STREAM_NS} stream", {"id": "1"}, {"stream": STREAM_NS, "": ACCEPT_NS}),
        Stanza(
            "message", "a&b", "c", '"', "t", b"<message to='a&amp;b' from='c' id='\"' type='t'/>"
        ),
        Closed(),
    ]


def test_repr_tells_the_state() -> None:
    framer = Framer(LIMIT)
    assert repr(framer) == "<Framer header depth=0 pending=0>"
    framer.feed(HEADER + b"<message>")
    assert repr(framer) == "<Framer open depth=2 pending=9>"
    framer.feed(b"</message>" + END)
    assert repr(framer) == "<Framer ended depth=0 pending=0>"


# Slices.


@pytest.mark.parametrize(
    "stanza",
    [
        "<message/>",
        "<message />",
        "<message></message>",
        "<message ></message >",
        "<message\n\tto = 'a'\n></message\n>",
        "<message id='a>b/>'/>",
        "<message id='/' >t</message>",
        "<message id='\"' to=\"'>\"></message>",
        "<message>a > b</message>",
        "<message >a='b'/></message>",
        "<message to='a' >b=\"c\" ></message>",
        "<message>&#60;&lt;&#x41;é</message>",
        "<message><![CDATA[</message>]]></message>",
        "<message><body/></message>",
        "<message><body>></body>></message>",
        "<message><message/><a><message></message></a></message>",
        "<message xmlns='jabber:component:accept'/>",
    ],
)
def test_slices_are_exact(stanza: str) -> None:
    data = stanza.encode()
    assert slices(body(data)) == [data]
    assert slices(body(b" " + data * 2 + b"\r\n\t" + data)) == [data] * 3


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<iq xmlns='jabber:client' id='1'/>", "<iq id='1'/>"),
        ('<iq id="1" xmlns="jabber:client"></iq>', '<iq id="1"></iq>'),
        (
            "<iq xmlns='jabber:client'><f xmlns='urn:f'><iq xmlns='jabber:client'/></f></iq>",
            "<iq><f xmlns='urn:f'><iq xmlns='jabber:client'/></f></iq>",
        ),
        ("<iq><iq xmlns='jabber:client'/></iq>", "<iq><iq xmlns='jabber:client'/></iq>"),
    ],
)
def test_a_top_level_client_namespace_goes_and_a_nested_one_stays(before: str, after: str) -> None:
    assert slices(body(before.encode())) == [after.encode()]


@pytest.mark.parametrize(
    ("stanza", "slice_"),
    [
        ("<iq><p:x/></iq>", "<iq xmlns:p='urn:p'><p:x/></iq>"),
        ("<iq xmlns='jabber:client'/>", "<iq xmlns:p='urn:p'/>"),
        ("<iq xmlns:p='o'><p:x/></iq>", "<iq xmlns:p='o'><p:x/></iq>"),
        # a value that looks like a declaration
        ("<iq id=' xmlns:p='><p:x/></iq>", "<iq xmlns:p='urn:p' id=' xmlns:p='><p:x/></iq>"),
    ],
)
def test_prefixes_of_the_header_are_declared_again(stanza: str, slice_: str) -> None:
    header = HEADER.replace(b" id=", b" xmlns:p='urn:p' id=")
    events = every_split(header + stanza.encode())
    assert slices(events) == [slice_.encode()]
    if "jabber:client" not in stanza:
        assert parsed(slice_.encode()) == parsed(stanza.encode(), header)


def test_what_is_no_stanza_is_an_element() -> None:
    data = b"<handshake a='&lt;'>x</handshake><message xmlns='urn:x'/><stream:error/>"
    assert body(data) == [
        Element(f"{ACCEPT_NS} handshake", {"a": "<"}, b"<handshake a='&lt;'>x</handshake>"),
        Element("urn:x message", {}, b"<message xmlns='urn:x'/>"),
        Element(f"{STREAM_NS} error", {}, b"<stream:error/>"),
    ]


@pytest.mark.parametrize("junk", [b"<a/>", b"junk", b"<!-- -->", END, b"&", b"\xff"])
def test_what_follows_the_end_is_nobodys(junk: bytes) -> None:
    assert body(END + junk) == [Closed()]


# Clues.

_DELEGATED = (
    "<iq><delegation xmlns='urn:xmpp:delegation:{}'><forwarded xmlns='urn:xmpp:forward:0'>"
    "<iq xmlns='{}'{}><a><b/></a></iq></forwarded></delegation></iq>"
)


@pytest.mark.parametrize(
    ("stanza", "clues"),
    [
        ("<iq><x sessionid='a'/></iq>", {}),
        ("<iq><command xmlns='http://jabber.org/protocol/commands'/></iq>", {}),
        *(
            (
                f"<iq><{name} xmlns='http://jabber.org/protocol/{ns}' {key}='a'/></iq>",
                {"session": "a"},
            )
            for ns, name, key in (
                ("commands", "command", "sessionid"),
                ("ibb", "open", "sid"),
                ("ibb", "data", "sid"),
                ("ibb", "close", "sid"),
            )
        ),
        ("<message><thread>a&amp;<![CDATA[b]]>\nc</thread>d</message>", {"thread": "a&b\nc"}),
        ("<message xmlns='jabber:client'><thread>a</thread></message>", {"thread": "a"}),
        ("<message><thread/></message>", {}),
        ("<message><x><thread>a</thread></x><body>b</body></message>", {}),
        (
            "<message><privilege xmlns='urn:xmpp:privilege:2'/></message>",
            {"grant": "urn:xmpp:privilege:2"},
        ),
        (
            _DELEGATED.format(1, "jabber:client", " from='a@b'"),
            {"grant": "urn:xmpp:delegation:1", "delegated": "a@b"},
        ),
        (
            _DELEGATED.format(2, "jabber:client", ""),
            {"grant": "urn:xmpp:delegation:2"},
        ),
        (
            _DELEGATED.format(2, "urn:other", " from='a@b'"),
            {"grant": "urn:xmpp:delegation:2"},
        ),
    ],
)
def test_clues(stanza: str, clues: dict[str, str]) -> None:
    first, second = body(stanza.encode() + b"<message/>")
    assert isinstance(first, Stanza)
    assert first.clues == clues
    assert isinstance(second, Stanza)
    assert second.clues is NO_CLUES


def test_a_clue_is_looked_for_after_a_delegation_too() -> None:
    text = "<iq><delegation xmlns='urn:xmpp:delegation:1'><a/></delegation><thread>t</thread></iq>"
    assert only(text.encode()).clues == {"grant": "urn:xmpp:delegation:1", "thread": "t"}


# Rules.


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (HEADER + b"<message><!-- a --></message>", "restricted-xml"),
        (HEADER + b"<!-- a -->", "restricted-xml"),
        (HEADER + b"<message><?php a?></message>", "restricted-xml"),
        (b"<?xml version='1.0'?><?a b?>" + HEADER[21:], "restricted-xml"),
        (b"<!DOCTYPE x><x>", "restricted-xml"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'><!ENTITY c '&a;&a;'>]><x>&c;</x>", "restricted-xml"),
        (HEADER + b"<message>&lol;</message>", "not-well-formed"),
        (HEADER + b"<message></iq>", "not-well-formed"),
        (HEADER + b"<message a=b/>", "not-well-formed"),
        (HEADER + b"<message a='' a=''/>", "not-well-formed"),
        (HEADER + b"<p:message/>", "not-well-formed"),
        (HEADER + b"<message>\xff</message>", "not-well-formed"),
        (HEADER + b"<message>\x00", "not-well-formed"),
        (HEADER + HEADER, "not-well-formed"),
        (b" " + HEADER, "not-well-formed"),
        (f"<stream:stream {ATTRIBUTES}/>".encode(), "bad-format"),
        (HEADER + b" text<message/>", "bad-format"),
        (HEADER + b"<message/>text ", "bad-format"),
        (HEADER + b"<message/>&#65;<message/>", "bad-format"),
        (HEADER + b"<message/>text" + END, "bad-format"),
        (HEADER + b"<p:message xmlns:p='jabber:client'/>", "bad-namespace-prefix"),
        (HEADER + b"<iq:iq xmlns:iq='jabber:component:accept'/>", "bad-namespace-prefix"),
        (HEADER + b"<iqx:iq xmlns:iqx='jabber:client'/>", "bad-namespace-prefix"),
    ],
)
def test_broken_rules_end_the_stream(data: bytes, condition: str) -> None:
    *_, last = every_split(data)
    assert isinstance(last, Violation)
    assert last.condition == condition
    framer = Framer(LIMIT)
    framer.feed(data)
    assert framer.feed(b"<message/>") == []


def test_what_came_before_a_broken_rule_is_delivered() -> None:
    stanza, violation = body(b"<message/><iq><!---->")
    assert isinstance(stanza, Stanza)
    assert isinstance(violation, Violation)


@pytest.mark.parametrize("padding", [b"", b" " * 30])
@pytest.mark.parametrize("stanza", [b"<message>12345678</message>", b"<message id='12345678901'/>"])
def test_a_stanza_may_be_as_long_as_the_limit(padding: bytes, stanza: bytes) -> None:
    data = padding + stanza + padding
    assert slices(body(data, limit=len(stanza))) == [stanza]
    too_large = Violation(
        "policy-violation", f"a stanza may have no more than {len(stanza) - 1} bytes"
    )
    assert body(data, limit=len(stanza) - 1) == [too_large]


def test_an_element_that_is_no_stanza_has_the_same_limit() -> None:
    data = b"<other xmlns='urn:x'>" + b"x" * 50 + b"</other>"
    (violation,) = body(data, limit=50)
    assert isinstance(violation, Violation)
    assert violation.condition == "policy-violation"


@pytest.mark.parametrize("unfinished", [b"<message>", b"<message id='", b"<message><![CDATA["])
def test_a_stanza_that_does_not_end_is_refused_early(unfinished: bytes) -> None:
    framer = Framer(100)
    assert len(framer.feed(HEADER + unfinished)) == 1
    assert framer.feed(b"x" * (100 - len(unfinished))) == []
    (violation,) = framer.feed(b"x")
    assert isinstance(violation, Violation)
    assert violation.condition == "policy-violation"


@pytest.mark.parametrize("name", ["x", "delegation"])
@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_depth(name: str, levels: int) -> None:
    ns = f" xmlns='urn:xmpp:{name}:1'"
    inner = f"<{name}{ns}>" * (levels - 1) + f"</{name}>" * (levels - 1)
    stanza = f"<message>{inner}</message>".encode()
    assert slices(run(HEADER, stanza, depth=levels)) == [stanza]
    if levels > 1:
        assert body(stanza, depth=levels - 1) == [
            Violation("policy-violation", "a stanza is nested too deeply")
        ]


@pytest.mark.parametrize("rest", [b"'>", b"'", b""])
def test_a_header_has_a_limit(rest: bytes) -> None:
    data = HEADER[:-2] + b"x" * MAX_HEADER + rest
    too_long = [Violation("policy-violation", "the stream header is too long")]
    assert run(data) == run(*bytewise(data)) == too_long
    fits = HEADER[:-2] + b"x" * (MAX_HEADER - len(HEADER)) + b"'>"
    assert [type(event) for event in run(fits)] == [Header]


def test_keep_alives_leave_nothing_behind() -> None:
    framer = Framer(50)
    framer.feed(HEADER)
    for _ in range(100):
        assert framer.feed(b" \n") == []
        assert repr(framer) == "<Framer open depth=1 pending=0>"
    assert slices(framer.feed(b" <message/>")) == [b"<message/>"]


@pytest.mark.parametrize("stanza", [b"<message/>", b"<iq><a/></iq>", b"<iq>text</iq>"])
def test_a_stanza_comes_with_its_last_byte(stanza: bytes) -> None:
    for i in range(1, len(stanza)):
        framer = Framer(LIMIT)
        framer.feed(HEADER)
        assert framer.feed(stanza[:i]) == []
        assert slices(framer.feed(stanza[i:])) == [stanza]


# Renewal.

MIXED = (
    b" <message><thread>ab</thread><body>c &gt; d</body></message>\n<presence/>"
    + _DELEGATED.format(1, "jabber:client", " from='a@b'").encode()
    + b"<iq xmlns='jabber:client' id='1' ><p:x a='>'/></iq ><handshake/>"
)
PREFIXED = HEADER.replace(b" id=", b" xmlns:p='urn:p' id=")


@pytest.mark.parametrize(
    ("after", "needed"), [(0, False), (1, False), (7, False), (50, False), (1 << 30, True)]
)
def test_renewal_changes_nothing(after: int, needed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    document = PREFIXED + MIXED + END
    expected = run(document)
    assert [type(event) for event in expected[1:]] == [*[Stanza] * 4, Element, Closed]
    renewals = 0
    renew = Framer._renew

    def counted(framer: Framer) -> None:
        nonlocal renewals
        renewals += 1
        renew(framer)

    monkeypatch.setattr(framing, "RENEW_AFTER", after)
    monkeypatch.setattr(framing, "_NEEDS_RENEWAL", needed)
    monkeypatch.setattr(Framer, "_renew", counted)
    assert every_split(document) == expected
    assert renewals > len(document) / 2


def rss() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_made_up_names_are_forgotten() -> None:
    framer = Framer(LIMIT)
    framer.feed(HEADER)
    before = rss()
    for batch in range(0, 200_000, 100):
        names = (f"n{batch + i:06}" for i in range(100))
        framer.feed("".join(f"<iq><{name} a{name}=''/></iq>" for name in names).encode())
    # a parser that is never renewed keeps more than 60 MiB of them
    assert rss() - before < 20 << 20


# Properties.

NAMES = st.sampled_from(["a", "b", "p:x", "thread", "body", "message"])
TEXT = st.lists(
    st.sampled_from(
        ["x", ">", "é", "&lt;", "&#65;", "<![CDATA[</iq>]]>", " ", "b='c'/>", "\n", '="']
    )
).map("".join)
VALUES = st.lists(
    st.sampled_from(["v", ">", "/>", "&amp;", "&#10;", "é", ' id="1"', '"', " xmlns:p=", " "])
).map("".join)
SPACE = st.sampled_from(["", " ", "\n\t"])


@st.composite
def elements(
    draw: st.DrawFn, names: st.SearchStrategy[str], children: st.SearchStrategy[str]
) -> str:
    name, space = draw(names), draw(SPACE)
    keys = draw(st.lists(st.sampled_from(["id", "to", "from", "type", "data-id"]), unique=True))
    attributes = "".join(f" {key}{draw(SPACE)}='{draw(VALUES)}'" for key in keys)
    if draw(st.booleans()):
        return f"<{name}{attributes}{space}/>"
    return f"<{name}{attributes}{space}>{draw(children)}</{name}{draw(SPACE)}>"


NESTED = st.recursive(
    TEXT, lambda inner: elements(NAMES, st.lists(inner, max_size=3).map("".join)), max_leaves=6
)
STANZAS = elements(st.sampled_from(["message", "presence", "iq", "other"]), NESTED)


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    edges = [0, *sorted(place % len(data) for place in places), len(data)]
    yield from (data[a:b] for a, b in pairwise(edges))


@settings(max_examples=200, deadline=None)
@given(st.lists(STANZAS, max_size=6), SPACE, st.lists(st.integers(0, 10_000), max_size=12))
def test_any_stream_in_any_pieces(stanzas: list[str], space: str, places: list[int]) -> None:
    document = PREFIXED + space.join(stanzas).encode() + END
    events = run(document)
    assert run(*cut(document, places)) == events
    assert run(*bytewise(document)) == events
    assert [type(events[0]), type(events[-1])] == [Header, Closed]
    assert len(events) == len(stanzas) + 2
    for event, source in zip(events[1:-1], stanzas, strict=True):
        assert isinstance(event, Stanza | Element)
        header = HEADER if isinstance(event, Stanza) else PREFIXED  # elements are not forwarded
        assert parsed(event.data, header) == parsed(source.encode(), PREFIXED)


def test_what_is_discarded_is_freed_at_once() -> None:
    framer = Framer(1000)
    framer.feed(HEADER + b"<message/>")
    gone = weakref.ref(framer)
    gc.disable()
    try:
        framer.discard()
        assert framer.feed(b"<message/>") == []
        del framer
        assert gone() is None
    finally:
        gc.enable()
