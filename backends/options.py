"""The command line that all ready-made backends share."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog
from slixmpp import JID
from slixmpp.jid import InvalidJID

from backends import control
from backends.backend import CONCURRENCY, Backend
from backends.reconnecting import address

#: Where the secret is looked for: arguments are for everyone on the machine to see.
SECRET_VARIABLE = "BACKEND_SECRET"


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with the options of `Backend`."""
    options = argparse.ArgumentParser(prog=prog, description=description)
    add = options.add_argument
    add("--jid", required=True, help="the component's JID, with the backend's name as resource")
    secret = options.add_mutually_exclusive_group()
    secret.add_argument("--secret", default=os.environ.get(SECRET_VARIABLE))
    secret.add_argument(
        "--secret-file",
        dest="secret",
        type=_first_line,
        help=f"a file with the secret in its first line; or set {SECRET_VARIABLE}",
    )
    add(
        "--server",
        action="append",
        metavar="HOST:PORT",
        help="where a balancer listens (127.0.0.1:5348); several are tried in turn",
    )
    add("--no-balancer", action="store_true", help="the server is an XMPP server itself")
    add("--weight", type=int, help="the share of the conversations, 1 to 256")
    add("--concurrency", type=int, default=CONCURRENCY, help="handlers at once (%(default)s)")
    add("--metrics-port", type=int, help="serve figures for Prometheus here")
    add("--log", choices=("console", "json"), default="console", help="how the log looks")
    add("--debug", action="store_true", help="log more")
    add("--trace", action="store_true", help="log the raw XML; SIGUSR1 switches it on and off")
    return options


def _first_line(path: str) -> str:
    """What a secret's file says; as little as possible of why it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, ValueError):
        raise argparse.ArgumentTypeError(f"{path} cannot be read") from None


def settings(
    options: argparse.ArgumentParser, arguments: Sequence[str] | None = None
) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Read the command line, and set up the log.

    Returns:
        What was given, and the arguments for `Backend`.
    """
    given = options.parse_args(arguments)
    if not given.secret:
        options.error(f"give --secret or --secret-file, or set {SECRET_VARIABLE}")
    try:
        _check(given)
    except (ValueError, InvalidJID) as error:
        options.error(str(error) or f"{given.jid!r} is no JID")
    configure_log(given.log, "DEBUG" if given.debug else "INFO")
    return given, {
        "jid": given.jid,
        "secret": given.secret,
        "servers": given.server or ["127.0.0.1:5348"],
        "balancer": not given.no_balancer,
        "weight": given.weight,
        "concurrency": given.concurrency,
    }


def _check(given: argparse.Namespace) -> None:
    """What `Backend` would refuse, while it can be said in a line."""
    JID(given.jid)
    for server in given.server or ():
        address(server)
    if given.weight is not None:
        control.weight(given.weight)
    if given.concurrency < 1:
        raise ValueError("--concurrency must be at least 1")


def start(
    backend: Backend,
    given: argparse.Namespace,
    main: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Serve until told to stop, with what the command line asked for; `Backend.run`."""
    if given.metrics_port is not None:
        from backends.metrics import expose

        try:
            expose(backend, given.metrics_port)
        except OSError as error:
            why = f"cannot serve figures on port {given.metrics_port}: {error.strerror}"
            print(why, file=sys.stderr)
            raise SystemExit(3) from None
    if given.trace:
        backend.trace.on()
    backend.run(main)


def configure_log(format: str, level: str) -> None:
    """Structured logs on standard error: a line for a person, or JSON for a collector."""
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
