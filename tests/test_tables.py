"""The status for a terminal."""

from __future__ import annotations

import io

from rich.console import Console, Group

from balancer.pool import Backend
from balancer.tables import tables
from balancer.view import status
from tests.stage import JID, configured


def test_a_name_is_a_name_whatever_it_looks_like() -> None:
    service = configured(1)
    service.components[JID].router.join(Backend("x[/red]"), 0)
    there = status(service).model_dump()
    with io.StringIO() as shown:
        Console(file=shown, width=120).print(Group(*tables(there), *tables(there, there)))
        assert shown.getvalue().count("x[/red]") == 2
