"""The contract with dashboards and alerts: names, types, labels and help texts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from balancer.decisions import Refuse
from balancer.health import Order
from balancer.metrics import AT_ONCE, Exporter, families
from balancer.metrics.delivery import errors
from balancer.pool import Backend
from balancer.router import Router
from balancer.service import Service
from tests.stage import JID, configured
from tests.test_router import message, reply, request, tag

CONTRACT = Path(__file__).parent / "metrics.txt"
ME = f"x@{JID}"


def with_backends(*names: str, **settings: str) -> Service:
    service = configured(1, overrides=settings)
    router = service.components[JID].router
    router.server_up(0)
    for name in names:
        router.join(Backend(name), 0)
    return service


def router(service: Service) -> Router:
    return service.components[JID].router


def scraped(service: Service) -> str:
    return asyncio.run(Exporter(service).scrape(""))[1].decode()


def line(family: Metric) -> str:
    labels = {label for sample in family.samples for label in sample.labels} - {"le"}
    names = f"{{{','.join(sorted(labels))}}}" if labels else ""
    suffix = "_total" if family.type == "counter" else ""
    return f"{family.name}{suffix} {family.type}{names}: {family.documentation}"


def value(service: Service, name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in text_string_to_metric_families(scraped(service))
        for sample in family.samples
        if sample.name == f"xmpp_balancer_{name}" and labels.items() <= sample.labels.items()
    ]
    assert found, name
    return sum(found)


def test_the_contract() -> None:
    made = [line(family) for family in families(with_backends("a")) if family is not None]
    assert sorted(made) == CONTRACT.read_text().splitlines()


def test_every_name_is_there_before_anything_has_happened() -> None:
    before = scraped(configured(1))
    for each in CONTRACT.read_text().splitlines():
        assert f"# HELP {each.split()[0]} " in before


@pytest.mark.parametrize("openmetrics", [True, False])
def test_the_process_is_measured_too(openmetrics: bool) -> None:
    accept = "application/openmetrics-text; version=1.0.0" if openmetrics else "*/*"
    content_type, text = asyncio.run(Exporter(with_backends("a")).scrape(accept))
    assert content_type.startswith("application/openmetrics" if openmetrics else "text/plain")
    for name in ("process_cpu_seconds", "process_resident_memory_bytes", "python_gc_objects"):
        assert name in text.decode()


def test_traffic_is_counted_by_kind_and_backend() -> None:
    service = with_backends("a")
    made = router(service)
    a = made.pool.get("a")
    assert a is not None
    made.from_server(message(), 1)
    made.from_server(request("1"), 1)
    made.from_backend(a, reply(request("1")), 1.3)
    made.from_backend(a, tag("message", "chat", "9", ME, "u@example.org"), 2)
    assert value(service, "stanzas_received_total", side="upstream", stanza="message") == 1
    assert value(service, "stanzas_received_total", side="backend") == 2
    assert value(service, "stanzas_sent_total", backend="a", stanza="iq") == 1
    assert value(service, "upstream_stanzas_sent_total", stanza="presence") == 0
    assert value(service, "upstream_stanzas_sent_total") == 2
    assert value(service, "iq_duration_seconds_bucket", le="0.25", backend="a") == 0
    assert value(service, "iq_duration_seconds_bucket", le="0.5", backend="a") == 1
    assert value(service, "iq_requests_inflight", backend="a") == 0


def test_histograms_can_be_added_up() -> None:
    service = with_backends("a", "b", **{"admin.per_backend_histograms": "false"})
    made = router(service)
    for name in "ab":
        made.from_server(request(name), 1)
    for backend in made.pool:
        for each in list(backend.ledger.entries):
            made.from_backend(backend, reply(each), 2)
    assert value(service, "iq_duration_seconds_count", backend="") == 2
    assert value(service, "backend_health_check_duration_seconds_count", backend="") == 0


def test_a_sum_does_not_go_back_when_a_backend_is_forgotten() -> None:
    service = with_backends("a", **{"admin.per_backend_histograms": "false"})
    made = router(service)
    (a,) = made.pool
    made.from_server(request("1"), 1)
    made.from_backend(a, reply(request("1")), 2)
    made.crew.leave(a, 3, orderly=True)
    made.tick(1000)
    assert "a" not in made.crew.records
    assert value(service, "iq_duration_seconds_count") == 1


def test_a_shorter_timeout_makes_no_time_negative() -> None:
    service = with_backends("a")
    made = router(service)
    (a,) = made.pool
    made.from_server(request("1"), 1)
    made.delivery.inflight.timeout = 1
    made.from_backend(a, reply(request("1")), 2)
    assert value(service, "iq_duration_seconds_sum") >= 0


def test_a_state_that_does_not_show_is_not_entered() -> None:
    service = with_backends("a", "b")
    made = router(service)
    made.orders.order("a", Order.MAINT, 1)
    for now in range(2, 60):
        made.tick(now)  # its checks fail meanwhile
    assert value(service, "backend_state_changes_total", backend="a", state="maint") == 1
    assert value(service, "backend_state_changes_total", backend="b", state="down") == 1


def test_an_answer_is_counted_when_it_is_written() -> None:
    service = with_backends()
    made = router(service)
    made.server_down(0)
    made.from_server(request("1"), 0)
    made.tick(100)
    assert value(service, "stanza_errors_total", reason="queue_timeout") == 0
    made.server_up(101)
    assert value(service, "stanza_errors_total", reason="queue_timeout") == 1
    assert not made.missing()


def test_who_has_gone_is_down_until_it_is_forgotten() -> None:
    service = with_backends("a", "b")
    made = router(service)
    a, b = made.pool
    made.crew.leave(a, 1)
    made.crew.leave(b, 1, orderly=True)
    assert value(service, "backend_state", backend="a", state="down") == 1
    assert value(service, "backends", state="down") == 2
    assert value(service, "backend_state_changes_total", backend="a", state="down") == 1
    assert value(service, "backend_state_changes_total", backend="b", state="down") == 0
    made.tick(100)
    assert "b" not in made.crew.records
    assert value(service, "backends", state="down") == 1


def test_errors_are_those_that_we_made() -> None:
    counts = router(with_backends("a")).counts
    counts.answered.update({"control": 3, "queue_full": 2})
    counts.refused.update({"invalid-from": 1, "policy-violation": 4})
    counts.server_lost = 5
    assert errors(counts) == {
        "queue_full": 2,
        "invalid-from": 1,
        "too_large": 4,
        "server_lost": 5,
    }


def test_a_refused_backend_is_an_error_of_invalid_from() -> None:
    service = with_backends("a")
    component = service.components[JID]
    (a,) = component.router.pool
    refused = component.router.from_backend(a, tag("message", None, None, "x@y.example", ME), 0)
    assert isinstance(refused[0], Refuse)
    component.carrier.carry_out(refused)
    assert value(service, "stanza_errors_total", reason="invalid_from") == 1


def test_a_scrape_lets_stanzas_through() -> None:
    service = with_backends(*map(str, range(AT_ONCE * 3)))
    turns = 0

    async def scraping() -> None:
        nonlocal turns
        scrape = asyncio.create_task(Exporter(service).scrape(""))
        while not scrape.done():
            turns += 1
            if turns == 2:  # somebody leaves in the middle of it
                router(service).crew.leave(next(iter(router(service).pool)), 1)
            await asyncio.sleep(0)
        assert scrape.result()

    asyncio.run(scraping())
    assert turns >= 3 * 4
