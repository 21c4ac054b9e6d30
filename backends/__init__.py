"""A kit for writing backends that work behind the balancer, and ready examples.

    from backends import Backend, StanzaError, redelivered

`backends.asgi` serves an ASGI application over XMPP, `backends.commands` is a daemon that is
commanded by chat, and `backends.examples` shows all of them.
"""

from backends.backend import Backend
from backends.control import redelivered
from backends.errors import StanzaError
from backends.handlers import Handlers
from backends.outbox import OutboxFullError
from backends.together import run_together, serve_together
from backends.xml import RawXml

__all__ = [
    "Backend",
    "Handlers",
    "OutboxFullError",
    "RawXml",
    "StanzaError",
    "redelivered",
    "run_together",
    "serve_together",
]
