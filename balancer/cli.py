"""The commands: what an operator types, and what the exit status means.

    0  done            2  the configuration or the command line is wrong
    1  it went wrong   3  the balancer could not start

Imports that only one command needs are made by that command: `run` must be quick to start.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from balancer.config import Config, ConfigError, ListenConfig, LogConfig
from balancer.configfile import CONFIG_VARIABLE, load, redacted
from balancer.errors import BalancerError

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

    from balancer.process import run_process

    try:
        uvloop.run(run_process(config, lambda: load_again(file, settings)))
    except BalancerError as error:
        typer.echo(f"xmpp-balancer: {error}", err=True)
        raise typer.Exit(CANNOT_START) from None
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
    backends: Annotated[int, typer.Option(min=0, max=64, help="Backend processes.")] = 4,
    stay: Annotated[bool, typer.Option("--stay", help="Keep running afterwards.")] = False,
    port: Annotated[
        int | None, typer.Option(help="Where backends connect: 5348 with --stay, else any port.")
    ] = None,
) -> None:
    """Balance a few thousand stanzas over some backends and show who did what."""
    import uvloop

    from balancer import demo as demonstration
    from balancer.logs import configure

    configure(LogConfig(level="warning"))
    options = demonstration.Options(
        server=server,
        jid=jid,
        secret=secret,
        backends=backends,
        stay=stay,
        port=port if port is not None else ListenConfig().port if stay else 0,
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
        return load_again(file, settings)
    except ConfigError as error:
        for problem in error.problems:
            typer.echo(problem, err=True)
        raise typer.Exit(WRONG_CONFIGURATION) from None


def load_again(file: Path, settings: Sequence[str]) -> Config:
    """The configuration, as it is now.

    Raises:
        ConfigError: it cannot be used.
    """
    return load(file, environ=os.environ, overrides=_overrides(settings))


def _overrides(settings: Sequence[str]) -> dict[str, str]:
    overrides = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError([f"command line: --set {setting}: must be KEY=VALUE"])
        overrides[key] = value
    return overrides
