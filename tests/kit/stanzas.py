"""Stanzas for the tables, as slixmpp makes them of what comes in."""

from __future__ import annotations

import asyncio
import re
from xml.etree import ElementTree

from slixmpp import ComponentXMPP
from slixmpp.stanza.rootstanza import RootStanza


def _stream() -> ComponentXMPP:
    # slixmpp wants a loop, which nothing here ever runs.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return ComponentXMPP("svc.localhost", "secret")
    finally:
        loop.close()
        asyncio.set_event_loop(None)


STREAM = _stream()


def stanza(xml: str) -> RootStanza:
    """A stanza as it comes from a component's stream."""
    scoped = re.sub(r"^<(\w+)", rf"<\1 xmlns='{STREAM.default_ns}'", xml)
    made = STREAM._build_stanza(ElementTree.fromstring(scoped))
    assert isinstance(made, RootStanza)
    return made
