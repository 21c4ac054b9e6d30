"""The commands: what an operator types, and what the exit status means.

    0  done            2  the configuration or the command line is wrong
    1  it went wrong   3  the balancer could not start

Imports that only one command needs are made by that command: `run` must be quick to start.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import structlog
import typer

from balancer.config import Config, ConfigError, LogConfig
from balancer.configfile import CONFIG_VARIABLE, load, redacted
from balancer.errors import BalancerError

if TYPE_CHECKING:
    from balancer.admin import Admin
    from balancer.service import Service

WRONG_CONFIGURATION: Final = 2
CANNOT_START: Final = 3

app = typer.Typer(
    name="xmpp-balancer",
    help="A load balancer for XMPP components (XEP-0114).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

File = Annotated[
    Path,
    typer.Argument(
        envvar=CONFIG_VARIABLE, help="The configuration, a TOML file.", show_default=True
    ),
]
Settings = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. listen.port=5348."),
]
DEFAULT_FILE: Final = Path("balancer.toml")


def main() -> None:
    """Entry point of ``xmpp-balancer``."""
    import balancer.operate  # noqa: F401 - it adds its commands

    app()


@app.command()
def run(file: File = DEFAULT_FILE, settings: Settings = []) -> None:  # noqa: B006 - typer's way
    """Balance until told to stop.

    SIGTERM and SIGINT finish what is in flight first, a second one exits at once. SIGHUP reads
    the configuration again and keeps the old one if the new is wrong.
    """
    config = load_or_exit(file, settings)
    from balancer.logs import configure

    configure(config.log)
    import uvloop

    try:
        uvloop.run(_serve(config, file, settings))
    except KeyboardInterrupt:
        raise typer.Exit(1) from None


@app.command()
def check(file: File = DEFAULT_FILE, settings: Settings = []) -> None:  # noqa: B006
    """Say whether a configuration can be used; exit status 2 if not."""
    config = load_or_exit(file, settings)
    jids = ", ".join(component.jid for component in config.component)
    typer.echo(f"{file}: ok, {len(config.component)} component(s): {jids}")


@app.command("show-config")
def show_config(file: File = DEFAULT_FILE, settings: Settings = []) -> None:  # noqa: B006
    """Print the configuration as it takes effect, every default included, secrets redacted."""
    typer.echo(redacted(load_or_exit(file, settings)), nl=False)


@app.command()
def demo(
    server: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="A real server instead of the embedded one."),
    ] = None,
    jid: Annotated[str, typer.Option(help="The component's JID.")] = "svc.demo",
    secret: Annotated[str, typer.Option(help="The component's secret.")] = "demo",
    backends: Annotated[int, typer.Option(min=1, max=64, help="Backend processes.")] = 4,
    stay: Annotated[bool, typer.Option("--stay", help="Keep running afterwards.")] = False,
) -> None:
    """Balance a few thousand stanzas over some backends and show who did what."""
    import uvloop

    from balancer import demo as demonstration
    from balancer.logs import configure

    configure(LogConfig(level="warning"))
    options = demonstration.Options(
        server=server, jid=jid, secret=secret, backends=backends, stay=stay
    )
    try:
        raise typer.Exit(uvloop.run(demonstration.demo(options)))
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(WRONG_CONFIGURATION) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def load_or_exit(file: Path, settings: Sequence[str]) -> Config:
    """The configuration; a wrong one ends the command with its problems."""
    try:
        return load(file, environ=os.environ, overrides=_overrides(settings))
    except ConfigError as error:
        for problem in error.problems:
            typer.echo(problem, err=True)
        raise typer.Exit(WRONG_CONFIGURATION) from None


def _overrides(settings: Sequence[str]) -> dict[str, str]:
    overrides = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError([f"command line: --set {setting}: must be KEY=VALUE"])
        overrides[key] = value
    return overrides


def _settle_memory() -> None:
    """What is here by now stays; what a stanza needs dies young and in no cycle.

    The collector would look through thousands of waiting stanzas after every 700 new ones.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def _administered(service: Service) -> Admin | None:
    """The status page and the API, if they are wanted."""
    config = service.config.admin
    if not config.enabled:
        return None
    # Half a second of imports: backends are accepted meanwhile.
    module = await asyncio.to_thread(importlib.import_module, "balancer.admin")
    admin: Admin = module.Admin(config, service)
    await admin.start()
    return admin


async def _serve(config: Config, file: Path, settings: Sequence[str]) -> None:
    from balancer.service import Service

    service = Service(config)
    log = structlog.get_logger("cli")
    stop, hangup = asyncio.Event(), asyncio.Event()

    def stop_or_exit() -> None:
        if stop.is_set():
            sys.stderr.write("stopped at once: a second signal\n")
            os._exit(1)
        stop.set()

    async def reload() -> None:
        while True:
            await hangup.wait()
            hangup.clear()
            try:
                new = load(file, environ=os.environ, overrides=_overrides(settings))
            except ConfigError as error:
                service.reload_failed = True
                for problem in error.problems:
                    log.error("the new configuration is wrong, the old one stays", problem=problem)
            else:
                await service.reload(new)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_or_exit)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    try:
        await service.start()
        admin = await _administered(service)
    except BalancerError as error:
        typer.echo(f"xmpp-balancer: {error}", err=True)
        await service.stop()
        raise typer.Exit(CANNOT_START) from None
    _settle_memory()
    stopped = asyncio.create_task(stop.wait())
    ended = asyncio.create_task(service.wait())
    reloading = asyncio.create_task(reload())
    await asyncio.wait({stopped, ended, reloading}, return_when=asyncio.FIRST_COMPLETED)
    await service.stop()
    if admin is not None:
        await admin.stop()
    stopped.cancel()
    reloading.cancel()
    if not stop.is_set():  # a part of the balancer has failed: say what
        for task in (ended, reloading):
            if task.done() and not task.cancelled():
                task.result()
