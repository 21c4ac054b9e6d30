"""What administrators can run from an XMPP client: ad-hoc commands (XEP-0050), forms (XEP-0004).

They are found by service discovery (XEP-0030) on the component's JID at a node of our own, so
that they do not get between people and the backends' commands.  No session is kept: what a second
step needs is in its form.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from lxml import etree

from balancer.component import Component
from balancer.health import Order
from balancer.stanza import ACCEPT_NS, CONTROL_NS, Stanza, error_reply
from balancer.tree import parsed
from balancer.view import component_view
from balancer.words import duration

COMMANDS_NS: Final = "http://jabber.org/protocol/commands"
DATA_NS: Final = "jabber:x:data"
INFO_NS: Final = "http://jabber.org/protocol/disco#info"
ITEMS_NS: Final = "http://jabber.org/protocol/disco#items"

#: Backends in one form: a server takes stanzas of half a megabyte.
MOST: Final = 200

#: The commands by node, as a client lists them.
TITLES: Final = {
    f"{CONTROL_NS}#status": "Status of the balancer",
    f"{CONTROL_NS}#drain": "Drain a backend",
    f"{CONTROL_NS}#ready": "Make a backend ready",
    f"{CONTROL_NS}#maint": "Put a backend into maintenance",
}
_COLUMNS: Final = {
    "backend": "Backend",
    "state": "State",
    "weight": "Weight",
    "sent": "To it",
    "received": "From it",
    "inflight": "In flight",
}
_NOT_FOUND: Final = ("cancel", "item-not-found", "the balancer has no such command")


def administer(component: Component, stanza: Stanza) -> bytes:
    """Do what an administrator asks, and answer.

    Args:
        component: whose backends it is about.
        stanza: an iq to its JID, from one of its administrators, about a node of ours.

    Returns:
        The answer; bytes of one iq.
    """
    payload = parsed(stanza)[0]
    name, node = etree.QName(payload), payload.get("node", "")
    kind = (stanza.type, name.namespace, name.localname)
    if kind == ("get", ITEMS_NS, "query") and node == CONTROL_NS:
        return _result(stanza, _items(component.config.jid))
    if kind == ("get", INFO_NS, "query") and node in (CONTROL_NS, *TITLES):
        return _result(stanza, _info(node))
    if kind == ("set", COMMANDS_NS, "command") and node in TITLES:
        return _run(component, stanza, payload, node)
    return _error(stanza, *_NOT_FOUND)


# Discovery.


def _items(jid: str) -> etree._Element:
    query = etree.Element(f"{{{ITEMS_NS}}}query", nsmap={None: ITEMS_NS}, node=CONTROL_NS)
    for node, title in TITLES.items():
        etree.SubElement(query, f"{{{ITEMS_NS}}}item", jid=jid, node=node, name=title)
    return query


def _info(node: str) -> etree._Element:
    query = etree.Element(f"{{{INFO_NS}}}query", nsmap={None: INFO_NS}, node=node)
    title = TITLES.get(node, "xmpp-balancer")
    kind = "command-node" if node in TITLES else "command-list"
    etree.SubElement(query, f"{{{INFO_NS}}}identity", category="automation", type=kind, name=title)
    for feature in (COMMANDS_NS, DATA_NS):
        etree.SubElement(query, f"{{{INFO_NS}}}feature", var=feature)
    return query


# Commands.


def _run(component: Component, stanza: Stanza, payload: etree._Element, node: str) -> bytes:
    action = payload.get("action", "execute")
    form = payload.find(f"{{{DATA_NS}}}x")
    if action == "cancel" or (form is not None and form.get("type") == "cancel"):
        return _result(stanza, _command(node, "canceled"))
    if action not in ("execute", "complete", "next"):
        return _error(stanza, "modify", "bad-request", f"{action} is no action here")
    what = node.removeprefix(f"{CONTROL_NS}#")
    if what == "status":
        return _result(stanza, _command(node, "completed", _status(component)))
    if form is None:
        return _result(stanza, _command(node, "executing", _which(component, TITLES[node])))
    name = form.findtext(f"{{{DATA_NS}}}field[@var='backend']/{{{DATA_NS}}}value") or ""
    try:
        component.order(name, Order(what))
    except KeyError:
        return _error(stanza, "modify", "bad-request", f"no backend is called {name[:100]!r}")
    said = f"{name} is in state {component.router.state(name)}"
    return _result(stanza, _command(node, "completed", note=said))


def _command(
    node: str, status: str, form: etree._Element | None = None, note: str = ""
) -> etree._Element:
    command = etree.Element(
        f"{{{COMMANDS_NS}}}command",
        {"node": node, "sessionid": node, "status": status},
        nsmap={None: COMMANDS_NS},
    )
    if status == "executing":
        actions = etree.SubElement(command, f"{{{COMMANDS_NS}}}actions", execute="complete")
        etree.SubElement(actions, f"{{{COMMANDS_NS}}}complete")
    if note:
        etree.SubElement(command, f"{{{COMMANDS_NS}}}note", type="info").text = note
    if form is not None:
        command.append(form)
    return command


# Forms.


def _form(kind: str, title: str) -> etree._Element:
    form = etree.Element(f"{{{DATA_NS}}}x", nsmap={None: DATA_NS}, type=kind)
    etree.SubElement(form, f"{{{DATA_NS}}}title").text = title
    return form


def _field(
    parent: etree._Element, name: str, value: str | None = None, **how: str
) -> etree._Element:
    field = etree.SubElement(parent, f"{{{DATA_NS}}}field", var=name, **how)
    if value is not None:
        etree.SubElement(field, f"{{{DATA_NS}}}value").text = value
    return field


def _which(component: Component, title: str) -> etree._Element:
    form = _form("form", title)
    field = _field(form, "backend", type="list-single", label="Backend")
    etree.SubElement(field, f"{{{DATA_NS}}}required")
    for name, _, _ in islice(component.router.known(), MOST):
        state = component.router.state(name)
        option = etree.SubElement(field, f"{{{DATA_NS}}}option", label=f"{name} ({state})")
        etree.SubElement(option, f"{{{DATA_NS}}}value").text = name
    return form


def _status(component: Component) -> etree._Element:
    view = component_view(component)
    more = len(view.backends) - MOST
    beyond = f"; {more} backends more" if more > 0 else ""
    since = duration(view.since)
    form = _form("result", f"{view.jid}: server link {view.state} for {since}{beyond}")
    dropped, answered = sum(view.dropped.values()), sum(view.answered.values())
    totals = {
        "accepted": view.accepted,
        "delivered": view.delivered,
        "redelivered": view.redelivered,
        "answered": answered,
        "held": view.held,
        "dropped": dropped,
    }
    for name, number in totals.items():
        _field(form, name, str(number), type="text-single", label=name.capitalize())
    reported = etree.SubElement(form, f"{{{DATA_NS}}}reported")
    for name, label in _COLUMNS.items():
        _field(reported, name, type="text-single", label=label)
    for each in view.backends[:MOST]:
        item = etree.SubElement(form, f"{{{DATA_NS}}}item")
        state = f"{each.state} {duration(each.since)}"
        row = (each.name, state, each.weight, each.sent, each.received, each.in_flight)
        for name, value in zip(_COLUMNS, row, strict=True):
            _field(item, name, str(value))
    return form


# Answers.


def _result(stanza: Stanza, payload: etree._Element) -> bytes:
    assert stanza.to is not None
    assert stanza.sender is not None
    assert stanza.id is not None
    iq = etree.Element(
        f"{{{ACCEPT_NS}}}iq",
        {"type": "result", "id": stanza.id, "from": stanza.to, "to": stanza.sender},
        nsmap={None: ACCEPT_NS},
    )
    iq.append(payload)
    data: bytes = etree.tostring(iq)
    return data


def _error(stanza: Stanza, type: str, condition: str, text: str) -> bytes:
    answer = error_reply(stanza, type, condition, text)
    assert answer is not None, "only requests come here"
    return answer
