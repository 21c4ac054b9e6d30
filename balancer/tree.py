"""A stanza as a tree, for the few who look at all of it; the data path never does."""

from __future__ import annotations

from typing import Final

from lxml import etree

from balancer.stanza import ACCEPT_NS, Stanza

# What comes here has been through a stricter parser; this one must not be clever either.
_PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True)


def parsed(stanza: Stanza) -> etree._Element:
    """The root of a stanza, in the namespace of its stream."""
    stream = b"<s xmlns='%s'>%s</s>" % (ACCEPT_NS.encode(), stanza.data)
    return etree.fromstring(stream, _PARSER)[0]
