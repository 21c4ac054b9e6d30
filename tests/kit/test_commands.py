from __future__ import annotations

import base64
from typing import Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from slixmpp import JID

from backends.commands import CommandError, File, adhoc
from backends.commands.catalogue import Catalogue, details, overview
from backends.commands.daemon import describe, said
from backends.commands.files import files_of
from backends.commands.parameters import bind, parameters_of, split
from backends.commands.permissions import Permissions
from tests.kit.stanzas import stanza

ALICE = JID("alice@example.org/phone")


def everything(
    word: str,
    number: int,
    share: float = 0.5,
    sure: bool = False,
    who: JID | None = None,
    *rest: str,
    colour: Literal["red", "blue"] = "red",
    caller: JID,
) -> str:
    """Take everything.

    It says what it took.
    """
    return f"{word!r} {number} {share} {sure} {who} {rest} {colour} {caller}"


PARAMETERS = parameters_of(everything)


@pytest.mark.parametrize(
    ("line", "values", "keywords"),
    [
        ("a 1", ["a", 1, 0.5, False, None], {}),
        ("'a b' 1 .25 yes bob@x c d", ["a b", 1, 0.25, True, JID("bob@x"), "c", "d"], {}),
        ('"it\'s" -1 1e3 OFF', ["it's", -1, 1000.0, False, None], {}),
        ("a colour=blue 1", ["a", 1, 0.5, False, None], {"colour": "blue"}),
        ("x=y 1", ["x=y", 1, 0.5, False, None], {}),
    ],
)
def test_words_become_values(line: str, values: list[object], keywords: dict[str, str]) -> None:
    call = bind(PARAMETERS, split(line), [])
    assert (call.positional, call.keywords) == (values, keywords)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a", "number is missing"),
        ("a b", "number is a whole number, not 'b'"),
        ("a 1 b", "share is a number, not 'b'"),
        ("a 1 1 perhaps", "sure is yes or no, not 'perhaps'"),
        ("a 1 1 no a@b@c", "who is an address, not 'a@b@c'"),
        ("a 1 colour=green", "colour is one of red, blue, not 'green'"),
        ("'a", "no closing quotation"),
    ],
)
def test_wrong_words(line: str, said: str) -> None:
    with pytest.raises(CommandError) as caught:
        bind(PARAMETERS, split(line), [])
    assert str(caught.value) == said


def test_too_many() -> None:
    with pytest.raises(CommandError, match="too many arguments: b c"):
        bind(parameters_of(lambda a: None), ["a", "b", "c"], [])


def one(name: str, file: File) -> None: ...
def some(*files: File) -> None: ...
def maybe(name: str, *, file: File | None = None) -> None: ...


def test_files_are_arguments() -> None:
    f, g = File("http://x/f"), File("http://x/g")
    assert bind(parameters_of(one), ["a"], [f]).positional == ["a", f]
    assert bind(parameters_of(some), [], [f, g]).positional == [f, g]
    assert bind(parameters_of(maybe), ["a"], [f]).keywords == {"file": f}
    assert bind(parameters_of(maybe), ["a"], []).keywords == {}
    url = bind(parameters_of(one), ["a", "http://x/h"], []).positional[1]
    assert (url.url, url.name) == ("http://x/h", "h")
    with pytest.raises(CommandError, match="too many files"):
        bind(parameters_of(one), ["a"], [f, g])
    with pytest.raises(CommandError, match="it takes no file"):
        bind(parameters_of(lambda a: None), ["a"], [f])
    with pytest.raises(CommandError, match="file is missing"):
        bind(parameters_of(one), ["a"], [])


def test_what_words_cannot_be() -> None:
    def wrong(what: dict[str, int]) -> None: ...
    def caller_in_the_middle(caller: JID) -> None: ...

    with pytest.raises(TypeError, match="what"):
        parameters_of(wrong)
    with pytest.raises(TypeError, match=r"write `\*, caller`"):
        Catalogue().add(caller_in_the_middle)


def test_help_comes_from_docstrings() -> None:
    catalogue = Catalogue()
    command = catalogue.add(everything, "all")
    catalogue.add(lambda: None, "bare")
    usage = "all WORD NUMBER [SHARE] [SURE] [WHO] [REST ...] [colour=RED|BLUE]"
    assert overview(catalogue) == f"{usage} - Take everything.\nbare"
    assert details(command) == f"{usage}\nTake everything.\n\nIt says what it took."
    assert overview([]) == "there is nothing you may call"
    catalogue.remove("bare")
    assert "bare" not in catalogue
    with pytest.raises(KeyError):
        catalogue.remove("bare")
    with pytest.raises(CommandError, match="no command 'bare'; try help"):
        catalogue.find("bare")


@pytest.mark.parametrize(
    ("whom", "may"),
    [
        (["alice@example.org"], True),
        (["alice@example.org/phone"], True),
        (["alice@example.org/desk"], False),
        (["example.org"], True),
        (["*"], True),
        (["bob@example.org", "other.org"], False),
        ([], False),
    ],
)
def test_who_may_call_what(whom: list[str], may: bool) -> None:
    permissions = Permissions({"*": ["*"], "deploy": whom})
    assert permissions.allows(ALICE, "deploy") is may
    assert permissions.allows(ALICE, "other")
    assert not Permissions({}).allows(ALICE, "other")


def test_a_rule_is_a_list() -> None:
    with pytest.raises(TypeError, match="a list of addresses"):
        Permissions({"*": "alice"})


def test_files_of_a_message() -> None:
    data = base64.b64encode(b"\x00bits").decode()
    message = stanza(
        "<message><body>x</body><x xmlns='jabber:x:oob'><url> http://x/a/b.txt </url>"
        "<desc>it</desc></x><x xmlns='jabber:x:oob'/>"
        f"<data xmlns='urn:xmpp:bob' cid='sha1+1@bob' type='image/png'>{data}</data>"
        "<data xmlns='urn:xmpp:bob' cid='broken'>A</data></message>"
    )
    first, second = files_of(message)
    assert (first.url, first.name, first.description) == ("http://x/a/b.txt", "b.txt", "it")
    assert (second.url, second.data, second.type) == ("cid:sha1+1@bob", b"\x00bits", "image/png")


@pytest.mark.asyncio
@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "cid:x"])
async def test_what_is_not_fetched(url: str) -> None:
    with pytest.raises(ValueError, match="not fetched"):
        await File(url).read()


def test_a_form_is_made_of_the_signature() -> None:
    form = adhoc.ask(Catalogue().add(everything, "all")).find("{jabber:x:data}x")
    assert form is not None
    fields = {
        field.get("var"): (
            field.get("type"),
            field.find("{jabber:x:data}required") is not None,
            field.findtext("{jabber:x:data}value"),
        )
        for field in form.iterfind("{jabber:x:data}field")
    }
    assert fields == {
        "word": ("text-single", True, None),
        "number": ("text-single", True, None),
        "share": ("text-single", False, "0.5"),
        "sure": ("boolean", False, "false"),
        "who": ("jid-single", False, None),
        "rest": ("text-multi", False, None),
        "colour": ("list-single", False, "red"),
    }
    options = form.findall(".//{jabber:x:data}option")
    assert [option.get("label") for option in options] == ["red", "blue"]


def submitted(**values: list[str]) -> Element:
    fields = "".join(
        f"<field var='{name}'>{''.join(f'<value>{v}</value>' for v in many)}</field>"
        for name, many in values.items()
    )
    return ElementTree.fromstring(
        f"<command xmlns='{adhoc.COMMANDS}'><x xmlns='jabber:x:data' type='submit'>{fields}</x>"
        "</command>"
    )


def test_a_form_that_comes_back() -> None:
    command = Catalogue().add(everything, "all")
    form = submitted(word=["a"], number=["2"], sure=["1"], rest=["x", "y"], colour=["blue"])
    assert adhoc.is_submitted(form)
    assert adhoc.values(command, form) == (
        ["a", 2, 0.5, True, None, "x", "y"],
        {"colour": "blue"},
    )
    with pytest.raises(CommandError, match="number is missing"):
        adhoc.values(command, submitted(word=["a"], number=[""]))
    assert not adhoc.is_submitted(ElementTree.fromstring(f"<command xmlns='{adhoc.COMMANDS}'/>"))


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (None, "done"),
        ([], "done"),
        (3, "3"),
        (["a", 1], "a\n1"),
        ({"a": 1, "b": 2}, "a: 1\nb: 2"),
        ("x", "x"),
    ],
)
def test_what_a_command_returns(result: object, text: str) -> None:
    assert said(result) == text


def test_an_exception_as_text() -> None:
    assert describe(ValueError("no")) == "ValueError: no"
    assert describe(ValueError()) == "ValueError"
