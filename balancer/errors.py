"""The exception tree.

    BalancerError
    ├── ConfigError        (balancer.config) the configuration cannot be used
    └── StreamViolation    a peer broke a rule of its stream

A peer's input never raises through the links: the wire queues the answer and
reports the violation as an event.  The exceptions are for our own callers.
"""

from __future__ import annotations


class BalancerError(Exception):
    """Root of everything this program raises on purpose."""


class StreamViolation(BalancerError):
    """A peer broke a rule of its XML stream.

    Args:
        condition: a stream error condition of RFC 6120 §4.9.3, e.g. ``not-well-formed``.
        text: what happened, for a person.
    """

    def __init__(self, condition: str, text: str = "") -> None:
        super().__init__(f"{condition}: {text}" if text else condition)
        self.condition = condition
        self.text = text
