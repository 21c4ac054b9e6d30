"""A stanza as a tree, for the few who look at all of it; the data path never does."""

from __future__ import annotations

from typing import Final

from lxml import etree

from balancer.stanza import ACCEPT_NS, STREAM_NS, Stanza

# It refuses what the stream's own parser takes, an xml:id twice for one: then it must do its best.
_PARSER: Final = etree.XMLParser(
    resolve_entities=False, no_network=True, huge_tree=True, recover=True
)


def parsed(stanza: Stanza) -> etree._Element:
    """The root of a stanza, in the namespace of its stream.

    Raises:
        ValueError: there is no way to see it as a tree.
    """
    start = f"<s xmlns='{ACCEPT_NS}' xmlns:stream='{STREAM_NS}'>".encode()
    try:
        return etree.fromstring(start + stanza.data + b"</s>", _PARSER)[0]
    except (etree.LxmlError, IndexError, TypeError) as error:
        raise ValueError(f"not to be seen as a tree: {error}") from error
