"""A backend as slixmpp's documentation writes one: it says back what it is told.

    python -m backends.echo --jid svc.example.org/worker-1 --secret-file … --host 127.0.0.1

It knows nothing of the balancer and would work the same on a server of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

from slixmpp import ComponentXMPP, Message

#: Seconds before it connects again: slixmpp repeats failed attempts, not lost connections.
PAUSE = 1.0


class Echo(ComponentXMPP):
    """Answers every chat message with the same text, and pings (XEP-0199) through the plugin."""

    def __init__(self, jid: str, secret: str, host: str, port: int) -> None:
        super().__init__(jid, secret, host, port)
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0199")
        self.add_event_handler("message", self.message)
        self.add_event_handler("disconnected", self.reconnect_later)

    def message(self, msg: Message) -> None:
        """Answer a message."""
        if msg["type"] in ("chat", "normal"):
            msg.reply(msg["body"]).send()

    async def reconnect_later(self, _: object) -> None:
        """Come back when the server does."""
        await asyncio.sleep(PAUSE)
        self.connect()

    async def leave(self) -> None:
        """Disconnect for good."""
        self.del_event_handler("disconnected", self.reconnect_later)
        self.cancel_connection_attempt()
        await self.disconnect(wait=1.0)


async def run(jid: str, secret: str, host: str, port: int, kind: type[Echo] = Echo) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    echo = kind(jid, secret, host, port)
    echo.connect()
    await stop.wait()
    await echo.leave()


def first_line(path: str) -> str:
    """What a secret's file says; as little as possible of why it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, ValueError):
        raise argparse.ArgumentTypeError(f"{path} cannot be read") from None


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m backends.echo", description=Echo.__doc__)
    parser.add_argument("--jid", required=True, help="the component's JID")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument(
        "--secret",
        default=os.environ.get("ECHO_SECRET"),
        help="its secret (default: the environment variable ECHO_SECRET)",
    )
    secret.add_argument(
        "--secret-file",
        dest="secret",
        type=first_line,
        help="a file with its secret in the first line",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5348)
    given = parser.parse_args()
    if not given.secret:
        parser.error("give --secret or --secret-file, or set ECHO_SECRET")
    asyncio.run(run(given.jid, given.secret, given.host, given.port))


if __name__ == "__main__":
    main()
