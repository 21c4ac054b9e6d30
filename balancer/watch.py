"""The commands that look at a balancer for longer: `top`, `tap`; and `route`, which asks why."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from balancer.cli import DEFAULT_FILE, app
from balancer.operate import Component, Config, Url, backend_names, calling

Kind = Literal["message", "presence", "iq"]


@app.command()
def top(
    file: Config = DEFAULT_FILE,
    url: Url = None,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 1.0,
    count: Annotated[int, typer.Option(min=0, help="Looks before it ends; 0: until Ctrl-C.")] = 0,
) -> None:
    """Show components and backends live, with stanzas per second."""
    from rich.console import Group
    from rich.live import Live

    from balancer.tables import tables

    with calling(file, url) as remote, Live(auto_refresh=False, screen=count == 0) as live:
        before: dict[str, Any] | None = None
        looks = 0
        try:
            while True:
                there = remote.status()
                live.update(Group(*tables(there, before)), refresh=True)
                before = there
                looks += 1
                if looks == count:
                    break
                time.sleep(interval)
        except KeyboardInterrupt:
            return
    typer.echo()


@app.command()
def route(
    sender: Annotated[str, typer.Argument(metavar="JID", help="Who would send a stanza.")],
    file: Config = DEFAULT_FILE,
    component: Component = None,
    to: Annotated[str | None, typer.Option(help="The address it would be sent to.")] = None,
    thread: Annotated[str | None, typer.Option(help="The thread it would belong to.")] = None,
    url: Url = None,
) -> None:
    """Say where a sender's stanza would go, and why; exit status 1 when nobody could take it."""
    with calling(file, url) as remote:
        jid = component or remote.only_component()
        found = remote.route(jid, sender, to, thread)
    typer.echo(f"{jid}: {found['strategy']} by {found['affinity']}, key {found['conversation']!r}")
    if found["backend"] is None:
        typer.echo(f"no backend yet: {found['why']}")
    else:
        waiting = f", {found['queued']:,} stanzas wait for it" if found["queued"] else ""
        typer.echo(f"{found['backend']} ({found['state']}{waiting}): {found['why']}")
    if not found["possible"]:
        raise typer.Exit(1)


@app.command()
def tap(
    file: Config = DEFAULT_FILE,
    component: Component = None,
    jid: Annotated[
        str | None, typer.Option(help="Sender or recipient: an address, bare JID or domain.")
    ] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only these.")] = None,
    backend: Annotated[
        str | None, typer.Option(help="To or from this one.", autocompletion=backend_names)
    ] = None,
    xpath: Annotated[
        str | None,
        typer.Option(help="XPath 1.0 at the stanza, e.g. \"c:body[contains(., 'hi')]\"."),
    ] = None,
    bodies: Annotated[bool, typer.Option("--bodies", help="Show the stanzas themselves.")] = False,
    count: Annotated[int, typer.Option(min=0, help="Stanzas to show; 0: until Ctrl-C.")] = 0,
    url: Url = None,
) -> None:
    """Follow stanzas as they pass, and what becomes of them.

    It takes the token, since it shows who talks to whom. Exit status 1 when the balancer ends it.
    """
    wanted = {"jid": jid, "kind": kind, "backend": backend, "xpath": xpath}
    with calling(file, url) as remote:
        of = component or remote.only_component()
        shown = 0
        try:
            for seen in remote.tap(of, wanted, bodies=bodies):
                _show(seen)
                shown += 1
                if shown == count:
                    return
        except KeyboardInterrupt:
            return
    typer.echo("the balancer has closed the connection", err=True)
    raise typer.Exit(1)


def _show(seen: Mapping[str, Any]) -> None:
    if seen["missed"]:
        typer.echo(f"… {seen['missed']:,} stanzas were missed here: they came too fast", err=True)
    clock = time.strftime("%H:%M:%S", time.localtime(seen["time"]))
    fraction = f"{seen['time'] % 1:.3f}"[1:]
    what = " ".join(filter(None, (seen["kind"], seen["type"], ", ".join(seen["children"]))))
    arrow = "→" if seen["inward"] else "←"
    where = f"{arrow} {seen['backend'] or '-'}"
    typer.echo(
        f"{clock}{fraction} {where}: {seen['sender']} to {seen['to']}: {what}"
        f" ({seen['size']:,} bytes, {seen['outcome']})"
    )
    if seen["xml"] is not None:
        typer.echo(f"    {seen['xml']}")
