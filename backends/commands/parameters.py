"""What a command takes, read from its signature, and the words for it as values."""

from __future__ import annotations

import inspect
import shlex
import types
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, Union, get_args, get_origin

from slixmpp import JID, InvalidJID

from backends.commands.files import File

_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off"})

#: The parameter of this name is who calls.
CALLER: Final = "caller"


class CommandError(Exception):
    """A command cannot be carried out; the text is for who gave it."""


class Parameter(NamedTuple):
    """One parameter of a command.

    ``kind`` is ``str``, ``int``, ``float``, ``bool``, `JID` or `File`; ``many`` takes all that
    are left.  ``default`` is what a form is filled with.
    """

    name: str
    kind: type
    required: bool
    many: bool = False
    keyword: bool = False
    choices: tuple[str, ...] = ()
    default: Any = None

    @property
    def usage(self) -> str:
        """As it is shown in help."""
        name = "|".join(self.choices) or self.name
        name = f"{self.name}={name.upper()}" if self.keyword else name.upper()
        name = f"{name} ..." if self.many else name
        return name if self.required else f"[{name}]"

    def value(self, word: str) -> Any:
        """A word as what is wanted here.

        Raises:
            CommandError: it is none.
        """
        if self.choices and word not in self.choices:
            raise CommandError(f"{self.name} is one of {', '.join(self.choices)}, not {word!r}")
        if self.kind is bool:
            if word.lower() not in _YES | _NO:
                raise CommandError(f"{self.name} is yes or no, not {word!r}")
            return word.lower() in _YES
        try:
            return File(word) if self.kind is File else self.kind(word)
        except (ValueError, InvalidJID):
            raise CommandError(f"{self.name} is {_NAMES[self.kind]}, not {word!r}") from None


_NAMES: Final[dict[type, str]] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "yes or no",
    JID: "an address",
    File: "a file",
}


class Call(NamedTuple):
    """What a function is called with."""

    positional: list[Any]
    keywords: dict[str, Any]


def parameters_of(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The parameters of a function, without ``self`` (of a bound method) and without `CALLER`.

    Raises:
        TypeError: one has an annotation that words cannot be turned into.
    """
    found = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if parameter.name == CALLER or parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        many = parameter.kind is inspect.Parameter.VAR_POSITIONAL
        kind, choices = _kind(parameter)
        missing = parameter.default is inspect.Parameter.empty
        found.append(
            Parameter(
                parameter.name,
                kind,
                required=missing and not many,
                many=many,
                keyword=parameter.kind is inspect.Parameter.KEYWORD_ONLY,
                choices=choices,
                default=None if missing else parameter.default,
            )
        )
    return tuple(found)


def _kind(parameter: inspect.Parameter) -> tuple[type, tuple[str, ...]]:
    hint = parameter.annotation
    if get_origin(hint) in (Union, types.UnionType):  # `int | None`: it may be left out
        rest = [each for each in get_args(hint) if each is not types.NoneType]
        hint = rest[0] if len(rest) == 1 else hint
    if get_origin(hint) is Literal:
        return str, tuple(str(each) for each in get_args(hint))
    if hint in (inspect.Parameter.empty, Any):
        return str, ()
    if hint not in _NAMES:
        raise TypeError(f"{parameter.name}: {hint!r} is nothing that a word can be turned into")
    return hint, ()


def split(text: str) -> list[str]:
    """A line as words, quoted as in a shell.

    Raises:
        CommandError: a quotation does not end.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise CommandError(str(error).lower()) from None


def bind(parameters: Sequence[Parameter], words: Sequence[str], files: Sequence[File]) -> Call:
    """What to call a function with.

    Args:
        parameters: what it takes.
        words: in its order; ``name=value`` for those that are keyword-only.
        files: for the parameters that are files, in their order.

    Raises:
        CommandError: there are too few, too many, or wrong ones.
    """
    named = {each.name: each for each in parameters if each.keyword}
    call = Call([], {})
    left: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in named:
            call.keywords[name] = named[name].value(value)
        else:
            left.append(word)
    attached = list(files)
    for parameter in parameters:
        source: list[Any] = attached if parameter.kind is File and attached else left
        if parameter.keyword:
            if parameter.name not in call.keywords and parameter.kind is File and attached:
                call.keywords[parameter.name] = attached.pop(0)
            elif parameter.name not in call.keywords and parameter.required:
                raise CommandError(f"{parameter.name}=... is missing")
        elif parameter.many:
            call.positional.extend(_value(parameter, each) for each in source)
            source.clear()
        elif source:
            call.positional.append(_value(parameter, source.pop(0)))
        elif parameter.required:
            raise CommandError(f"{parameter.name} is missing")
        else:
            call.positional.append(parameter.default)
    if left:
        raise CommandError(f"too many arguments: {' '.join(left)}")
    if attached:
        raise CommandError("it takes no file" if not _takes_files(parameters) else "too many files")
    return call


def _takes_files(parameters: Sequence[Parameter]) -> bool:
    return any(each.kind is File for each in parameters)


def _value(parameter: Parameter, given: Any) -> Any:
    return parameter.value(given) if isinstance(given, str) else given
