"""A stanza's bytes: what may be changed in them, and which errors may answer them."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from balancer.stanza import (
    STANZA_ERROR_NS,
    Stanza,
    bare,
    domain,
    error_reply,
    is_address,
    may_be_answered,
    quoted,
    start_tag_end,
    with_id,
    with_last_child,
    with_prefixes,
    without_xmlns,
)


def stanza(kind: str = "iq", type_: str | None = "get", id_: str | None = "1") -> Stanza:
    return Stanza(kind, "svc.example", "a@b/c", id_, type_, b"<iq/>")


@pytest.mark.parametrize(
    ("jid", "bare_jid", "host"),
    [
        ("a@b/c@d", "a@b", "b"),
        ("a@b/c/d", "a@b", "b"),
        ("b/c@d", "b", "b"),
        ("a@b", "a@b", "b"),
        ("b", "b", "b"),
        ("", "", ""),
    ],
)
def test_parts_of_a_jid(jid: str, bare_jid: str, host: str) -> None:
    assert (bare(jid), domain(jid)) == (bare_jid, host)


def test_a_quoted_attribute_survives_a_parser() -> None:
    value = "<a> & 'b' \"c\"\n\r\td"
    assert ElementTree.fromstring(f"<x y={quoted(value)}/>").get("y") == value


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"<iq id='1' to='x'/>", b"<iq id='N' to='x'/>"),
        (b'<iq to="x" id="1"/>', b"<iq to=\"x\" id='N'/>"),
        (b"<iq\n\tid = '1' >t</iq>", b"<iq\n\tid = 'N' >t</iq>"),
        (b"<iq id=''/>", b"<iq id='N'/>"),
        (b"<iq data-id='a' id='1'/>", b"<iq data-id='a' id='N'/>"),
        (b"<iq xml:id='a' id='1'/>", b"<iq xml:id='a' id='N'/>"),
        (b"<iq idx='a' id='1'/>", b"<iq idx='a' id='N'/>"),
        (b"<iq to=' id=\"a\"' id='1'/>", b"<iq to=' id=\"a\"' id='N'/>"),
        (b"<iq to='a>b' id='1'/>", b"<iq to='a>b' id='N'/>"),
        (b"<iq id='1'><x id='1'/></iq>", b"<iq id='N'><x id='1'/></iq>"),
    ],
)
def test_with_id_changes_the_id_and_nothing_else(before: bytes, after: bytes) -> None:
    assert with_id(before, "N") == after


def test_with_id_escapes() -> None:
    data = with_id(b"<iq id='1'/>", "a'b\"<&>\n")
    assert ElementTree.fromstring(data).get("id") == "a'b\"<&>\n"


@pytest.mark.parametrize("data", [b"<iq/>", b"<iq ><x id='1'/></iq>", b"<iq > a='' id='1'</iq>"])
def test_only_a_stanza_with_an_id_gets_another(data: bytes) -> None:
    with pytest.raises(AssertionError):
        with_id(data, "N")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"<iq xmlns='jabber:client' id='1'/>", b"<iq id='1'/>"),
        (b'<iq id="1" xmlns = "jabber:client"/>', b'<iq id="1"/>'),
        (b"<iq xmlns:a='b'/>", b"<iq xmlns:a='b'/>"),
        (b"<iq id=' xmlns=\"a\"'/>", b"<iq id=' xmlns=\"a\"'/>"),
        (b"<iq><x xmlns='jabber:client'/></iq>", b"<iq><x xmlns='jabber:client'/></iq>"),
        (b"<iq >a='' xmlns='b'</iq>", b"<iq >a='' xmlns='b'</iq>"),
    ],
)
def test_without_xmlns(before: bytes, after: bytes) -> None:
    assert without_xmlns(before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"<iq/>", b'''<iq xmlns:p="urn:'"''' b"/>"),
        (b"<iq id='1'>t</iq>", b'''<iq xmlns:p="urn:'"''' b" id='1'>t</iq>"),
        (b"<iq xmlns:p = 'own'/>", b"<iq xmlns:p = 'own'/>"),
        (b"<iq xmlns:pq='o'/>", b'''<iq xmlns:p="urn:'"''' b" xmlns:pq='o'/>"),
        (b"<iq><x xmlns:p='o'/></iq>", b'''<iq xmlns:p="urn:'"''' b"><x xmlns:p='o'/></iq>"),
        # a value that looks like a declaration
        (b"<iq id=' xmlns:p='/>", b'''<iq xmlns:p="urn:'"''' b" id=' xmlns:p='/>"),
    ],
)
def test_with_prefixes(before: bytes, after: bytes) -> None:
    assert with_prefixes(before, {"p": "urn:'"}) == after


@pytest.mark.parametrize(
    ("tag", "rest"),
    [
        (b"<a/>", b"<b/>"),
        (b"<a>", b">"),
        (b"<a b='>' c=\"/>'\" >", b"t</a>"),
        (b"<a >", b"b='c'/></a>"),
        (b"<a b='c' >", b'd="e" ></a>'),
    ],
)
def test_start_tag_end(tag: bytes, rest: bytes) -> None:
    assert start_tag_end(b"__" + tag + rest, 2) == 2 + len(tag)


@pytest.mark.parametrize(
    ("kind", "type_", "answer", "asks", "replies"),
    [
        ("iq", "get", True, True, False),
        ("iq", "set", True, True, False),
        ("iq", "result", False, False, True),
        ("iq", "error", False, False, True),
        ("message", None, True, False, False),
        ("message", "chat", True, False, False),
        ("message", "get", True, False, False),
        ("message", "error", False, False, False),
        ("message", "result", True, False, False),
        ("presence", "error", False, False, False),
        ("presence", "probe", True, False, False),
    ],
)
def test_who_is_answered(
    kind: str, type_: str | None, answer: bool, asks: bool, replies: bool
) -> None:
    it = stanza(kind, type_)
    assert (may_be_answered(it), it.is_request, it.is_reply) == (answer, asks, replies)
    assert (error_reply(it, "cancel", "gone", "") is not None) is answer


def test_an_error_reply_swaps_the_addresses_and_keeps_the_id() -> None:
    data = error_reply(stanza(id_="'<1>'"), "wait", "remote-server-timeout", "a < b & c")
    assert data is not None
    reply = ElementTree.fromstring(data)
    assert reply.tag == "iq"
    assert reply.attrib == {"type": "error", "from": "svc.example", "to": "a@b/c", "id": "'<1>'"}
    (error,) = reply
    assert (error.tag, error.attrib) == ("error", {"type": "wait"})
    condition, text = error
    assert condition.tag == f"{{{STANZA_ERROR_NS}}}remote-server-timeout"
    assert (text.tag, text.text) == (f"{{{STANZA_ERROR_NS}}}text", "a < b & c")


def test_an_error_reply_invents_no_attribute() -> None:
    data = error_reply(Stanza("message", None, None, None, None, b""), "cancel", "gone", "t")
    assert data is not None
    assert ElementTree.fromstring(data).attrib == {"type": "error"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (stanza(), "<Stanza iq get a@b/c -> svc.example id='1' 5 bytes>"),
        (stanza("message", None, None), "<Stanza message a@b/c -> svc.example id=None 5 bytes>"),
    ],
)
def test_repr(value: Stanza, shown: str) -> None:
    assert repr(value) == shown


@pytest.mark.parametrize(
    ("jid", "good"),
    [
        ("a@b/c", True),
        ("b", True),
        ("b/c@d/e", True),
        ("b/c\nd", True),
        ("\u00e4@b", True),
        ("a\u00ad@b", True),
        ("", False),
        ("@b", False),
        ("a@", False),
        ("b/", False),
        ("a@b/", False),
        ("a@b@c", False),
        ("/c", False),
        ("\u00ad@b", False),
        ("a@\u00ad", False),
        ("a@b/\u2060", False),
    ],
)
def test_is_address(jid: str, good: bool) -> None:
    assert is_address(jid) is good


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"<message/>", b"<message><x/></message>"),
        (b"<message to='a' />", b"<message to='a' ><x/></message>"),
        (b"<iq></iq>", b"<iq><x/></iq>"),
        (b"<iq a='/>'>t</iq >", b"<iq a='/>'>t<x/></iq >"),
        (b"<iq><iq></iq></iq>", b"<iq><iq></iq><x/></iq>"),
    ],
)
def test_with_last_child(before: bytes, after: bytes) -> None:
    assert with_last_child(before, b"<x/>") == after


@pytest.mark.parametrize("value", ["'" * 100, '"' * 100, "'" * 60 + '"' * 40, "a'b\"c" * 20])
def test_quotes_are_those_of_which_there_are_fewer(value: str) -> None:
    """A value came between quotes of one kind, so those within were escaped if they were these."""
    came = min(value.count("'"), value.count('"')) * 5 + len(value) + 2
    assert len(quoted(value)) <= came + 1
    assert ElementTree.fromstring(f"<x y={quoted(value)}/>").get("y") == value
