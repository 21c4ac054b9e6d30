"""The files under test, read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
GRAFANA = ROOT / "grafana"
PROMETHEUS = DEPLOY / "prometheus"

Test = TypeVar("Test", bound=Callable[..., object])


def needs_prometheus(test: Test) -> Test:
    """For tests that need Debian's package prometheus; promtool is in it."""
    missing = not (shutil.which("promtool") and shutil.which("prometheus"))
    skip = pytest.mark.skipif(missing, reason="prometheus is not installed")
    marked: Test = pytest.mark.prometheus(skip(test))
    return marked


def content(*command: str | Path, folder: Path = ROOT) -> str:
    """What a tool says; it must be content."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def read(path: Path) -> Any:
    """A YAML file."""
    return yaml.safe_load(path.read_text())


def rules(name: str) -> list[dict[str, Any]]:
    """All rules of one of Prometheus' rule files."""
    groups = read(PROMETHEUS / "rules" / name)["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    loaded: dict[str, Any] = json.loads((GRAFANA / "dashboard.json").read_text())
    return loaded


class Query(NamedTuple):
    """One question that the dashboard asks."""

    where: str
    expr: str
    instant: bool


def queries() -> Iterator[Query]:
    """Everything that the dashboard asks Prometheus, but for what its variables can be."""
    board = dashboard()
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            where = f"{panel['id']} {panel['title']} {target['refId']}"
            yield Query(where, target["expr"], target["instant"])
    for annotation in board["annotations"]["list"]:
        if "expr" in annotation:
            yield Query(annotation["name"], annotation["expr"], False)


#: What Grafana puts in place of its variables when everything is chosen.
_CHOSEN = {
    "job": "xmpp-balancer",
    "instance": ".+",
    "component": ".+",
    "backend": ".*",
    "__rate_interval": "1m",
    "__range": "1h",
    "__interval": "15s",
}


def filled(expr: str) -> str:
    """An expression as Grafana would send it."""
    return re.sub(r"\$(\w+)", lambda found: _CHOSEN[found[1]], expr)
