from __future__ import annotations

import pytest

from backends.asgi.http_over_xmpp import http_request_of, is_http
from backends.asgi.request import request_of
from backends.errors import StanzaError
from tests.kit.stanzas import stanza

SOAP = "http://www.w3.org/2003/05/soap-envelope"


@pytest.mark.parametrize(
    ("xml", "method", "path", "query"),
    [
        (
            "<iq type='get' id='1' to='svc.x/orders/7'><q xmlns='urn:a'/></iq>",
            "GET",
            "/orders/7",
            "",
        ),
        ("<iq type='set' id='1' to='svc.x/a?b=c&amp;d=é'/>", "POST", "/a", "b=c&d=%C3%A9"),
        ("<iq type='get' id='1' to='svc.x//a b%20c'/>", "GET", "/a b c", ""),
        ("<iq type='get' id='1' to='orders@svc.x'><q xmlns='urn:a'/></iq>", "GET", "/orders", ""),
        ("<iq type='get' id='1' to='svc.x'><q xmlns='urn:a'/></iq>", "GET", "/urn:a", ""),
        (f"<iq type='set' id='1' to='svc.x'><E xmlns='{SOAP}'/></iq>", "POST", f"/{SOAP}", ""),
        ("<iq type='get' id='1' to='svc.x'/>", "GET", "/", ""),
        ("<message to='svc.x'><body>hi</body></message>", "POST", "/jabber:client", ""),
        ("<presence to='room@svc.x/nick'/>", "POST", "/nick", ""),
    ],
)
def test_method_and_path(xml: str, method: str, path: str, query: str) -> None:
    request = request_of(stanza(xml))
    assert (request.method, request.path, request.query.decode()) == (method, path, query)


@pytest.mark.parametrize(
    ("xml", "body"),
    [
        ("<iq type='get' id='1' to='svc.x'><q xmlns='a'><b/></q></iq>", b'<q xmlns="a"><b /></q>'),
        (
            "<message to='svc.x'><thread>t</thread><body>a&lt;b</body></message>",
            b'<body xmlns="jabber:client">a&lt;b</body>',
        ),
        (
            "<message to='svc.x'><body>x</body><active xmlns='http://jabber.org/protocol/chatstates'/>"
            "<redelivered xmlns='urn:xmpp-balancer:0'/></message>",
            b'<body xmlns="jabber:client">x</body>',
        ),
        ("<message to='svc.x'><body>x</body><e xmlns='urn:e'/></message>", b'<e xmlns="urn:e" />'),
        (
            "<presence to='svc.x'><show>away</show><status>s</status></presence>",
            b'<status xmlns="jabber:client">s</status>',
        ),
        ("<presence to='svc.x'/>", b""),
        (
            "<iq type='get' id='1' to='svc.x'><q xmlns='urn:a' xmlns:y='urn:y' y:z='1'/></iq>",
            b'<ns0:q xmlns:ns0="urn:a" xmlns:ns1="urn:y" ns1:z="1" />',
        ),
    ],
)
def test_the_payload_is_the_body(xml: str, body: bytes) -> None:
    request = request_of(stanza(xml))
    headers = dict(request.headers)
    assert request.body == body
    assert headers[b"content-length"] == str(len(body)).encode()
    assert headers.get(b"content-type") == (b"application/xml" if body else None)


def test_the_attributes_are_headers() -> None:
    mark = "<redelivered xmlns='urn:xmpp-balancer:0'/>"
    xml = f"<iq type='get' id='7' from='a@x/é' to='svc.x/p' xml:lang='de'><q xmlns='q'/>{mark}</iq>"
    headers = dict(request_of(stanza(xml)).headers)
    assert headers[b"host"] == b"svc.x"
    assert headers[b"xmpp-stanza"] == b"iq"
    assert headers[b"xmpp-stanza-type"] == b"get"
    assert headers[b"xmpp-stanza-id"] == b"7"
    assert headers[b"xmpp-stanza-from"] == "a@x/é".encode()
    assert headers[b"xmpp-stanza-to"] == b"svc.x/p"
    assert headers[b"xmpp-stanza-lang"] == b"de"
    assert headers[b"xmpp-redelivered"] == b"true"


def test_the_scope() -> None:
    request = request_of(stanza("<iq type='get' id='1' to='svc.x/é?a=b'/>"))
    scope = request.scope("a@x/r", "svc.x")
    assert scope["path"] == "/é"
    assert scope["raw_path"] == b"/%C3%A9"
    assert scope["query_string"] == b"a=b"
    assert scope["client"] == ["a@x/r", 0]
    assert scope["type"] == "http"


def http(inner: str, attributes: str = "method='POST' resource='/a?b=c' version='1.1'") -> str:
    req = f"<req xmlns='urn:xmpp:http' {attributes}>{inner}</req>"
    return f"<iq type='set' id='1' from='a@x/r' to='svc.x'>{req}</iq>"


@pytest.mark.parametrize(
    ("data", "body"),
    [
        ("", b""),
        ("<data/>", b""),
        ("<data><text>a&lt;</text></data>", b"a<"),
        ("<data><xml><e xmlns='urn:e'/></xml></data>", b'<e xmlns="urn:e" />'),
        ("<data><base64>AAEC</base64></data>", b"\x00\x01\x02"),
    ],
)
def test_http_over_xmpp(data: str, body: bytes) -> None:
    shim = "http://jabber.org/protocol/shim"
    headers = (
        f"<headers xmlns='{shim}'><header name='Host'>h</header><header name='X-A'>1</header>"
        "<header name='XMPP-Stanza-From'>forged</header>"
        "<header name='Content-Length'>99</header></headers>"
    )
    iq = stanza(http(headers + data))
    assert is_http(iq)
    request = http_request_of(iq)
    assert (request.method, request.path, request.query) == ("POST", "/a", b"b=c")
    assert request.body == body
    found = dict(request.headers)
    assert len(found) == len(request.headers), "none is there twice"
    assert found[b"host"] == b"h"
    assert found[b"x-a"] == b"1"
    assert found[b"xmpp-stanza-from"] == b"a@x/r"
    assert found[b"content-length"] == str(len(body)).encode()


@pytest.mark.parametrize(
    ("xml", "condition"),
    [
        (http("", "method='BREW' resource='/' version='1.1'"), "bad-request"),
        (http("<data><base64>A</base64></data>"), "bad-request"),
        (http("<data><ibb sid='1'/></data>"), "feature-not-implemented"),
    ],
)
def test_http_that_is_not_taken(xml: str, condition: str) -> None:
    with pytest.raises(StanzaError, match=condition):
        http_request_of(stanza(xml))
