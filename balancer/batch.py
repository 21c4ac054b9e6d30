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
from balancer.stanza import KINDS, MAX_ID, Stanza

_new = tuple.__new__


def from_server(router: Router, stanzas: Iterable[Stanza], now: float) -> list[Decision]:
    """Decide about stanzas for the component; see `Router.from_server`."""
    decisions: list[Decision] = []
    out: dict[Backend, list[Stanza]] = {}  # what is decided, by who gets it
    found, index = router.conversations.at_hand()
    opened = router.delivery.inflight.open
    stopping = router.stopping
    for stanza in stanzas:
        kind, _, _, id, type_, data, clues = stanza
        request = False
        owner: Backend | None = None
        if not clues and type_ != "error" and not stopping:
            if kind != "iq":
                owner = found.get(cast(str, stanza[index]))
            elif id is not None and type_ in ("get", "set") and len(id) <= MAX_ID:
                request = True
                owner = found.get(cast(str, stanza[index]))
        if owner is None or not owner.room or len(data) > SMALL:
            _pour(router, out, decisions)
            decisions += router.from_server(stanza, now)
            continue
        waiting = out.get(owner)
        if waiting is None:
            waiting = out[owner] = []
        if request:
            position = owner.ledger.sent + len(waiting) + 1
            if opened(owner, stanza, now, position) is not None:
                _pour(router, out, decisions)
                decisions += router.from_server(stanza, now)
                continue
        owner.room -= 1
        waiting.append(stanza)
    _pour(router, out, decisions)
    return decisions


def _pour(router: Router, out: dict[Backend, list[Stanza]], decisions: list[Decision]) -> None:
    """Everything that is decided is being written: enter it in the ledgers and count it."""
    kinds: list[str] = []
    for backend, stanzas in out.items():
        if len(stanzas) == 1:  # with hundreds of backends most get but one
            kind, _, _, _, _, data, _ = stanzas[0]
            backend.ledger.extend(stanzas, len(data), kind != "iq")
            kinds.append(kind)
        elif stanzas:
            data = b"".join([stanza[5] for stanza in stanzas])
            these = [stanza[0] for stanza in stanzas]
            backend.ledger.extend(stanzas, len(data), len(these) - these.count("iq"))
            kinds += these
        else:  # a request that had to go elsewhere would have been the first
            continue
        decisions.append(_new(Forward, (backend, data)))
    out.clear()
    if kinds:
        router.counts.accepted += len(kinds)
        for kind in KINDS:
            router.counts.from_server[kind] += kinds.count(kind)


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
        if plain_answer and settle(backend, stanza, now):
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
        router.counts.from_backends["iq"] += plain
        router.counts.to_server["iq"] += plain
        backend.health.answers_badly(False)
        router.counts.accepted += plain
        router.counts.delivered += 2 * plain  # the answers, and with them the requests
    if out:
        decisions.append(Forward(None, b"".join(out)))
    return decisions
