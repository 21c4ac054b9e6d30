from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

import pytest

from backends.answers import answer_to
from backends.control import redelivered, weight
from backends.errors import CONDITIONS, StanzaError, error_of, error_reply, may_be_answered
from backends.handlers import Handlers, payload_namespace
from backends.xml import RawXml
from tests.kit.stanzas import stanza


async def one(_: Any) -> None: ...
async def two(_: Any) -> None: ...
async def other(_: Any) -> None: ...


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ("<message><body>x</body></message>", [one]),
        ("<message type='error'><body>x</body></message>", []),
        ("<presence/>", [two]),
        ("<presence type='error'/>", []),
        ("<iq type='get' id='1'><q xmlns='urn:a'/></iq>", [one]),
        ("<iq type='set' id='1'><q xmlns='urn:b'/></iq>", [other]),
        ("<iq type='set' id='1'/>", [other]),
        ("<iq type='result' id='1'><q xmlns='urn:a'/></iq>", []),
        ("<message><x xmlns='urn:seen'/></message>", [one, two]),
    ],
)
def test_who_handles_what(xml: str, expected: list[Any]) -> None:
    handlers = Handlers()
    handlers.message(one)
    handlers.presence(two)
    handlers.iq("urn:a")(one)
    handlers.iq(other)
    handlers.filter("message/{urn:seen}x")(two)
    assert [rule.handler for rule in handlers.of(stanza(xml))] == expected


def test_a_request_is_answered_by_one() -> None:
    handlers = Handlers()
    handlers.iq("urn:a")(one)
    handlers.iq()(two)
    with pytest.raises(ValueError, match="urn:a has a handler: one"):
        handlers.iq("urn:a")(two)
    with pytest.raises(ValueError, match="two handles all other"):
        handlers.iq(one)
    assert handlers.namespaces == {"urn:a"}
    handlers.remove(one)
    handlers.remove(two)
    assert list(handlers) == []
    with pytest.raises(KeyError):
        handlers.remove(one)


def test_no_xpath() -> None:
    with pytest.raises(SyntaxError):
        Handlers().filter("message[")


def test_the_payload_s_namespace() -> None:
    assert payload_namespace(stanza("<iq type='get' id='1'><q xmlns='urn:a'/></iq>")) == "urn:a"
    assert payload_namespace(stanza("<iq type='get' id='1'/>")) == ""


MESSAGE = "<message type='{}' id='1' from='a@x/r' to='svc.localhost'><thread>t</thread></message>"


@pytest.mark.parametrize(
    ("type_", "answer"),
    [
        ("chat", '<message type="chat" from="svc.localhost" to="a@x/r">'),
        ("groupchat", '<message type="groupchat" from="svc.localhost" to="a@x">'),
        ("headline", '<message type="normal" from="svc.localhost" to="a@x/r">'),
    ],
)
def test_a_text_answers_in_the_same_conversation(type_: str, answer: str) -> None:
    said = str(answer_to(stanza(MESSAGE.format(type_)), "a\x01<b"))
    assert said == f"{answer}<thread>t</thread><body>a\ufffd&lt;b</body></message>"


def test_answers() -> None:
    message = stanza(MESSAGE.format("chat"))
    iq = stanza("<iq type='get' id='7' from='a@x/r' to='svc.localhost'><q xmlns='urn:a'/></iq>")
    assert answer_to(message, None) is None
    assert answer_to(message, "") is None
    assert answer_to(iq, "") is not None
    assert str(answer_to(iq, None)) == '<iq type="result" id="7" from="svc.localhost" to="a@x/r" />'
    element = Element("{urn:a}r")
    assert '<r xmlns="urn:a" />' in str(answer_to(iq, element))
    assert str(answer_to(iq, [element, element])).count("<r ") == 2
    assert "<r xmlns='urn:r'/></iq>" in str(answer_to(iq, RawXml("<r xmlns='urn:r'/>")))
    assert answer_to(iq, message) is message
    with pytest.raises(TypeError, match="returned int"):
        answer_to(iq, 3)
    with pytest.raises(TypeError, match="list with int"):
        answer_to(iq, [3])


@pytest.mark.parametrize("condition", CONDITIONS)
def test_an_error_as_a_stanza(condition: str) -> None:
    error = StanzaError(condition, "why")
    iq = stanza("<iq type='get' id='7' from='a@x/r' to='svc.localhost'><q xmlns='urn:a'/></iq>")
    reply = error_reply(iq, error)
    assert (reply["type"], reply["id"], str(reply["to"])) == ("error", "7", "a@x/r")
    assert reply["error"]["condition"] == condition
    assert reply["error"]["type"] == CONDITIONS[condition].type
    assert reply["error"]["text"] == "why"
    assert error.status == CONDITIONS[condition].status


@pytest.mark.parametrize(
    ("exception", "condition"),
    [
        (StanzaError("gone"), "gone"),
        (TimeoutError(), "remote-server-timeout"),
        (NotImplementedError(), "feature-not-implemented"),
        (PermissionError("secret"), "forbidden"),
        (KeyError("secret"), "internal-server-error"),
    ],
)
def test_what_an_exception_becomes(exception: Exception, condition: str) -> None:
    error = error_of(exception)
    assert error.condition == condition
    assert "secret" not in error.text


def test_no_error() -> None:
    with pytest.raises(ValueError, match="no type"):
        StanzaError("gone", type="bad")
    with pytest.raises(ValueError, match="condition"):
        StanzaError("bad")


def test_what_is_never_answered() -> None:
    assert may_be_answered(stanza("<message/>"))
    for xml in (
        "<message type='error'/>",
        "<iq type='result' id='1'/>",
        "<iq type='error' id='1'/>",
    ):
        assert not may_be_answered(stanza(xml))


def test_redelivered() -> None:
    mark = "<redelivered xmlns='urn:xmpp-balancer:0'/>"
    assert redelivered(stanza(f"<message><body>x</body>{mark}</message>"))
    # A user may write anything, but not at the end: there the balancer writes its own.
    assert not redelivered(stanza(f"<message>{mark}<body>x</body></message>"))
    assert not redelivered(stanza("<message/>"))


@pytest.mark.parametrize("value", [0, 257])
def test_no_weight(value: int) -> None:
    with pytest.raises(ValueError, match="1 to 256"):
        weight(value)
