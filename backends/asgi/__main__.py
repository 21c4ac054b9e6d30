"""``python -m backends.asgi package.module:app --jid … --secret …``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from backends.asgi.lifespan import LifespanError
from backends.asgi.server import TIMEOUT, AsgiServer
from backends.backend import Backend
from backends.options import parser, settings, start

CANNOT_START = 3


def load(text: str) -> Any:
    """The application that ``package.module:attribute`` names; the attribute may have dots.

    Raises:
        ValueError: it names none.
    """
    module, _, attribute = text.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
        for name in (attribute or "app").split("."):
            found = getattr(found, name)
    except ModuleNotFoundError as error:
        raise ValueError(f"{module!r} cannot be imported: {error}") from error
    except AttributeError as error:
        raise ValueError(str(error)) from error
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = parser("python -m backends.asgi", "Serve an ASGI application over XMPP.")
    options.add_argument("app", help="package.module:app")
    options.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds for a response")
    options.add_argument(
        "--reply-to-messages", action="store_true", help="send responses to messages back"
    )
    given, backend_settings = settings(options, arguments)
    try:
        app = load(given.app)
        backend = Backend(**backend_settings)
    except ValueError as error:
        options.error(str(error))
    server = AsgiServer(app, backend, timeout=given.timeout, reply=given.reply_to_messages)
    try:
        start(backend, given, lambda: server.serve(signals=True))
    except LifespanError as error:
        print(f"the application did not start: {error}", file=sys.stderr)
        raise SystemExit(CANNOT_START) from None


if __name__ == "__main__":
    main()
