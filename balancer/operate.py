"""The commands for a balancer that runs: look at it, and steer its backends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from balancer.cli import DEFAULT_FILE, File, Settings, app, load_or_exit
from balancer.configfile import CONFIG_VARIABLE

if TYPE_CHECKING:
    from rich.table import Table

    from balancer.remote import Remote

Url = Annotated[
    str | None, typer.Option(help="The API's address, if not where the configuration says.")
]
Name = Annotated[str, typer.Argument(help="A backend.")]
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
    with _remote(file, settings, url) as remote:
        there = remote.status()
    if as_json:
        typer.echo(json.dumps(there, indent=2))
    else:
        from rich.console import Console

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
    with _remote(file, [], url) as remote:
        jid = remote.find(name, component)
        _say(remote.order(jid, name, "drain"))
        end = time.monotonic() + wait
        while wait and _is_there(remote, jid, name):
            if time.monotonic() >= end:
                typer.echo(f"{name} is still there after {wait:g} s", err=True)
                raise typer.Exit(1)
            time.sleep(0.1)


@app.command()
def ready(
    name: Name, file: Config = DEFAULT_FILE, component: Component = None, url: Url = None
) -> None:
    """Let a backend take conversations again."""
    with _remote(file, [], url) as remote:
        _say(remote.order(remote.find(name, component), name, "ready"))


@app.command()
def maint(
    name: Name, file: Config = DEFAULT_FILE, component: Component = None, url: Url = None
) -> None:
    """Move a backend's conversations to the others; it stays connected and gets nothing."""
    with _remote(file, [], url) as remote:
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
    with _remote(file, [], url) as remote:
        _say(remote.weigh(remote.find(name, component), name, weight))


def tables(there: dict[str, Any]) -> Iterator[Table]:
    """The status as tables, one for each component."""
    from rich.table import Table

    columns = ("backend", "state", "weight", "sent", "received", "in flight", "unacked", "ping")
    for component in there["components"]:
        table = Table(title=_headline(component), title_justify="left", caption_justify="left")
        table.caption = _account(component)
        for column in columns:
            table.add_column(column, justify="left" if column in ("backend", "state") else "right")
        for each in component["backends"]:
            trip = each["round_trip"]
            table.add_row(
                each["name"],
                f"{each['state']} {_duration(each['since'])}",
                str(each["weight"]),
                f"{each['sent']:,}",
                f"{each['received']:,}",
                f"{each['in_flight']:,}",
                f"{each['unacknowledged']:,}/{each['window']:,}",
                "" if trip is None else f"{trip * 1000:.1f} ms",
            )
        yield table


def _headline(component: dict[str, Any]) -> str:
    reason = f" ({component['reason']})" if component["reason"] else ""
    since = _duration(component["since"])
    return f"{component['jid']}: server {component['server']} {component['state']} {since}{reason}"


def _account(component: dict[str, Any]) -> str:
    answered, dropped = sum(component["answered"].values()), sum(component["dropped"].values())
    return (
        f"{component['accepted']:,} accepted, {component['delivered']:,} delivered,"
        f" {component['redelivered']:,} redelivered, {answered:,} answered by us,"
        f" {component['held']:,} held, {dropped:,} dropped"
    )


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _works(component: dict[str, Any]) -> bool:
    states = {each["state"] for each in component["backends"]}
    return component["state"] == "up" and bool(states & {"up", "starting", "degraded"})


def _is_there(remote: Remote, jid: str, name: str) -> bool:
    return any(
        each["name"] == name and each["connected"]
        for component in remote.status()["components"]
        if component["jid"] == jid
        for each in component["backends"]
    )


def _say(ordered: dict[str, Any]) -> None:
    typer.echo(f"{ordered['component']}: {ordered['backend']} is in state {ordered['state']}")


@contextmanager
def _remote(file: Path, settings: list[str], url: str | None) -> Iterator[Remote]:
    from balancer.remote import Remote, RemoteError

    try:
        yield Remote(load_or_exit(file, settings), url)
    except RemoteError as error:
        typer.echo(f"xmpp-balancer: {error}", err=True)
        raise typer.Exit(1) from None
