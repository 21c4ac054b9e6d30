"""Prometheus' configuration and rules: promtool takes them, and each alert is what was agreed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.files import DEPLOY, PROMETHEUS, content, needs_prometheus, read, rules
from tests.deploy.names import unknown

ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}
RECORDED = {rule["record"]: rule for rule in rules("recording.yml")}
RUNBOOK = (DEPLOY / "README.md").read_text()

#: How long before an alert fires (None: at once), and whether it wakes somebody.
AGREED = {
    "XmppBalancerDown": ("2m", "page"),
    "XmppBalancerUpstreamDisconnected": ("1m", "page"),
    "XmppBalancerUpstreamConflict": ("1m", "page"),
    "XmppBalancerNoBackendUp": ("30s", "page"),
    "XmppBalancerBackendsBelowCapacity": ("5m", "ticket"),
    "XmppBalancerBackendDown": ("5m", "ticket"),
    "XmppBalancerBackendFlapping": (None, "ticket"),
    "XmppBalancerErrorRatioHigh": ("5m", "page"),
    "XmppBalancerStanzasDropped": (None, "page"),
    "XmppBalancerIqLatencyHigh": ("10m", "page"),
    "XmppBalancerBackendSlow": ("10m", "ticket"),
    "XmppBalancerQueueFilling": ("2m", "ticket"),
    "XmppBalancerQueueTimeouts": ("5m", "ticket"),
    "XmppBalancerRedispatchHigh": ("5m", "ticket"),
    "XmppBalancerRetryBudgetExhausted": ("5m", "ticket"),
    "XmppBalancerIqTableNearlyFull": ("5m", "ticket"),
    "XmppBalancerOrphanReplies": ("15m", "ticket"),
    "XmppBalancerImbalance": ("15m", "ticket"),
    "XmppBalancerEventLoopLag": ("5m", "ticket"),
    "XmppBalancerConfigReloadFailed": ("5m", "ticket"),
    "XmppBalancerInvalidFromBackend": (None, "ticket"),
    "XmppBalancerDrainStuck": ("15m", "ticket"),
    "XmppBalancerMemoryHigh": ("5m", "ticket"),
}


@needs_prometheus
@pytest.mark.parametrize(
    "arguments",
    [
        # Its credentials are files of the container, not of this machine.
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("check", "rules", "rules/recording.yml", "rules/alerts.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_is_content(arguments: tuple[str, ...]) -> None:
    content("promtool", *arguments, folder=PROMETHEUS)


def test_each_alert_is_as_agreed() -> None:
    found = {name: (rule.get("for"), rule["labels"]["severity"]) for name, rule in ALERTS.items()}
    assert found == AGREED


@pytest.mark.parametrize("name", AGREED)
def test_an_alert_says_what_to_do_and_where_there_is_more_of_it(name: str) -> None:
    notes = ALERTS[name]["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert "\n" not in notes["description"]
    assert notes["runbook_url"] == f"deploy/README.md#{name.lower()}"
    assert f"### {name}\n" in RUNBOOK


@pytest.mark.parametrize("name", AGREED)
def test_an_alert_is_seen_firing_and_not_firing(name: str) -> None:
    firing = [
        (test["name"], sample["labels"])
        for test in read(PROMETHEUS / "rules_test.yml")["tests"]
        for question in test["promql_expr_test"]
        for sample in question["exp_samples"]
    ]
    own = [labels for test, labels in firing if test.startswith(name)]
    assert any(f'"{name}"' in labels for labels in own)
    # In the same case stands one that does not fire: nobody who is well is among the expected.
    assert not any('"well' in labels and "alertname" in labels for labels in own)


@pytest.mark.parametrize("rule", [*ALERTS.values(), *RECORDED.values()], ids=[*ALERTS, *RECORDED])
def test_a_rule_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    assert unknown(rule["expr"]) == []
    recorded = {
        word for word in rule["expr"].replace("(", " ").split() if ":xmpp_balancer_" in word
    }
    assert {word.strip("()") for word in recorded} <= set(RECORDED)


def test_every_recorded_ratio_has_an_alert_or_a_reader() -> None:
    asked = " ".join(rule["expr"] for rule in [*ALERTS.values(), *RECORDED.values()])
    for people in ("p50_5m", "p95_5m", "queue_wait_seconds:p99_5m", "forward_duration"):
        asked += " ".join(name for name in RECORDED if people in name)
    assert [name for name in RECORDED if name not in asked] == []
