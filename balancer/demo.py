"""The balancer at work, to look at: a server, backends, a few thousand stanzas and the account.

The balancer and, unless a real one is named, the server run in this process; the backends are
processes of their own, ordinary slixmpp programs.  Each request carries a number, so that every
answer can be told: it must come, and come once.

    embedded server    the requests come from a component of their own, ``client.demo``
    real server        it would deliver for no second component, so the requests leave on the
                       component's own stream: the server loops them back to it, and the
                       answers are recognised before they are routed as news
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from balancer.component import Component
from balancer.config import ConfigError
from balancer.configfile import load
from balancer.connector import LinkState
from balancer.demo_account import Account
from balancer.demo_backends import Backends
from balancer.demo_senders import CLIENT, DemoError, Observer, Sender, through
from balancer.errors import BalancerError
from balancer.loopback import Loopback
from balancer.service import Service

#: Seconds for all backends to start and join.
START_SECONDS: Final = 20.0

#: Seconds for the server to accept us.
SERVER_SECONDS: Final = 5.0

#: Seconds without any answer after which the rest counts as lost.
QUIET_SECONDS = 5.0

#: Seconds to look for second answers when all have come.
LINGER: Final = 0.2

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Options:
    """What can be chosen.

    Args:
        server: ``HOST:PORT`` of a real server's component port; without it one is embedded.
        jid: the component's JID.
        secret: its secret, which the server must know.
        backends: processes behind the balancer.
        messages: chat messages to send; each must be echoed.
        iqs: pings (XEP-0199) to send; each must be answered.
        stay: keep running after the table, for backends of one's own.
        port: where backends connect; 0: any.
    """

    server: str | None = None
    jid: str = "svc.demo"
    secret: str = "demo"
    backends: int = 4
    messages: int = 3000
    iqs: int = 3000
    stay: bool = False
    port: int = 0


async def demo(options: Options) -> int:
    """Show it.

    Returns:
        0 if each request was answered exactly once, else 1.

    Raises:
        ConfigError: the JID, the secret or the server's address is no such thing.
    """
    loop = asyncio.get_running_loop()
    show = _Show(options)
    work = asyncio.create_task(show.run())
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:  # a second one would cut the cleaning up short
            interrupted = True
            work.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, interrupt)
    try:
        await work
    except asyncio.CancelledError:
        if not interrupted:
            raise
    except ConfigError:
        raise
    except BalancerError as error:
        show.console.print(f"The demo failed: {error}", style="red", markup=False)
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
    return show.code


class _Show:
    """One run of the demo; ``code`` is what the process should return if it ends now."""

    def __init__(self, options: Options) -> None:
        self.code = 1
        self.console = Console(highlight=False)
        self._options = options

    async def run(self) -> None:
        options = self._options
        async with AsyncExitStack() as stack:
            host, port = "127.0.0.1", 0
            if options.server is None:
                server = Loopback({options.jid: options.secret, CLIENT: options.secret})
                stack.push_async_callback(server.stop)
                await server.start()
                port = server.port
            else:
                host, port = _address(options.server)
            # A real server's secret is not for the backends, nor for the terminal.
            secret = options.secret if options.server is None else secrets.token_urlsafe(12)
            service = _service(options, host, port, secret)
            component = service.components[options.jid]
            domain = CLIENT if options.server is None else options.jid
            account = Account(options.messages, options.iqs, domain, options.jid)
            component.taps = Observer(account)
            stack.push_async_callback(service.stop)
            await service.start()
            backends = Backends(options.jid, secret, service.listener.port, options.backends)
            await stack.enter_async_context(backends)
            await self._joined(component, backends)
            send = through(component)
            if options.server is None:
                sender = Sender(account)
                stack.callback(sender.close)
                await sender.connect(host, port, options.secret)
                send = sender.send
            else:
                account.intercepts = True
            if backends.names:
                await self._exchange(account, send)
                await self._acknowledged(component)
                self._print(account, backends)
            self.code = 0 if not backends.names or account.is_complete() else 1
            if options.stay:
                await self._stay(service, secret)

    async def _acknowledged(self, component: Component) -> None:
        """Let backends say what they have received, or it would be redelivered as they leave."""
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET_SECONDS):
                while any(each.ledger for each in component.router.pool):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    async def _stay(self, service: Service, secret: str) -> None:
        from balancer.admin import Admin

        admin = Admin(service.config.admin, service)
        await admin.start()
        try:
            url = f"http://127.0.0.1:{admin.port}"
            self.console.print(
                f"Backends can connect to 127.0.0.1:{service.listener.port}"
                f" as {self._options.jid}, secret {secret}.\n"
                f"The status page is {url}/, or in the terminal:\n"
                f"  export XMPP_BALANCER_ADMIN_TOKEN={service.token}\n"
                f"  xmpp-balancer top --url {url}\n"
                "Ctrl-C ends.",
                markup=False,
                soft_wrap=True,
            )
            await service.wait()
        finally:
            await admin.stop()

    async def _joined(self, component: Component, backends: Backends) -> None:
        wanted = len(backends.names)
        deadline = time.monotonic() + START_SECONDS
        patience = time.monotonic() + SERVER_SECONDS
        while len(component.router.pool) < wanted or not component.router.connected:
            if component.connector.state in (LinkState.REFUSED, LinkState.STANDBY):
                raise DemoError(f"the server refuses us: {component.connector.reason}")
            ended = backends.ended()
            if ended is not None:
                raise DemoError(f"a backend ended with {ended}")
            if time.monotonic() > deadline:
                there = len(component.router.pool)
                raise DemoError(f"{there} of {wanted} backends joined in time")
            if not component.router.connected and time.monotonic() > patience:
                where, why = component.connector.address, component.connector.reason
                raise DemoError(f"the server at {where} does not let us in: {why or 'no answer'}")
            await asyncio.sleep(0.02)

    # The exchange and its account.

    async def _exchange(self, account: Account, send: Callable[[bytes], None]) -> None:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        ) as progress:
            bar = progress.add_task("answered", total=account.total)
            account.begin(send)
            while account.missing() and account.silence() < QUIET_SECONDS:
                account.news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await account.news.wait()
                progress.update(bar, completed=account.total - account.missing())
        await asyncio.sleep(LINGER)

    def _print(self, account: Account, backends: Backends) -> None:
        names = backends.names
        table = Table("backend", title=f"{self._options.jid}, {len(names)} backends")
        for heading in ("stanzas", "share", "iq answered", "median ms", "p99 ms"):
            table.add_column(heading, justify="right")
        for name in names + sorted(set(account.owner.values()) - set(names)):
            numbers = [number for number, owner in account.owner.items() if owner == name]
            answered = [n for n in numbers if account.answers[n]]
            iqs = sum(not account.is_message(n) for n in answered)
            trips = sorted(account.trips[n] * 1000 for n in answered)
            table.add_row(
                name,
                f"{len(numbers):,}",
                f"{len(numbers) / max(1, len(account.owner)):.1%}",
                f"{iqs:,}",
                f"{_quantile(trips, 0.5):.1f}",
                f"{_quantile(trips, 0.99):.1f}",
            )
        self.console.print(table)
        self.console.print(account.summary(), style="green" if self.code == 0 else "red")


def _service(options: Options, host: str, port: int, secret: str) -> Service:
    component = {"jid": options.jid, "secret": options.secret, "backend_secret": secret}
    return Service(
        load(
            None,
            environ={},
            overrides={
                "server.host": host,
                "server.port": port,
                "listen.port": options.port,
                "admin.port": 0,
                "admin.token": secrets.token_urlsafe(12),
                "shutdown_timeout": 1.0,
                "component": [component],
            },
        )
    )


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise DemoError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
