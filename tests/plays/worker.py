"""A backend as a process, on unmodified slixmpp: it echoes, and says what was redelivered."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import StanzaPath

from backends.echo import Echo, run


class Worker(Echo):
    def __init__(self, jid: str, secret: str, host: str, port: int) -> None:
        super().__init__(jid, secret, host, port)
        # XEP-0199 knows no ping of type set; here it stands for any change that is asked for.
        matcher = StanzaPath("iq@type=set/ping")
        self.register_handler(Callback("set", matcher, lambda iq: iq.reply().send()))

    def message(self, msg: Any) -> None:
        if msg["type"] in ("chat", "normal"):
            again = msg.xml.find("{urn:xmpp-balancer:0}redelivered") is not None
            msg.reply(msg["body"] + ("*" if again else "")).send()


if __name__ == "__main__":
    jid, secret, port = sys.argv[1:]
    asyncio.run(run(jid, secret, "127.0.0.1", int(port), Worker))
