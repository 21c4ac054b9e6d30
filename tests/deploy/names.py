"""What /metrics has, by name: whatever dashboard, rules and alerts ask for must be among it."""

from __future__ import annotations

import re
from pathlib import Path

_CONTRACT = (Path(__file__).parent.parent / "metrics.txt").read_text()
#: prometheus_client's own, of the process.
_PROCESS = {
    "process_resident_memory_bytes": "",
    "process_start_time_seconds": "",
    "process_cpu_seconds_total": "",
    "process_open_fds": "",
    "process_max_fds": "",
    "python_gc_collections_total": "generation",
    "python_gc_objects_collected_total": "generation",
}
#: What Prometheus adds to everything it scrapes.
_TARGET = frozenset({"job", "instance"})


def _contract() -> dict[str, frozenset[str]]:
    series = {name: frozenset(labels.split()) for name, labels in _PROCESS.items()}
    for name, kind, labels in re.findall(r"^(\w+) (\w+)(?:\{(.*?)\})?:", _CONTRACT, re.MULTILINE):
        own = frozenset(labels.split(",")) - {""}
        if kind == "histogram":
            series[f"{name}_bucket"] = own | {"le"}
        else:
            series[name] = own
    return series


#: The labels of each series.
SERIES = {name: labels | _TARGET for name, labels in _contract().items()}


def metrics(expression: str) -> set[str]:
    """The balancer's and its process' metrics that an expression asks for; not recorded rules."""
    words = re.findall(r"[A-Za-z_:][\w:]*", re.sub(r'"[^"]*"', "", expression))
    return {word for word in words if re.fullmatch(r"(xmpp_balancer|process|python)_\w+", word)}


def unknown(expression: str) -> list[str]:
    """The metrics of an expression that there are not, and labels chosen by that they have not."""
    found = sorted(metrics(expression) - set(SERIES))
    for name, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        found += [f"{name}{{{label}}}" for label in sorted(labels - SERIES.get(name, labels))]
    return found
