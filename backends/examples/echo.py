"""Says back what it is told, and adds numbers for programs.

python -m backends.examples.echo --jid svc.demo/echo --secret demo
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from slixmpp import Iq, Message

from backends import Backend, StanzaError, redelivered
from backends.options import parser, settings, start

SUM = "urn:example:sum"


def echo(backend: Backend) -> Backend:
    """Give a backend its handlers."""

    @backend.message
    async def say_it_back(message: Message) -> str:
        if redelivered(message):
            return f"{message['body']} (once more)"
        return str(message["body"])

    @backend.iq(SUM)
    async def add(iq: Iq) -> Element:
        try:
            numbers = [int(each.text or "") for each in iq.xml[0]]
        except ValueError as error:
            raise StanzaError("bad-request", str(error)) from error
        result = Element(f"{{{SUM}}}sum")
        result.text = str(sum(numbers))
        return result

    return backend


if __name__ == "__main__":
    given, options = settings(parser("python -m backends.examples.echo", "An echo."))
    start(echo(Backend(**options)), given)
