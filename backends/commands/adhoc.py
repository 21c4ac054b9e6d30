"""The same commands as ad-hoc commands (XEP-0050), with forms (XEP-0004) made of their signatures.

One form asks for everything, so a session has two steps, and nothing of it need be kept: the form
that comes back has all there is to know.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from slixmpp import JID

from backends.commands.catalogue import Command
from backends.commands.files import File
from backends.commands.parameters import CommandError, Parameter
from backends.xml import clean

COMMANDS: Final = "http://jabber.org/protocol/commands"
_FORM: Final = "{jabber:x:data}"

#: Field types (XEP-0004 §3.3).
_TYPES: Final[dict[type, str]] = {bool: "boolean", JID: "jid-single"}


def is_submitted(command: Element) -> bool:
    """Whether a filled-in form is there."""
    form = command.find(f"{_FORM}x")
    return form is not None and form.get("type") == "submit"


def ask(command: Command, sessionid: str | None = None) -> Element:
    """The first answer: a form that asks for the parameters (XEP-0050 §2.2)."""
    answer = reply(command.name, "executing", sessionid)
    actions = SubElement(answer, f"{{{COMMANDS}}}actions", {"execute": "complete"})
    SubElement(actions, f"{{{COMMANDS}}}complete")
    form = SubElement(answer, f"{_FORM}x", {"type": "form"})
    SubElement(form, f"{_FORM}title").text = command.name
    if command.doc:
        SubElement(form, f"{_FORM}instructions").text = clean(command.doc)
    for parameter in command.parameters:
        form.append(field(parameter))
    return answer


def field(parameter: Parameter) -> Element:
    """One parameter as a field."""
    kind = "list-single" if parameter.choices else _TYPES.get(parameter.kind, "text-single")
    if parameter.many:
        kind = "text-multi"
    label = f"{parameter.name} (a URL)" if parameter.kind is File else parameter.name
    element = Element(f"{_FORM}field", {"var": parameter.name, "type": kind, "label": label})
    if parameter.required:
        SubElement(element, f"{_FORM}required")
    if parameter.default not in (None, ""):
        text = str(parameter.default)
        text = text.lower() if parameter.kind is bool else text
        SubElement(element, f"{_FORM}value").text = clean(text)
    for choice in parameter.choices:
        option = SubElement(element, f"{_FORM}option", {"label": choice})
        SubElement(option, f"{_FORM}value").text = choice
    return element


def values(command: Command, form: Element) -> tuple[list[Any], dict[str, Any]]:
    """What a filled-in form says, for the function.

    Raises:
        CommandError: something is missing, or not what it should be.
    """
    given = {
        each.get("var", ""): [value.text or "" for value in each.iterfind(f"{_FORM}value")]
        for each in form.iterfind(f"{_FORM}x/{_FORM}field")
    }
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for parameter in command.parameters:
        words = [word for word in given.get(parameter.name, ()) if word]
        if parameter.many:
            positional += [parameter.value(word) for word in words]
            continue
        if words:
            value = parameter.value(words[0])
        elif parameter.required:
            raise CommandError(f"{parameter.name} is missing")
        else:
            value = parameter.default
        if parameter.keyword:
            keywords[parameter.name] = value
        else:
            positional.append(value)
    return positional, keywords


def done(name: str, text: str, sessionid: str | None, *, failed: bool = False) -> Element:
    """The last answer: a note, and the same in a form for clients that show only those."""
    answer = reply(name, "completed", sessionid)
    note = SubElement(answer, f"{{{COMMANDS}}}note", {"type": "error" if failed else "info"})
    note.text = clean(text)
    form = SubElement(answer, f"{_FORM}x", {"type": "result"})
    result = SubElement(form, f"{_FORM}field", {"var": "result", "type": "text-multi"})
    for line in text.splitlines():
        SubElement(result, f"{_FORM}value").text = clean(line)
    return answer


def reply(name: str, status: str, sessionid: str | None = None) -> Element:
    """A ``<command/>`` that answers one."""
    return Element(
        f"{{{COMMANDS}}}command",
        {"node": name, "status": status, "sessionid": sessionid or secrets.token_hex(8)},
    )


def items(commands: Iterable[Command], jid: str) -> Element:
    """The list of commands (XEP-0050 §2.1)."""
    query = Element("{http://jabber.org/protocol/disco#items}query", {"node": COMMANDS})
    for command in commands:
        attributes = {"jid": jid, "node": command.name, "name": command.summary or command.name}
        SubElement(query, "{http://jabber.org/protocol/disco#items}item", attributes)
    return query
