"""What a handler returned, as the stanza that is sent back.

nothing             an iq gets an empty result, others get nothing
a text              the <body/> of the answer
XML                 the payload: an Element, a slixmpp element, or `RawXml`
a list of XML       several payloads
a stanza            that stanza
"""

from __future__ import annotations

from typing import cast
from xml.etree.ElementTree import Element

from slixmpp.stanza.rootstanza import RootStanza
from slixmpp.xmlstream import ElementBase

from backends.xml import RawXml, clean, with_payload


def answer_to(stanza: RootStanza, returned: object) -> RootStanza | str | None:
    """The answer to a stanza.

    Args:
        stanza: the one that was handled.
        returned: what its handler returned.

    Returns:
        What to send, if anything.

    Raises:
        TypeError: it is nothing that can be sent.
    """
    if returned in (None, ""):
        if stanza.name != "iq":
            return None
        returned = None
    if isinstance(returned, RootStanza):
        return returned
    reply = cast(RootStanza, stanza.reply())
    if stanza.name == "message":
        # In the same conversation: its type and its thread (RFC 6121 §5.2.5, XEP-0201).
        kind = stanza.xml.get("type")
        reply["type"] = kind if kind in ("chat", "groupchat") else "normal"
        if kind == "groupchat":
            reply["to"] = stanza["from"].bare
        thread = stanza.xml.findtext(f"{{{stanza.namespace}}}thread")
        if thread:
            reply["thread"] = thread
        del reply["id"]
    match returned:
        case None:
            pass
        case RawXml():
            return with_payload(reply, returned)
        case str():
            body = Element(f"{{{reply.namespace}}}body")
            body.text = clean(returned)
            reply.append(body)
        case Element() | ElementBase():
            reply.append(returned)
        case list() | tuple():
            for each in returned:
                if not isinstance(each, Element | ElementBase):
                    raise TypeError(f"a handler returned a list with {type(each).__name__}")
                reply.append(each)
        case _:
            raise TypeError(f"a handler returned {type(returned).__name__}, which is no answer")
    return reply
