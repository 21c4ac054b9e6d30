"""The commands for a balancer that runs: look at it, and steer its backends."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import SecretStr

from balancer.cli import DEFAULT_FILE, File, Settings, app, load_or_exit
from balancer.config import AdminConfig
from balancer.configfile import CONFIG_VARIABLE, PREFIX

if TYPE_CHECKING:
    from balancer.remote import Remote


def backend_names(incomplete: str) -> list[str]:
    """The names that a shell can complete; none when no balancer answers."""
    from balancer.configfile import load
    from balancer.errors import BalancerError
    from balancer.remote import Remote

    file = Path(os.environ.get(CONFIG_VARIABLE, DEFAULT_FILE))
    try:
        with Remote(load(file, environ=os.environ, overrides={}).admin) as remote:
            there = remote.status()
    except BalancerError:
        return []
    names = {each["name"] for component in there["components"] for each in component["backends"]}
    return sorted(name for name in names if name.startswith(incomplete))


Url = Annotated[
    str | None, typer.Option(help="The API's address, if not where the configuration says.")
]
Name = Annotated[str, typer.Argument(help="A backend.", autocompletion=backend_names)]
Component = Annotated[str | None, typer.Option(help="Its component, if several have the name.")]
Config = Annotated[
    Path,
    typer.Option(
        "--config", "-c", envvar=CONFIG_VARIABLE, help="The configuration the balancer runs with."
    ),
]


@app.command()
def status(
    file: File = DEFAULT_FILE,
    settings: Settings = [],  # noqa: B006 - typer's way
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="As the API gives it.")] = False,
) -> None:
    """Show components and backends; exit status 1 when one has no server or no backend."""
    with calling(file, url, settings) as remote:
        there = remote.status()
    if as_json:
        typer.echo(json.dumps(there, indent=2))
    else:
        from rich.console import Console

        from balancer.tables import tables

        console = Console()
        for table in tables(there):
            console.print(table)
    if not all(_works(component) for component in there["components"]):
        raise typer.Exit(1)


@app.command()
def drain(
    name: Name,
    file: Config = DEFAULT_FILE,
    component: Component = None,
    url: Url = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait until it has left.")] = 0.0,
) -> None:
    """Give a backend no new conversations, let it finish, and end its stream."""
    with calling(file, url) as remote:
        jid = remote.find(name, component)
        before = _connection(remote, jid, name)
        _say(remote.order(jid, name, "drain"))
        end = time.monotonic() + wait
        while wait and before is not None:
            if _connection(remote, jid, name) != before:  # it may be back already
                typer.echo(f"{name} has left")
                return
            if time.monotonic() >= end:
                typer.echo(f"{name} is still there after {wait:g} s", err=True)
                raise typer.Exit(1)
            time.sleep(0.1)


@app.command()
def ready(
    name: Name, file: Config = DEFAULT_FILE, component: Component = None, url: Url = None
) -> None:
    """Let a backend take conversations again."""
    with calling(file, url) as remote:
        _say(remote.order(remote.find(name, component), name, "ready"))


@app.command()
def maint(
    name: Name, file: Config = DEFAULT_FILE, component: Component = None, url: Url = None
) -> None:
    """Move a backend's conversations to the others; it stays connected and gets nothing."""
    with calling(file, url) as remote:
        _say(remote.order(remote.find(name, component), name, "maint"))


@app.command()
def weight(
    name: Name,
    weight: Annotated[int, typer.Argument(min=1, max=256)],
    file: Config = DEFAULT_FILE,
    component: Component = None,
    url: Url = None,
) -> None:
    """Set a backend's share relative to the others', until the next reload."""
    with calling(file, url) as remote:
        _say(remote.weigh(remote.find(name, component), name, weight))


def _works(component: dict[str, Any]) -> bool:
    states = {each["state"] for each in component["backends"]}
    return component["state"] == "up" and bool(states & {"up", "starting", "degraded"})


def _connection(remote: Remote, jid: str, name: str) -> int | None:
    return next(
        (
            each["connection"]
            for component in remote.status()["components"]
            if component["jid"] == jid
            for each in component["backends"]
            if each["name"] == name
        ),
        None,
    )


def _say(ordered: dict[str, Any]) -> None:
    typer.echo(
        f"{ordered['component']}: {ordered['backend']} is in state {ordered['state']},"
        f" weight {ordered['weight']}"
    )


@contextmanager
def calling(file: Path, url: str | None, settings: Sequence[str] = ()) -> Iterator[Remote]:
    """A running balancer to talk to; what goes wrong ends the command with exit status 1.

    With an address, and no configuration here, only the token is needed: from the environment.
    """
    from balancer.remote import Remote, RemoteError

    try:
        if url is not None and not file.exists():
            token = os.environ.get(f"{PREFIX}ADMIN_TOKEN")
            admin = AdminConfig(token=SecretStr(token) if token else None)
        else:
            admin = load_or_exit(file, settings).admin
        with Remote(admin, url) as remote:
            yield remote
    except RemoteError as error:
        typer.echo(f"xmpp-balancer: {error}", err=True)
        raise typer.Exit(1) from None
