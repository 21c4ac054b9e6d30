"""What the children of a stanza say that routing needs: a `Framer` lets this look into them.

A few children matter (see `clues`), and most stanzas have none of them.  To look into one takes
the parser's handlers over until it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final
from xml.parsers.expat import XMLParserType

from balancer.clues import CHILDREN, DELEGATIONS
from balancer.errors import StreamViolation
from balancer.stanza import CLIENT_NS, NO_CLUES, SEPARATOR

Start = Callable[[str, dict[str, str]], None]
End = Callable[[str], None]

#: Characters that are kept of what a stranger names a session or a thread: it is remembered.
LONGEST: Final = 1024

_FORWARDED: Final = f"{CLIENT_NS}{SEPARATOR}iq"
TOO_DEEP: Final = "a stanza is nested too deeply"


class Looking:
    """Looks into children of top-level elements.

    Args:
        parser: whose handlers are taken over meanwhile.
        start: its handler for start tags otherwise.
        end: its handler for end tags otherwise.
        max_depth: levels that a child may have.

    What was found is in ``clues``, which whoever takes it sets back to `NO_CLUES`.
    """

    def __init__(self, parser: XMLParserType, start: Start, end: End, max_depth: int) -> None:
        self.clues: Mapping[str, str] = NO_CLUES
        self._parser = parser
        self._start = start
        self._end = end
        self._max_depth = max_depth
        self._depth = 0  # below the child
        self._in_delegation = False
        self._text = ""

    def into(self, name: str, attributes: dict[str, str]) -> None:
        """A child has begun that `CHILDREN` knows."""
        for clue in CHILDREN[name]:
            if clue.attribute is not None:
                value = attributes.get(clue.attribute)
                if value is not None and value.startswith(clue.value):
                    self._found(clue.name, _short(value))
            elif clue.name == "thread":
                self._text = ""
                self._parser.CharacterDataHandler = self._thread
                self._take_over(name)
            else:
                self._found(clue.name, clue.value)
                if name in DELEGATIONS:
                    self._take_over(name)

    def _take_over(self, name: str) -> None:
        self._depth = 0
        self._in_delegation = name in DELEGATIONS
        self._parser.StartElementHandler = self._start_within
        self._parser.EndElementHandler = self._end_within

    def _start_within(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth >= self._max_depth:
            raise StreamViolation("policy-violation", TOO_DEEP)
        # XEP-0355 §4.3: <iq><delegation><forwarded><iq from='the user'>
        if self._in_delegation and self._depth == 2 and name == _FORWARDED:
            sender = attributes.get("from")
            if sender is not None:
                self._found("delegated", sender)

    def _end_within(self, name: str) -> None:
        if self._depth:
            self._depth -= 1
            return
        parser = self._parser
        parser.CharacterDataHandler = None
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        self._end(name)  # the child itself

    def _thread(self, text: str) -> None:
        # Called for every piece, and a line is a piece: what is too long is cut, not gathered.
        if len(self._text) < LONGEST:
            self._text += text[:LONGEST]
            self._found("thread", self._text)

    def _found(self, name: str, value: str) -> None:
        self.clues = {**self.clues, name: value}


def _short(value: str) -> str:
    """A value that may be kept: one that is too long is known by its digest."""
    return value if len(value) <= LONGEST else blake2b(value.encode()).hexdigest()
