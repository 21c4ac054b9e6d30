from __future__ import annotations

from xml.etree import ElementTree

import pytest

from backends.asgi.http_over_xmpp import http_answer_of
from backends.asgi.response import MAX_BODY, Response, answer_of
from backends.asgi.status import condition
from backends.errors import CONDITIONS, StanzaError
from backends.xml import RawXml
from tests.kit.stanzas import stanza

IQ = stanza("<iq type='get' id='1' from='a@x/r' to='svc.x'><q xmlns='urn:a'/></iq>")
MESSAGE = stanza("<message from='a@x/r' to='svc.x'><body>x</body></message>")
XML = [(b"Content-Type", b"application/soap+xml; charset=utf-8")]
TEXT = [(b"content-type", b"text/plain; charset=latin-1")]


@pytest.mark.parametrize("name", CONDITIONS)
def test_the_table_goes_both_ways(name: str) -> None:
    status = CONDITIONS[name].status
    assert condition(status) == name
    assert StanzaError(name).status == status


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (301, "redirect"),
        (308, "redirect"),
        (405, "not-allowed"),
        (408, "remote-server-timeout"),
        (413, "not-acceptable"),
        (415, "not-acceptable"),
        (429, "resource-constraint"),
        (418, "bad-request"),
        (599, "internal-server-error"),
    ],
)
def test_the_nearest(status: int, name: str) -> None:
    assert condition(status) == name


def test_content() -> None:
    assert answer_of(IQ, Response(204, [], b"")) is None
    xml = answer_of(IQ, Response(200, XML, b"<?xml version='1.0'?><a/>"))
    assert isinstance(xml, RawXml)
    assert xml == "<a/>"
    text = answer_of(IQ, Response(200, TEXT, b"\xe9\x00"))
    assert not isinstance(text, RawXml)
    assert text == "é\ufffd"
    assert answer_of(IQ, Response(200, [(b"content-type", b"text/x; charset=no")], b"a")) == "a"


def test_messages_are_answered_when_that_is_asked_for() -> None:
    response = Response(200, TEXT, b"hello")
    assert answer_of(MESSAGE, response) is None
    assert answer_of(MESSAGE, response, reply=True) == "hello"
    asks = Response(200, [*TEXT, (b"XMPP-Reply", b"true")], b"hello")
    assert answer_of(MESSAGE, asks) == "hello"


def test_an_error() -> None:
    reply = answer_of(IQ, Response(404, TEXT, b"not here"))
    error = reply["error"]  # type: ignore[index]
    assert (error["condition"], error["type"], error["text"]) == (
        "item-not-found",
        "cancel",
        "not here",
    )


def test_headers_go_before_the_tables() -> None:
    headers = [(b"xmpp-error-type", b"wait"), (b"xmpp-error-condition", b"bad-request")]
    error = answer_of(IQ, Response(422, headers, b""))["error"]  # type: ignore[index]
    assert (error["condition"], error["type"]) == ("bad-request", "wait")
    nonsense = [(b"xmpp-error-type", b"x")]
    error = answer_of(IQ, Response(404, nonsense, b""))["error"]  # type: ignore[index]
    assert (error["condition"], error["type"]) == ("item-not-found", "cancel")


def test_a_redirect_says_where() -> None:
    location = [(b"location", b"xmpp:other@x")]
    reply = answer_of(IQ, Response(302, location, b""))
    assert ">xmpp:other@x</redirect>" in str(reply)


def test_a_soap_fault_goes_beside_the_error() -> None:
    reply = answer_of(IQ, Response(500, XML, b"<e:Envelope xmlns:e='urn:e'/>"))
    assert [child.tag for child in reply.xml] == [  # type: ignore[attr-defined]
        "{urn:e}Envelope",
        "{jabber:client}error",
    ]
    broken = answer_of(IQ, Response(500, XML, b"<e"))
    assert len(broken.xml) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("response", "name"),
    [
        (Response(200, XML, b"<a"), "internal-server-error"),
        (Response(200, XML, b"<a>" + b"x" * MAX_BODY + b"</a>"), "resource-constraint"),
        (Response(200, TEXT, b"<" * (MAX_BODY // 2)), "resource-constraint"),
    ],
)
def test_what_cannot_be_sent(response: Response, name: str) -> None:
    with pytest.raises(StanzaError, match=name):
        answer_of(IQ, response)


@pytest.mark.parametrize(
    ("headers", "body", "data"),
    [
        (XML, b"<a xmlns='urn:a'/>", "<ns0:xml><ns2:a /></ns0:xml>"),
        (XML, b"<a", "<ns0:base64>PGE=</ns0:base64>"),
        ([(b"content-type", b"text/plain")], b"a<", "<ns0:text>a&lt;</ns0:text>"),
        ([(b"content-type", b"text/plain")], b"a\x00", "<ns0:base64>YQA=</ns0:base64>"),
        ([], b"\xff", "<ns0:base64>/w==</ns0:base64>"),
    ],
)
def test_http_over_xmpp(headers: list[tuple[bytes, bytes]], body: bytes, data: str) -> None:
    resp = http_answer_of(Response(404, headers, body), "GET")
    assert resp.get("statusCode") == "404"
    assert resp.get("statusMessage") == "Not Found"
    assert f"<ns0:data>{data}</ns0:data>" in ElementTree.tostring(resp, encoding="unicode")
    head = http_answer_of(Response(200, [(b"x-a", b"1")], b"body"), "HEAD")
    assert b"data" not in ElementTree.tostring(head)
    assert head[0][0].attrib == {"name": "X-A"}


def test_http_that_does_not_fit() -> None:
    with pytest.raises(StanzaError, match="resource-constraint"):
        http_answer_of(Response(200, [], b"\xff" * MAX_BODY), "GET")
