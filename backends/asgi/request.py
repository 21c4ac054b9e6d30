"""A stanza as an HTTP request, and the ASGI scope of that."""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from slixmpp.stanza.rootstanza import RootStanza
from slixmpp.xmlstream.tostring import tostring

from backends.control import CONTROL_NS, redelivered
from backends.xml import loses_attributes

ACCEPT_NS: Final = "jabber:component:accept"
CLIENT_NS: Final = "jabber:client"

#: Children that say something about a message and are not what it says: XEP-0085, XEP-0184,
#: XEP-0203, XEP-0334, XEP-0359, XEP-0333, XEP-0172, and the balancer's mark.
_ANNOTATIONS: Final = frozenset(
    {
        "http://jabber.org/protocol/chatstates",
        "http://jabber.org/protocol/nick",
        "urn:xmpp:receipts",
        "urn:xmpp:delay",
        "urn:xmpp:hints",
        "urn:xmpp:sid:0",
        "urn:xmpp:chat-markers:0",
        CONTROL_NS,
    }
)

#: The attributes of a stanza (RFC 6120 §8.1) by their headers.  No others: anybody may add some of
#: a namespace of his own, and who a stanza is from must not be his to say.
_ATTRIBUTES: Final = {
    **{name: name for name in ("from", "to", "id", "type")},
    "{http://www.w3.org/XML/1998/namespace}lang": "lang",
}

Headers = list[tuple[bytes, bytes]]


class Request(NamedTuple):
    """An HTTP request.

    ``path`` is decoded, ``query`` is not, as ASGI has them.
    """

    method: str
    path: str
    query: bytes
    headers: Headers
    body: bytes

    def scope(self, client: str, server: str) -> dict[str, Any]:
        """The ASGI connection scope, without state and extensions."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": quote(self.path, safe="/!$&'()*+,;=:@-._~").encode(),
            "query_string": self.query,
            "root_path": "",
            "headers": self.headers,
            # Who asks is known for sure, unlike over HTTP.
            "client": [client, 0],
            "server": [server, 80],
        }


def request_of(stanza: RootStanza) -> Request:
    """The request that a stanza is: get is GET, anything else is POST."""
    child = payload(stanza)
    body = b"" if child is None else serialised(child)
    path, query = target(stanza, child)
    method = "GET" if stanza.name == "iq" and stanza["type"] == "get" else "POST"
    headers = [(b"host", stanza["to"].domain.encode()), *stanza_headers(stanza)]
    if body:
        headers.append((b"content-type", b"application/xml"))
    headers.append((b"content-length", str(len(body)).encode()))
    return Request(method, path, query, headers, body)


def stanza_headers(stanza: RootStanza) -> Headers:
    """The stanza's kind and its attributes."""
    headers = [(b"xmpp-stanza", stanza.name.encode())]
    for name, header in _ATTRIBUTES.items():
        value = stanza.xml.get(name)
        if value is not None:
            headers.append((f"xmpp-stanza-{header}".encode(), value.encode()))
    if redelivered(stanza):
        headers.append((b"xmpp-redelivered", b"true"))
    return headers


def payload(stanza: RootStanza) -> Element | None:
    """What a stanza says.

    Of an iq it is the only child.  A message may have several: the first that is no annotation
    and that RFC 6121 does not define, else its ``<body/>``, else (of presence) its ``<status/>``.
    """
    own = {f"{{{ACCEPT_NS}}}{name}" for name in ("body", "status")}
    fallback = None
    for child in stanza.xml:
        namespace = _namespace(child)
        if namespace in _ANNOTATIONS:
            continue
        if namespace not in (ACCEPT_NS, CLIENT_NS):
            return child
        if child.tag in own:
            fallback = child
    return fallback


def target(stanza: RootStanza, child: Element | None) -> tuple[str, bytes]:
    """Path and query: from the resource of the address, its node, or the payload's namespace."""
    to = stanza["to"]
    text = to.resource or to.node or ""
    if text:
        return split(text)
    namespace = "" if child is None else _namespace(child).replace(ACCEPT_NS, CLIENT_NS)
    return f"/{namespace}", b""


def split(text: str) -> tuple[str, bytes]:
    """A resource such as ``orders/7?full=1`` as path and query."""
    path, _, query = text.partition("?")
    return "/" + unquote(path).removeprefix("/"), quote(query, safe="=&+%/?:@!$'()*,;-._~").encode()


def serialised(element: Element) -> bytes:
    """An element as a document of its own, as a client would have it."""
    if loses_attributes(element):
        return ElementTree.tostring(element)
    return tostring(element).replace(ACCEPT_NS, CLIENT_NS).encode()


def _namespace(element: Element) -> str:
    return element.tag.partition("}")[0].removeprefix("{") if element.tag[0] == "{" else ""
