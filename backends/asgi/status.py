"""HTTP statuses as stanza errors, and back (`StanzaError.status`)."""

from __future__ import annotations

from typing import Final

from backends.errors import CONDITIONS

#: Statuses that came after the table of conditions, and what is nearest to them.
_NEAREST: Final = {
    **dict.fromkeys((300, 301, 303, 304, 305, 307, 308), "redirect"),
    405: "not-allowed",  # Method Not Allowed
    408: "remote-server-timeout",  # Request Timeout
    413: "not-acceptable",  # Content Too Large
    415: "not-acceptable",  # Unsupported Media Type
    429: "resource-constraint",  # Too Many Requests: RFC 6120 §8.3.3.18, of type wait
}

_CONDITION: Final = _NEAREST | {known.status: name for name, known in CONDITIONS.items()}


def is_error(status: int) -> bool:
    """Whether a response of that status becomes a stanza error."""
    return status >= 300


def condition(status: int) -> str:
    """The condition of RFC 6120 §8.3.3 for a status of 300 and above."""
    known = _CONDITION.get(status)
    if known is not None:
        return known
    return "bad-request" if 400 <= status < 500 else "internal-server-error"
