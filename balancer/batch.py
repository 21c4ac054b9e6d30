"""All that one read has brought, decided at once: what `Router` would decide, at less cost.

Most stanzas need no thought: their conversation is known, their backend has room, and what goes
to one destination can leave as one.  This file has those cases and no others; everything else is
handed to the router, stanza by stanza.  It may know the insides of the floor it belongs to: nearly
all that the balancer costs per stanza beyond parsing is spent in these two loops.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from balancer.decisions import Decision, Forward, Refuse
from balancer.ledger import SMALL
from balancer.pool import Backend
from balancer.router import Router
from balancer.stanza import Stanza


def from_server(router: Router, stanzas: Iterable[Stanza], now: float) -> list[Decision]:
    """Decide about stanzas for the component; see `Router.from_server`."""
    decisions: list[Decision] = []
    out: dict[Backend, list[bytes]] = {}  # what is decided, by who gets it
    found, index = router.conversations.at_hand()
    opened = router.delivery.inflight.open
    stopping = router.stopping
    plain = 0
    for stanza in stanzas:
        kind, _, _, id, type_, data, clues = stanza
        request = False
        owner: Backend | None = None
        if not clues and type_ != "error" and not stopping:
            if kind != "iq":
                owner = found.get(cast(str, stanza[index]))
            elif id is not None and type_ in ("get", "set"):
                request = True
                owner = found.get(cast(str, stanza[index]))
        size = len(data)
        if owner is None or not owner.room or size > SMALL:
            _pour(out, decisions)
            decisions += router.from_server(stanza, now)
            continue
        ledger = owner.ledger
        if request:
            if opened(owner, stanza, now, ledger.sent + 1) is not None:
                _pour(out, decisions)
                decisions += router.from_server(stanza, now)
                continue
        else:
            ledger.plain += 1
        owner.room -= 1
        ledger.entries.append(stanza)
        ledger.sent += 1
        ledger.sent_size += size
        plain += 1
        waiting = out.get(owner)
        if waiting is None:
            out[owner] = [data]
        else:
            waiting.append(data)
    router.counts.accepted += plain
    _pour(out, decisions)
    return decisions


def from_backend(
    router: Router, backend: Backend, stanzas: Iterable[Stanza], now: float
) -> list[Decision]:
    """Decide about stanzas of a backend; see `Router.from_backend`."""
    decisions: list[Decision] = []
    out: list[bytes] = []
    settle = router.delivery.inflight.settle
    connected = router.connected
    plain = 0
    for stanza in stanzas:
        kind, _, _, _, type_, data, clues = stanza
        plain_answer = kind == "iq" and type_ == "result" and connected and not clues
        if plain_answer and settle(backend, stanza):
            plain += 1
            out.append(data)
            continue
        if out:
            decisions.append(Forward(None, b"".join(out)))
            out = []
        verdict = router.from_backend(backend, stanza, now)
        decisions += verdict
        if verdict and type(verdict[0]) is Refuse:
            break  # what an offender says after its offence is not heard
    if plain:
        backend.received += plain
        backend.health.answers_badly(False)
        router.counts.accepted += plain
        router.counts.delivered += 2 * plain  # the answers, and with them the requests
    if out:
        decisions.append(Forward(None, b"".join(out)))
    return decisions


def _pour(out: dict[Backend, list[bytes]], decisions: list[Decision]) -> None:
    for backend, data in out.items():
        decisions.append(Forward(backend, b"".join(data)))
    out.clear()
