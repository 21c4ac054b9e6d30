"""The status as tables for a terminal; with the one before it, with rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from balancer.words import duration

#: How a state looks; what is not here is plain.
_STYLES: Final = {
    "up": "green",
    "starting": "yellow",
    "degraded": "yellow",
    "down": "bold red",
    "ejected": "bold red",
}
_COLUMNS: Final = ("weight", "in", "out", "in flight", "unacked", "ping")


def tables(
    there: Mapping[str, Any], before: Mapping[str, Any] | None = None
) -> Iterator[RenderableType]:
    """A table for each component, between lines about its server and its stanzas.

    Args:
        there: the status, as the API gives it.
        before: an earlier one; then stanzas are shown by the second, otherwise since the start.
    """
    then = {each["jid"]: each for each in before["components"]} if before else {}
    seconds = there["uptime"] - before["uptime"] if before else 0.0
    for component in there["components"]:
        yield Text(_headline(component), "bold")
        yield _table(component, then.get(component["jid"]), seconds)
        yield Text(_account(component), "dim")


def _table(component: Mapping[str, Any], before: Mapping[str, Any] | None, seconds: float) -> Table:
    table = Table()
    table.add_column("backend")
    table.add_column("state")
    for column in _COLUMNS:
        rate = before is not None and column in ("in", "out")
        table.add_column(f"{column}/s" if rate else column, justify="right")
    then = {each["name"]: each for each in before["backends"]} if before else {}
    for each in component["backends"]:
        trip = each["round_trip"]
        table.add_row(
            Text(each["name"]),  # not markup, whatever it calls itself
            Text(f"{each['state']} {duration(each['since'])}", _STYLES.get(each["state"], "")),
            str(each["weight"]),
            _traffic("sent", each, then.get(each["name"]), seconds),
            _traffic("received", each, then.get(each["name"]), seconds),
            f"{each['in_flight']:,}",
            f"{each['unacknowledged']:,}/{each['window']:,}",
            "" if trip is None else f"{trip * 1000:.1f} ms",
        )
    return table


def _traffic(
    what: str, now: Mapping[str, Any], before: Mapping[str, Any] | None, seconds: float
) -> str:
    if before is None or seconds <= 0:
        return f"{now[what]:,}" if not seconds else ""
    return f"{max(0, now[what] - before[what]) / seconds:,.0f}"


def _headline(component: Mapping[str, Any]) -> str:
    reason = f" ({component['reason']})" if component["reason"] else ""
    since = duration(component["since"])
    return f"{component['jid']}: server {component['server']} {component['state']} {since}{reason}"


def _account(component: Mapping[str, Any]) -> str:
    answered, dropped = sum(component["answered"].values()), sum(component["dropped"].values())
    return (
        f"{component['accepted']:,} accepted, {component['delivered']:,} delivered,"
        f" {component['redelivered']:,} redelivered, {answered:,} answered by us,"
        f" {component['held']:,} held, {dropped:,} dropped"
    )
