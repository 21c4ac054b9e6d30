"""The ladder: imports point down, wire and policy stay apart, floors 0 and 1 are pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Modules by floor and column.  A module may import those of lower floors and of its own column.
LADDER: list[dict[str, frozenset[str]]] = [
    {"values": frozenset({"errors", "stanza", "words"})},
    {
        "wire": frozenset({"clues", "elements", "looking", "framing", "stream"}),
        "policy": frozenset(
            {
                *("counts", "health", "histogram", "ledger", "pool", "records", "strategy"),
                *("affinity", "retries", "hold", "inflight", "asked", "decisions", "upward"),
                *("delivery", "conversation", "moves", "crew", "checkup", "orders", "router"),
                "batch",
            }
        ),
    },
    {"config": frozenset({"config"}), "links": frozenset({"link", "connector", "listener"})},
    {
        "service": frozenset(
            {
                *("component", "service", "configfile", "acknowledging", "carrier", "rules"),
                *("deciding", "pressure", "tree", "tap"),
            }
        )
    },
    {
        "show": frozenset(
            {"view", "metrics", "access", "api", "probes", "page", "web", "admin", "adhoc"}
        )
    },
    {
        "edge": frozenset(
            {
                *("cli", "process", "notify", "logs", "__main__"),
                *("operate", "watch", "tables", "remote"),
                *("demo", "demo_account", "demo_backends", "demo_senders", "loopback"),
            }
        )
    },
]
#: Tighter than its floor, or (links and configuration) sideways on purpose.
CONFIG_MAY_IMPORT = frozenset({"errors"})
LINKS_MAY_ALSO_IMPORT = frozenset({"config"})
IMPURE = frozenset({"asyncio", "socket", "time", "random", "prometheus_client", "structlog"})

PLACE = {
    module: (floor, column)
    for floor, columns in enumerate(LADDER)
    for column, modules in columns.items()
    for module in modules
}
MODULES = {
    path.relative_to(ROOT / "balancer").with_suffix("").parts[0]: path
    for path in sorted((ROOT / "balancer").rglob("*.py"))
    if path != ROOT / "balancer" / "__init__.py"
}


def imports(source: str) -> Iterator[str]:
    """The full names of everything that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(source: str) -> set[str]:
    """The modules of this program that a file imports."""
    return {name.split(".")[1] for name in imports(source) if name.startswith("balancer.")}


def allowed(importer: str, imported: str) -> bool:
    if imported not in PLACE:  # a name of the package itself, such as __version__
        return imported not in MODULES
    if importer == "config":
        return imported in CONFIG_MAY_IMPORT
    floor, column = PLACE[importer]
    below, other = PLACE[imported]
    sideways = column == "links" and imported in LINKS_MAY_ALSO_IMPORT
    return below < floor or (below, other) == (floor, column) or sideways


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_its_place(module: str) -> None:
    assert module in PLACE, "put new modules in the LADDER"


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    if module in PLACE:
        found = own(MODULES[module].read_text(encoding="utf-8"))
        assert {name for name in found if not allowed(module, name)} == set()


@pytest.mark.parametrize("module", [name for name in MODULES if PLACE.get(name, (9,))[0] < 2])
def test_floors_0_and_1_are_pure(module: str) -> None:
    found = {name.split(".")[0] for name in imports(MODULES[module].read_text(encoding="utf-8"))}
    assert found & IMPURE == set()


@pytest.mark.parametrize(
    ("importer", "imported", "fine"),
    [
        ("router", "stanza", True),
        ("router", "pool", True),
        ("router", "framing", False),
        ("stream", "pool", False),
        ("stanza", "framing", False),
        ("link", "stream", True),
        ("link", "config", True),
        ("config", "link", False),
        ("config", "stanza", False),
        ("component", "cli", False),
        ("cli", "__version__", True),
    ],
)
def test_the_ladder_itself(importer: str, imported: str, fine: bool) -> None:
    assert allowed(importer, imported) is fine


def test_imports_are_found_wherever_they_stand() -> None:
    source = (
        "import time\ndef f():\n  from balancer.link import Link\n  from balancer import pool\n"
    )
    assert set(imports(source)) == {"time", "balancer.link.Link", "balancer.pool"}
    assert own(source) == {"link", "pool"}


def test_the_kit_for_backends_does_without_the_balancer() -> None:
    files = sorted((ROOT / "backends").rglob("*.py"))
    assert files
    for path in files:
        roots = {name.split(".")[0] for name in imports(path.read_text(encoding="utf-8"))}
        assert "balancer" not in roots, path.name
