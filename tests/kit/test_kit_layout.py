"""The kit's own ladder: imports point down, and what stands side by side knows nothing of it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

KIT = Path(__file__).parents[2] / "backends"

#: By floor; a package stands for its modules, which may import each other.
LADDER = [
    {"xml", "control", "jobs", "outbox", "reconnecting", "tracing", "acknowledging"},
    {"errors"},
    {"handlers", "answers"},
    {"dispatching", "connection"},
    {"backend"},
    {"together", "metrics", "options", "asgi", "commands"},
    {"examples"},
]
FLOOR = {name: floor for floor, names in enumerate(LADDER) for name in names}
#: Side by side on purpose: the command line, for whoever has one; answers are made of XML.
SIDEWAYS = {("asgi", "options"), ("options", "metrics")}
#: No part of the kit's ladder: slixmpp as its documentation has it.
ALONE = "echo"


def place(path: Path) -> str:
    return path.relative_to(KIT).with_suffix("").parts[0]


FILES = [path for path in sorted(KIT.rglob("*.py")) if path != KIT / "__init__.py"]


def imported(path: Path) -> set[str]:
    """The parts of the kit that a file imports; ``from backends import …`` is the top of it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            parts = node.module.split(".")
            if parts[0] == "backends":
                found.add(parts[1] if len(parts) > 1 else "backend")
    return found - {place(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(KIT)))
def test_imports_point_down(path: Path) -> None:
    here = place(path)
    if here == ALONE:
        assert imported(path) == set()
        return
    above = {
        name
        for name in imported(path)
        if FLOOR[name] >= FLOOR[here] and (here, name) not in SIDEWAYS
    }
    assert above == set()
