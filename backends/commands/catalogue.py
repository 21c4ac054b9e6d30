"""The commands there are, and what help says of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from slixmpp import JID

from backends.commands.files import File
from backends.commands.parameters import CALLER, CommandError, Parameter, bind, parameters_of

#: Methods of this name register themselves.
PREFIX: Final = "handle_"


class Command(NamedTuple):
    """A function that can be called by chat."""

    name: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    takes_caller: bool
    doc: str

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return self.doc.partition("\n")[0]

    @property
    def usage(self) -> str:
        """How it is called."""
        return " ".join([self.name, *(each.usage for each in self.parameters)])

    async def call(self, caller: JID, words: Sequence[str], files: Sequence[File]) -> Any:
        """Call it.

        Raises:
            CommandError: the arguments do not fit.
        """
        call = bind(self.parameters, words, files)
        return await self.run(caller, call.positional, call.keywords)

    async def run(self, caller: JID, positional: Sequence[Any], keywords: dict[str, Any]) -> Any:
        """Call it with values."""
        given = {CALLER: caller} if self.takes_caller else {}
        result = self.function(*positional, **keywords, **given)
        return await result if inspect.isawaitable(result) else result


class Catalogue:
    """Commands by name; they may come and go while they are used."""

    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}

    def __repr__(self) -> str:
        return f"<Catalogue {' '.join(self._commands)}>"

    def __iter__(self) -> Iterator[Command]:
        """The commands by name, in the order of the alphabet."""
        return iter(sorted(self._commands.values(), key=lambda command: command.name))

    def __contains__(self, name: object) -> bool:
        return name in self._commands

    def add(self, function: Callable[..., Any], name: str | None = None) -> Command:
        """Add a command, or replace the one of that name.

        Args:
            function: what it calls, ``async`` or not.
            name: its name; else the function's, without ``handle_``.

        Raises:
            TypeError: a parameter's annotation is nothing that words can be turned into, or the
                parameter `CALLER` is not keyword-only.
        """
        name = name or function.__name__.removeprefix(PREFIX)
        caller = inspect.signature(function).parameters.get(CALLER)
        if caller is not None and caller.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise TypeError(f"{name}: write `*, {CALLER}`, it is no word of the command")
        command = Command(
            name,
            function,
            parameters_of(function),
            caller is not None,
            inspect.getdoc(function) or "",
        )
        self._commands[name] = command
        return command

    def add_methods(self, owner: object) -> None:
        """Add all methods called ``handle_…``."""
        for name in dir(type(owner)):
            if name.startswith(PREFIX):
                self.add(getattr(owner, name))

    def remove(self, name: str) -> None:
        """Take a command away.

        Raises:
            KeyError: there is none of that name.
        """
        del self._commands[name]

    def find(self, name: str) -> Command:
        """The command of that name.

        Raises:
            CommandError: there is none.
        """
        found = self._commands.get(name)
        if found is None:
            raise CommandError(f"there is no command {name!r}; try help")
        return found


def overview(commands: Iterable[Command]) -> str:
    """What ``help`` says."""
    lines = [f"{each.usage} - {each.summary}" if each.doc else each.usage for each in commands]
    return "\n".join(lines) or "there is nothing you may call"


def details(command: Command) -> str:
    """What ``help COMMAND`` says."""
    return "\n".join(part for part in (command.usage, command.doc) if part)
