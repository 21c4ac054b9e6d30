"""What the configuration means to policy, and who may come in."""

from __future__ import annotations

import random

from balancer.config import ComponentConfig, HealthConfig
from balancer.decisions import Rules
from balancer.health import HealthRules
from balancer.strategy import Strategy, strategy
from balancer.stream import Credential


def picking(config: ComponentConfig) -> Strategy:
    """The strategy of a component, a new one."""
    return strategy(config.strategy, random.random)


def rules(config: ComponentConfig, health: HealthConfig) -> Rules:
    """The rules of a component."""
    return Rules(
        jid=config.jid,
        affinity=config.affinity,
        spill=config.when_full == "spill",
        queue_size=config.queue_size,
        queue_bytes=config.queue_bytes,
        queue_timeout=config.queue_timeout,
        iq_timeout=config.iq_timeout,
        affinity_entries=config.affinity_entries,
        affinity_ttl=config.affinity_ttl,
        max_unacked=config.max_unacked,
        max_unacked_bytes=config.max_unacked_bytes,
        redeliver=frozenset(config.redeliver),
        admins=frozenset(config.admins),
        health=HealthRules(**health.model_dump()),
    )


def credentials(config: ComponentConfig) -> tuple[Credential, ...]:
    """The secrets that a component's backends may use; those with a name come first."""
    named = [Credential(each.name, each.secret.get_secret_value()) for each in config.backend]
    common = config.backend_secret
    if common is not None:
        named.append(Credential(None, common.get_secret_value()))
    return tuple(named)


def weight(config: ComponentConfig, credential: str | None) -> int:
    """What a backend weighs that came in with the secret of that name."""
    weights = {each.name: each.weight for each in config.backend}
    return weights.get(credential or "", config.weight)
