"""Stanza errors: their conditions, and which of them an exception becomes.

The types are those of RFC 6120 §8.3.3.  The numbers are the HTTP statuses that stand for the
conditions, in the sense of XEP-0086's old codes.
"""

from __future__ import annotations

from typing import Final, NamedTuple, cast, get_args

from slixmpp import Message, Presence
from slixmpp.exceptions import IqError, IqTimeout, XMPPError
from slixmpp.stanza.rootstanza import RootStanza
from slixmpp.types import ErrorConditions, ErrorTypes

from backends.xml import clean

CONDITION_NS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"


class Condition(NamedTuple):
    """What a condition means: the type that goes with it, and the HTTP status."""

    type: ErrorTypes
    status: int


CONDITIONS: Final[dict[str, Condition]] = {
    "bad-request": Condition("modify", 400),
    "conflict": Condition("cancel", 409),
    "feature-not-implemented": Condition("cancel", 501),
    "forbidden": Condition("auth", 403),
    "gone": Condition("cancel", 410),
    "internal-server-error": Condition("cancel", 500),
    "item-not-found": Condition("cancel", 404),
    "jid-malformed": Condition("modify", 520),
    "not-acceptable": Condition("modify", 406),
    "not-allowed": Condition("cancel", 420),
    "not-authorized": Condition("auth", 401),
    "payment-required": Condition("auth", 402),  # RFC 3920 §9.3.3; RFC 6120 has it no more
    "recipient-unavailable": Condition("wait", 521),
    "redirect": Condition("modify", 302),
    "registration-required": Condition("auth", 421),
    "remote-server-not-found": Condition("cancel", 502),
    "remote-server-timeout": Condition("wait", 504),
    "resource-constraint": Condition("wait", 412),
    "service-unavailable": Condition("cancel", 503),
    "subscription-required": Condition("auth", 422),
    "undefined-condition": Condition("cancel", 423),
    "unexpected-request": Condition("wait", 424),
}

TYPES: Final[frozenset[str]] = frozenset(get_args(ErrorTypes))


class StanzaError(XMPPError):
    """Raised by a handler: the sender gets this error.  Raised by a request: it got this error.

    Args:
        condition: one of RFC 6120 §8.3.3, such as ``item-not-found``.
        text: for a person.
        type: one of ``auth``, ``cancel``, ``continue``, ``modify``, ``wait``; else the RFC's.

    Raises:
        ValueError: there is no such condition or type.
    """

    def __init__(self, condition: str, text: str = "", type: str | None = None) -> None:
        if type is not None and type not in TYPES:
            raise ValueError(f"{type!r} is no type of error")
        if type is None and condition in CONDITIONS:
            type = CONDITIONS[condition].type
        super().__init__(cast(ErrorConditions, condition), text, cast(ErrorTypes, type))

    def __str__(self) -> str:
        return f"{self.condition}: {self.text}" if self.text else str(self.condition)

    @property
    def status(self) -> int:
        """The HTTP status that stands for the condition; 400 or 500 if none does."""
        known = CONDITIONS.get(self.condition)
        if known is not None:
            return known.status
        return 500 if self.etype == "wait" else 400


def error_of(exception: BaseException) -> StanzaError:
    """What the sender of a stanza is told when its handler raised this.

    Only what was meant to be told is: the text of any other exception might say too much.
    """
    match exception:
        case StanzaError():
            return exception
        case IqTimeout() | TimeoutError():
            return StanzaError("remote-server-timeout", "something it needs did not answer")
        case IqError():
            return StanzaError("internal-server-error", "something it needs answered with an error")
        case XMPPError():
            return StanzaError(exception.condition, exception.text, exception.etype)
        case NotImplementedError():
            return StanzaError("feature-not-implemented")
        case PermissionError():
            return StanzaError("forbidden")
    return StanzaError("internal-server-error")


def is_meant(exception: BaseException) -> bool:
    """Whether a handler raised this to say so, and not by a defect."""
    return isinstance(exception, XMPPError) and not isinstance(exception, IqError | IqTimeout)


def received(stanza: RootStanza) -> StanzaError:
    """The error that a stanza of type ``error`` carries."""
    error = stanza["error"]
    condition = error["condition"] or "undefined-condition"
    type_ = error["type"] if error["type"] in TYPES else None
    return StanzaError(condition, error["text"] or "", type_)


def may_be_answered(stanza: RootStanza) -> bool:
    """Whether an error may be sent for it: never for an error or a result (RFC 6120 §8.3.1)."""
    return stanza["type"] not in ("error", "result")


def error_reply(stanza: RootStanza, error: StanzaError) -> RootStanza:
    """The stanza of type ``error`` that says so to the sender of another (RFC 6120 §8.3.2)."""
    reply = cast(RootStanza, stanza.reply())
    if isinstance(stanza, Message | Presence):
        reply["id"] = stanza["id"]
        if not stanza["id"]:
            del reply["id"]
    details = reply["error"]
    details["condition"] = error.condition
    details["type"] = error.etype
    if error.text:
        details["text"] = clean(error.text)
    return reply
