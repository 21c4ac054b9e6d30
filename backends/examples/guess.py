"""A chat bot with a state for each conversation: it has a number, and you guess it.

python -m backends.examples.guess --jid svc.demo/guess-1 --secret demo

Start two, with different names.  The state is in the memory of the one that has your conversation,
and the balancer's ``affinity = "sender"``, the default, sends you to that one every time.  With
``affinity = "none"`` and ``strategy = "round-robin"`` you play two games at once, and understand
neither.  When the one that has yours is stopped, another begins a new game: what must outlive a
backend belongs into a database.
"""

from __future__ import annotations

import random

from slixmpp import Message

from backends import Backend
from backends.options import parser, settings, start

#: Games at once; the oldest is forgotten.
LIMIT = 10_000


class Game:
    """One number to be guessed."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.guesses = 0

    def guess(self, text: str) -> tuple[str, bool]:
        """What to say to a guess, and whether it was right."""
        if not text.isdecimal():
            return "I have a number from 1 to 100. Guess!", False
        self.guesses += 1
        if int(text) == self.number:
            return f"Right, with {self.guesses} guesses.", True
        return ("It is less." if int(text) > self.number else "It is more."), False


def play(backend: Backend) -> Backend:
    """Give a backend its handler."""
    games: dict[str, Game] = {}

    @backend.message
    async def guess(message: Message) -> str | None:
        if not message["body"]:
            return None
        player = message["from"].bare
        game = games.setdefault(player, Game(random.randint(1, 100)))
        answer, right = game.guess(message["body"].strip())
        if right:
            del games[player]
        elif len(games) > LIMIT:
            del games[next(iter(games))]
        return f"{answer} ({backend.name})"

    return backend


if __name__ == "__main__":
    given, options = settings(parser("python -m backends.examples.guess", "A guessing game."))
    start(play(Backend(**options)), given)
