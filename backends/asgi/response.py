"""What an application answered, as a stanza or as a stanza error."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from slixmpp.stanza.rootstanza import RootStanza

from backends.asgi.request import Headers
from backends.asgi.status import condition, is_error
from backends.errors import StanzaError, error_reply
from backends.xml import RawXml, clean, raw

#: Characters of a body that become the text of an error: more is no text but a page.
MAX_ERROR_TEXT = 4000

#: Bytes of a body that may go into a stanza.  A balancer takes 496 KiB, Prosody 512.
MAX_BODY = 400 * 1024


class Response(NamedTuple):
    """An HTTP response."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str:
        """The value of a header, or the empty string."""
        wanted = name.encode()
        for key, value in self.headers:
            if key.lower() == wanted:
                return value.decode("utf-8", "replace")
        return ""

    @property
    def content_type(self) -> str:
        """The media type, without parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    @property
    def is_xml(self) -> bool:
        """Whether the body is XML (RFC 7303 §4)."""
        kind = self.content_type
        return kind in ("application/xml", "text/xml") or kind.endswith("+xml")

    def text(self) -> str:
        """The body as text."""
        charset = self.header("content-type").lower().partition("charset=")[2].strip(" \"'")
        try:
            return clean(self.body.decode(charset.partition(";")[0] or "utf-8", "replace"))
        except (LookupError, ValueError):
            return clean(self.body.decode("utf-8", "replace"))


def wants_reply(response: Response) -> bool:
    """Whether a message or presence is to be answered: the header ``xmpp-reply: true``."""
    return response.header("xmpp-reply").lower() in ("true", "yes", "1")


def answer_of(stanza: RootStanza, response: Response, reply: bool = False) -> object:
    """What to send for a response, as a handler would return it.

    Args:
        stanza: the request.
        response: what the application answered.
        reply: whether messages are answered though the response does not ask for it.

    Raises:
        StanzaError: the response is an error, or does not fit into a stanza.
    """
    if is_error(response.status):
        return _refusal(stanza, response)
    if stanza.name != "iq" and not (wants_reply(response) or (reply and stanza.name == "message")):
        return None
    if not response.body:
        return None
    return _content(response)


def _content(response: Response) -> RawXml | str:
    if not response.is_xml:
        text = response.text()
        _must_fit(escape(text, {"'": "&apos;", '"': "&quot;"}))
        return text
    try:
        xml = raw(response.body)
    except ValueError as error:
        raise StanzaError("internal-server-error", f"the answer is {error}") from error
    _must_fit(xml)
    return xml


def _must_fit(text: str) -> None:
    if len(text.encode()) > MAX_BODY:
        raise StanzaError("resource-constraint", "the answer is too large for a stanza", "cancel")


def _refusal(stanza: RootStanza, response: Response) -> RootStanza:
    error = error_of(response)
    reply = error_reply(stanza, error)
    if error.condition == "redirect" and response.header("location"):
        reply["error"]["redirect"] = clean(response.header("location"))
    if response.is_xml and len(response.body) <= MAX_BODY:
        # XEP-0072 §4: a SOAP fault goes beside the error.
        with suppress(ElementTree.ParseError, LookupError):
            reply.xml.insert(0, ElementTree.fromstring(response.body))
    return reply


def error_of(response: Response) -> StanzaError:
    """The stanza error that a response of status 300 and above is.

    The headers ``xmpp-error-type`` and ``xmpp-error-condition`` go before the tables.
    """
    name = response.header("xmpp-error-condition") or condition(response.status)
    text = "" if response.is_xml else response.text()[:MAX_ERROR_TEXT]
    try:
        return StanzaError(name, text, response.header("xmpp-error-type") or None)
    except ValueError:
        return StanzaError(condition(response.status), text)
