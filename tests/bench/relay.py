"""The baseline: a component as one would write it with slixmpp, that sends on what it gets."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from slixmpp import ComponentXMPP

from tests.bench.generator import SECRET
from tests.bench.stanzas import JID


def relay(port: int) -> ComponentXMPP:
    component = ComponentXMPP(  # type: ignore[no-untyped-call]
        JID, SECRET, "127.0.0.1", port
    )

    def send_on(message: Any) -> None:
        message["from"], message["to"] = JID, "other.bench"
        message.send()

    component.add_event_handler("message", send_on)
    component.connect()
    return component


async def main() -> None:
    component = relay(int(sys.argv[1]))
    await asyncio.Event().wait()
    del component


if __name__ == "__main__":
    asyncio.run(main())
