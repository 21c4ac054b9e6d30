"""The dashboard: everything agreed is on it, legible, and asks Prometheus what can be asked."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.files import (
    DEPLOY,
    GRAFANA,
    content,
    dashboard,
    filled,
    needs_prometheus,
    queries,
    read,
)
from tests.deploy.names import unknown

BOARD = dashboard()
ROWS = [panel for panel in BOARD["panels"] if panel["type"] == "row"]
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = list(queries())


def test_it_has_what_was_agreed() -> None:
    assert BOARD["uid"] == "xmpp-balancer"
    variables = {each["name"]: each["multi"] for each in BOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance", "component", "backend"]
    assert variables["component"]
    assert variables["backend"]
    notes = {each["name"] for each in BOARD["annotations"]["list"]}
    assert notes >= {"Backend state changes", "Reloads", "Upstream reconnects"}
    assert len(ROWS) == 7
    numbers = [panel["id"] for panel in BOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    assert set(range(1, 33)) <= set(numbers)
    first_row = [panel for panel in PANELS if panel["gridPos"]["y"] < ROWS[1]["gridPos"]["y"]]
    assert {panel["type"] for panel in first_row} == {"stat"}
    assert len(first_row) >= 8


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_is_legible(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    if panel["type"] == "timeseries":
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["options"]["legend"]["showLegend"]
    if panel["type"] != "table":
        assert all(target["legendFormat"] for target in panel["targets"])


def test_no_panel_lies_on_another() -> None:
    for one, other in combinations(BOARD["panels"], 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, (one["title"], other["title"])
        assert a["x"] + a["w"] <= 24


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_a_query_asks_for_what_there_is_where_it_was_chosen(query: Any) -> None:
    assert unknown(query.expr) == []
    selectors = re.findall(r"\{([^}]*)\}", query.expr)
    assert selectors
    for selector in selectors:
        assert 'job=~"$job"' in selector
        assert 'instance=~"$instance"' in selector


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_rates_are_taken_over_what_grafana_says(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        for window in re.findall(r"(?:rate|increase)\([^][]*\[([^]]*)\]", target["expr"]):
            # "Dropped in an hour" is no rate.
            assert window == "$__rate_interval" or panel["id"] == 106


def test_everything_asks_the_chosen_data_source() -> None:
    for panel in PANELS:
        for holder in (panel, *panel["targets"]):
            assert holder["datasource"]["uid"] == "${datasource}"


@needs_prometheus
def test_every_query_is_promql(tmp_path: Path) -> None:
    # JSON is YAML as well. promtool parses the expressions of rules, so they are made ones.
    rules = [{"record": f"q{n}", "expr": filled(query.expr)} for n, query in enumerate(QUERIES)]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(QUERIES)} rules found" in content("promtool", "check", "rules", file)


def test_grafana_finds_it_where_compose_puts_it() -> None:
    provider = read(GRAFANA / "provisioning/dashboards/xmpp-balancer.yml")["providers"][0]
    source = read(GRAFANA / "provisioning/datasources/prometheus.yml")["datasources"][0]
    services = read(DEPLOY / "compose.yaml")["services"]
    mounted = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounted["../grafana/dashboard.json"].startswith(provider["options"]["path"])
    assert mounted["../grafana/provisioning"] == "/etc/grafana/provisioning"
    assert source["url"].removeprefix("http://").partition(":")[0] in services
    scraped = read(DEPLOY / "prometheus/prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped
