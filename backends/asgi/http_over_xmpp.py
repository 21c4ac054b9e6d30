"""HTTP over XMPP (XEP-0332): a whole HTTP request in an iq, and a whole response in its result.

Bodies travel inside (``<text/>``, ``<xml/>``, ``<base64/>``); those that come in pieces or by
another way (``<chunkedBase64/>``, ``<sipub/>``, ``<ibb/>``, ``<jingle/>``) are not taken.
"""

from __future__ import annotations

import base64
from http.client import responses
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from slixmpp.stanza.rootstanza import RootStanza

from backends.asgi.request import Headers, Request, serialised, split, stanza_headers
from backends.asgi.response import MAX_BODY, Response
from backends.errors import StanzaError
from backends.xml import clean

HTTP_NS: Final = "urn:xmpp:http"
SHIM_NS: Final = "http://jabber.org/protocol/shim"  # XEP-0131
_METHODS: Final = frozenset({"OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "PATCH"})


def is_http(stanza: RootStanza) -> bool:
    """Whether a stanza is such a request."""
    return stanza.name == "iq" and stanza.xml.find(f"{{{HTTP_NS}}}req") is not None


def http_request_of(stanza: RootStanza) -> Request:
    """The request inside a stanza (XEP-0332 §4.1).

    Raises:
        StanzaError: it is none, or its body is not inside.
    """
    req = stanza.xml.find(f"{{{HTTP_NS}}}req")
    assert req is not None
    method = req.get("method", "")
    if method not in _METHODS:
        raise StanzaError("bad-request", f"{method!r} is no method")
    path, query = split(req.get("resource", "/"))
    body = _body(req.find(f"{{{HTTP_NS}}}data"))
    return Request(method, path, query, _headers(stanza, req, body), body)


def _headers(stanza: RootStanza, req: Element, body: bytes) -> Headers:
    given: Headers = []
    for header in req.iterfind(f"{{{SHIM_NS}}}headers/{{{SHIM_NS}}}header"):
        name = header.get("name", "").strip().lower()
        # What we say of the stanza is not for its sender to say; the length is what is there.
        if name and not name.startswith("xmpp-") and name != "content-length":
            given.append((name.encode(), (header.text or "").strip().encode()))
    if not any(name == b"host" for name, _ in given):
        given.insert(0, (b"host", stanza["to"].domain.encode()))
    length = (b"content-length", str(len(body)).encode())
    return [*given, length, *stanza_headers(stanza)]


def _body(data: Element | None) -> bytes:
    if data is None:
        return b""
    for child in data:
        match child.tag.removeprefix(f"{{{HTTP_NS}}}"):
            case "text":
                return (child.text or "").encode()
            case "xml":
                return b"".join(serialised(each) for each in child)
            case "base64":
                try:
                    return base64.b64decode(child.text or "", validate=False)
                except ValueError as error:
                    raise StanzaError("bad-request", f"no base64: {error}") from error
            case name:
                raise StanzaError("feature-not-implemented", f"<{name}/> is not taken here")
    return b""


def http_answer_of(response: Response, method: str) -> Element:
    """The ``<resp/>`` that a response becomes, whatever its status (XEP-0332 §4.2).

    Raises:
        StanzaError: it does not fit into a stanza.
    """
    resp = Element(f"{{{HTTP_NS}}}resp", {"version": "1.1", "statusCode": str(response.status)})
    if response.status in responses:
        resp.set("statusMessage", responses[response.status])
    headers = SubElement(resp, f"{{{SHIM_NS}}}headers")
    for name, value in response.headers:
        header = SubElement(headers, f"{{{SHIM_NS}}}header", {"name": _title(name)})
        header.text = clean(value.decode("utf-8", "replace"))
    if response.body and method != "HEAD":
        _put(SubElement(resp, f"{{{HTTP_NS}}}data"), response)
    if len(ElementTree.tostring(resp)) > MAX_BODY:
        raise StanzaError("resource-constraint", "the answer is too large for a stanza", "cancel")
    return resp


def _put(data: Element, response: Response) -> None:
    if response.is_xml:
        try:
            document = ElementTree.fromstring(response.body)
        except (ElementTree.ParseError, LookupError):
            document = None
        if document is not None:
            SubElement(data, f"{{{HTTP_NS}}}xml").append(document)
            return
    text = response.text()
    if response.content_type.startswith("text/") and text.encode() == response.body:
        SubElement(data, f"{{{HTTP_NS}}}text").text = text
    else:
        SubElement(data, f"{{{HTTP_NS}}}base64").text = base64.b64encode(response.body).decode()


def _title(name: bytes) -> str:
    return "-".join(part.capitalize() for part in name.decode("latin-1").split("-"))
