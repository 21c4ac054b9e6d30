"""Which handlers a stanza has: by kind, by the namespace of an iq, by XPath.

handlers = Handlers()

@handlers.message
async def hear(message): ...              # every message but errors

@handlers.iq("urn:example:sum")
async def add(iq): ...                    # requests whose payload is in that namespace

@handlers.filter("message/{urn:xmpp:receipts}request")
async def receipt(message): ...           # whatever matches, besides its other handlers
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar, overload
from xml.etree.ElementTree import Element

from slixmpp.stanza.rootstanza import RootStanza

#: What a handler may return: nothing, a text, a payload, or a whole stanza (see `answers`).
Handler = Callable[[Any], Awaitable[object]]
H = TypeVar("H", bound=Handler)

REQUESTS: Final = frozenset({"get", "set"})


class Rule(NamedTuple):
    """A handler and what it is for.  A filter only watches: it need not answer."""

    name: str
    handler: Handler
    matches: Callable[[RootStanza], bool]
    watches: bool = False


class Handlers:
    """The handlers of a backend; several backends may share one, so it knows none of them.

    Args:
        namespace: the stream's, which names without one in an XPath expression are in.
    """

    def __init__(self, namespace: str = "jabber:component:accept") -> None:
        self._namespace = namespace
        self._rules: list[Rule] = []
        self._by_namespace: dict[str, Rule] = {}
        self._any_iq: Rule | None = None

    def __repr__(self) -> str:
        return f"<Handlers {' '.join(rule.name for rule in self)}>"

    def __iter__(self) -> Any:
        others = [self._any_iq] if self._any_iq else []
        return iter([*self._rules, *self._by_namespace.values(), *others])

    @property
    def namespaces(self) -> frozenset[str]:
        """The namespaces whose requests are answered, for service discovery (XEP-0030)."""
        return frozenset(self._by_namespace)

    def message(self, handler: H) -> H:
        """Handle messages of every type but ``error``."""
        return self._add(handler, lambda stanza: _is(stanza, "message"))

    def presence(self, handler: H) -> H:
        """Handle presence of every type but ``error``."""
        return self._add(handler, lambda stanza: _is(stanza, "presence"))

    @overload
    def iq(self, namespace: H) -> H: ...
    @overload
    def iq(self, namespace: str | None = None) -> Callable[[H], H]: ...
    def iq(self, namespace: Any = None) -> Any:
        """Handle requests: iqs of type ``get`` and ``set``.

        Args:
            namespace: that of the payload; without one, all requests that nobody else answers.

        Raises:
            ValueError: that namespace has a handler; a request is answered once.
        """
        if callable(namespace):
            return self.iq()(namespace)

        def decorate(handler: H) -> H:
            rule = Rule(_name(handler), handler, lambda stanza: True)
            if namespace is None:
                if self._any_iq is not None:
                    raise ValueError(f"{self._any_iq.name} handles all other requests already")
                self._any_iq = rule
            elif namespace in self._by_namespace:
                raise ValueError(f"{namespace} has a handler: {self._by_namespace[namespace].name}")
            else:
                self._by_namespace[namespace] = rule
            return handler

        return decorate

    def filter(self, xpath: str, prefixes: Mapping[str, str] | None = None) -> Callable[[H], H]:
        """Handle whatever matches, besides its other handlers.

        Args:
            xpath: as ElementTree understands it, beginning with the stanza itself:
                ``message/{urn:xmpp:receipts}request`` or ``iq[@type='set']/q:query``.
            prefixes: namespaces for prefixes; a name without one is in the stream's.

        Raises:
            SyntaxError: it is no such expression.
        """
        names = {"": self._namespace, **(prefixes or {})}
        try:
            Element("test").find(xpath, names)
        except (SyntaxError, TypeError) as error:  # ElementTree's way to say so of some
            raise SyntaxError(f"{xpath!r} is no XPath expression") from error

        def matches(stanza: RootStanza) -> bool:
            parent = Element("parent")
            parent.append(stanza.xml)
            return parent.find(xpath, names) is not None

        def decorate(handler: H) -> H:
            return self._add(handler, matches, watches=True)

        return decorate

    def remove(self, handler: Handler) -> None:
        """Handle nothing more by that handler.

        Raises:
            KeyError: it handles nothing.
        """
        if not any(rule.handler is handler for rule in self):
            raise KeyError(_name(handler))
        self._rules = [rule for rule in self._rules if rule.handler is not handler]
        self._by_namespace = {
            namespace: rule
            for namespace, rule in self._by_namespace.items()
            if rule.handler is not handler
        }
        if self._any_iq is not None and self._any_iq.handler is handler:
            self._any_iq = None

    def of(self, stanza: RootStanza, answered_elsewhere: bool = False) -> list[Rule]:
        """The handlers a stanza has, in the order in which they were added.

        Args:
            stanza: one that came in.
            answered_elsewhere: a request that has an answer already; only filters see it.
        """
        found = [
            rule
            for rule in self._rules
            if not (rule.watches is False and answered_elsewhere) and rule.matches(stanza)
        ]
        if answered_elsewhere or not is_request(stanza):
            return found
        rule = self._by_namespace.get(payload_namespace(stanza)) or self._any_iq
        return [*found, rule] if rule is not None else found

    def _add(
        self, handler: H, matches: Callable[[RootStanza], bool], *, watches: bool = False
    ) -> H:
        self._rules.append(Rule(_name(handler), handler, matches, watches))
        return handler


def payload_namespace(stanza: RootStanza) -> str:
    """The namespace of the first child, or the empty string."""
    for child in stanza.xml:
        return child.tag.partition("}")[0].removeprefix("{") if child.tag[0] == "{" else ""
    return ""


def is_request(stanza: RootStanza) -> bool:
    """Whether it is an iq that must be answered (RFC 6120 §8.2.3)."""
    return stanza.name == "iq" and stanza.xml.get("type") in REQUESTS


def _is(stanza: RootStanza, kind: str) -> bool:
    return stanza.name == kind and stanza.xml.get("type") != "error"


def _name(handler: Handler) -> str:
    return getattr(handler, "__qualname__", repr(handler))
