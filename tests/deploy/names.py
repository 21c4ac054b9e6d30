"""What /metrics has, by name: whatever dashboard, rules and alerts ask for must be among it."""

from __future__ import annotations

import re

_PREFIX = "xmpp_balancer_"


def _words(text: str) -> list[str]:
    return text.split()


_PLAIN = _words("""
build_info
upstream_connected upstream_connect_attempts_total upstream_connect_failures_total
upstream_disconnects_total upstream_last_connect_timestamp_seconds
upstream_stanzas_sent_total upstream_received_bytes_total upstream_sent_bytes_total
backend_state backend_weight backends backend_state_changes_total backend_disconnects_total
backend_health_checks_total backend_health_check_failures_total
backend_ejections_total backend_ejections_suppressed_total
stanzas_received_total stanzas_sent_total received_bytes_total sent_bytes_total
stanza_errors_total stanzas_dropped_total stanzas_redispatched_total
retries_total retry_budget_exhausted_total
iq_requests_inflight iq_table_entries iq_table_limit iq_table_evictions_total
iq_orphan_replies_total
queue_stanzas queue_bytes queue_limit_bytes
backpressure_pauses_total backpressure_paused
no_backend_available_total strategy_fallbacks_total
config_last_reload_successful config_last_reload_success_timestamp_seconds
draining
""")
_HISTOGRAMS = _words("""
backend_health_check_duration_seconds iq_duration_seconds queue_wait_seconds
forward_duration_seconds event_loop_lag_seconds
""")
#: prometheus_client's own.
_PROCESS = _words("""
process_virtual_memory_bytes process_resident_memory_bytes process_start_time_seconds
process_cpu_seconds_total process_open_fds process_max_fds
python_gc_objects_collected_total python_gc_objects_uncollectable_total
python_gc_collections_total python_info
""")

SERIES = frozenset(
    [_PREFIX + name for name in _PLAIN]
    + [f"{_PREFIX}{name}_{part}" for name in _HISTOGRAMS for part in ("bucket", "sum", "count")]
    + _PROCESS
)


def metrics(expression: str) -> set[str]:
    """The balancer's and its process' metrics that an expression asks for; not recorded rules."""
    words = re.findall(r"[A-Za-z_:][\w:]*", re.sub(r'"[^"]*"', "", expression))
    return {word for word in words if re.fullmatch(r"(xmpp_balancer|process|python)_\w+", word)}
