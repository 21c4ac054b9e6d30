"""The XEP-0114 conversation: both roles back to back, then each against what peers really say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from balancer.elements import Closed, Element
from balancer.framing import Framer
from balancer.stanza import ACCEPT_NS, STREAM_NS, Stanza
from balancer.stream import (
    Acceptor,
    Credential,
    Established,
    Event,
    Failed,
    Initiator,
    Introduced,
    State,
    digest,
    stream_error,
)

JID = "svc.example"
COMPONENTS = {JID: (Credential(None, "common"), Credential("worker", "own"))}
ERROR_NS = "xmlns='urn:ietf:params:xml:ns:xmpp-streams'"
MESSAGE = b"<message to='a@b'/>"


def initiator(secret: str = "common", jid: str = JID) -> Initiator:
    return Initiator(jid, secret, Framer(10_000))


def acceptor(stream_id: str | None = "42", jid: str = JID) -> Acceptor:
    return Acceptor({jid: COMPONENTS[JID]}, Framer(10_000), stream_id)


def header(attributes: str = f"to='{JID}'", ns: str = ACCEPT_NS) -> bytes:
    return f"<stream:stream xmlns:stream='{STREAM_NS}' xmlns='{ns}' {attributes}>".encode()


def meet(ours: Initiator, theirs: Acceptor) -> tuple[list[Event], list[Event]]:
    """Pipe the two into each other, byte by byte, until both are silent."""
    ours.open()
    heard: tuple[list[Event], list[Event]] = ([], [])
    while True:
        up, down = ours.outgoing(), theirs.outgoing()
        if not up and not down:
            return heard
        for byte in up:
            heard[1].extend(theirs.receive(bytes([byte])))
        if theirs.state is State.BINDING:
            theirs.welcome()
        for byte in down:
            heard[0].extend(ours.receive(bytes([byte])))


def opened_initiator() -> Initiator:
    stream = initiator()
    stream.open()
    assert stream.receive(header("id='1'") + b"<handshake/>") == [Established()]
    stream.outgoing()
    return stream


def opened_acceptor() -> Acceptor:
    stream = acceptor()
    proof = digest("42", "common").encode()
    stream.receive(header() + b"<handshake>%s</handshake>" % proof)
    stream.welcome()
    stream.outgoing()
    return stream


# Back to back.


@pytest.mark.parametrize(
    ("jid", "secret", "introduced"),
    [
        (JID, "common", Introduced(JID, None, None)),
        (JID, "own", Introduced(JID, None, "worker")),
        (f"{JID}/blue", "own", Introduced(JID, "blue", "worker")),
        (f"{JID}/a/b", "common", Introduced(JID, "a/b", None)),
        (f"{JID}/", "common", Introduced(JID, None, None)),
        ("SVC.example/Blue", "common", Introduced(JID, "Blue", None)),
    ],
)
@pytest.mark.parametrize("stream_id", ["42", None, "a&b'<\">\t"])
def test_back_to_back(jid: str, secret: str, introduced: Introduced, stream_id: str | None) -> None:
    ours, theirs = initiator(secret, jid), acceptor(stream_id)
    assert meet(ours, theirs) == ([Established()], [introduced])
    assert (ours.state, theirs.state) == (State.OPEN, State.OPEN)

    for sender, receiver in ((ours, theirs), (theirs, ours)):
        (event,) = receiver.receive(MESSAGE)
        assert isinstance(event, Stanza)
        assert event.data == MESSAGE
        assert sender.outgoing() == b""

    ours.close()
    assert theirs.receive(ours.outgoing()) == [Closed()]
    assert ours.receive(theirs.outgoing()) == []
    assert ours.is_closed()
    assert theirs.is_closed()


def test_back_to_back_with_a_wrong_secret() -> None:
    ours, theirs = initiator("wrong"), acceptor()
    heard = meet(ours, theirs)
    text = "the handshake does not fit any secret"
    assert heard == (
        [Failed("not-authorized", text, by_peer=True)],
        [Failed("not-authorized", text, by_peer=False)],
    )
    assert ours.is_closed()
    assert theirs.is_closed()


def test_stream_ids_differ_by_default() -> None:
    ids = set()
    for _ in range(2):
        stream = acceptor(None)
        stream.receive(header())
        ids.add(stream.outgoing())
    assert len(ids) == 2


# The initiator against servers.


@pytest.mark.parametrize(
    ("attributes", "hashed"),
    [("id='42'", "42"), ('id="a&amp;b\'"', "a&b'"), ("id='&#x20;&apos;'", " '"), ("", "")],
)
def test_the_stream_id_is_hashed_unescaped(attributes: str, hashed: str) -> None:
    stream = initiator()
    stream.open()
    assert stream.outgoing().endswith(b" to='svc.example'>")
    assert stream.receive(header(attributes)) == []
    assert stream.outgoing() == f"<handshake>{digest(hashed, 'common')}</handshake>".encode()


def test_digest_is_that_of_the_specification() -> None:
    # printf 3BF96D32test | sha1sum
    assert digest("3BF96D32", "test") == "aaee83c26aeeafcbabeabfcbcd50df997e0a2a1e"


@pytest.mark.parametrize(
    "answer",
    [b"<handshake/>", b"<handshake></handshake>", b"<handshake xmlns='%s'/>" % ACCEPT_NS.encode()],
)
def test_what_a_server_accepts_with(answer: bytes) -> None:
    stream = initiator()
    stream.open()
    stream.receive(header("id='1'"))
    assert stream.receive(b"<other/>") == []
    first, second = stream.receive(answer + MESSAGE)
    assert first == Established()
    assert isinstance(second, Stanza)


SAID = [
    (
        f"<not-authorized {ERROR_NS}/><text {ERROR_NS}>No &lt;way</text>",
        "not-authorized",
        "No <way",
    ),
    (f"<conflict {ERROR_NS}/>", "conflict", ""),
    (f"<text {ERROR_NS}/><x xmlns='urn:x'/><conflict {ERROR_NS}/>", "conflict", ""),
    (f"<g:what/><conflict {ERROR_NS}/>", "undefined-condition", ""),
    ("", "undefined-condition", ""),
]


@pytest.mark.parametrize("before", [b"", b"<handshake/>"])
@pytest.mark.parametrize(("body", "condition", "text"), SAID)
def test_stream_errors_of_a_server(before: bytes, body: str, condition: str, text: str) -> None:
    stream = initiator()
    stream.open()
    stream.receive(header("id='1' xmlns:g='urn:g'") + before)
    error = f"<stream:error>{body}</stream:error></stream:stream>".encode()
    assert stream.receive(error + MESSAGE) == [Failed(condition, text, by_peer=True)]
    assert stream.outgoing().endswith(b"</stream:stream>")
    assert stream.is_closed()


def test_a_stranger_on_the_line() -> None:
    stream = initiator()
    stream.open()
    (event,) = stream.receive(header("id='1'", "jabber:client"))
    assert isinstance(event, Failed)
    assert (event.condition, event.by_peer) == ("invalid-namespace", False)


# The acceptor against backends.

PROOF = digest("42", "own")


@pytest.mark.parametrize(
    "handshake",
    [
        f"<handshake>{PROOF}</handshake>",
        f"<handshake>\n  {PROOF}\t</handshake>",
        f"<handshake>{PROOF.upper()}</handshake >",
        f"<handshake xmlns='{ACCEPT_NS}'>{PROOF}</handshake>",
        f'<handshake xmlns="{ACCEPT_NS}" >{PROOF}</handshake>',
    ],
)
def test_handshakes_that_fit(handshake: str) -> None:
    stream = acceptor()
    assert stream.receive(header() + handshake.encode()) == [Introduced(JID, None, "worker")]
    assert stream.outgoing().endswith(b" id='42' from='svc.example'>")
    stream.welcome()
    assert stream.outgoing() == b"<handshake/>"


@pytest.mark.parametrize(
    "said",
    [
        b"<handshake/>",
        b"<handshake></handshake>",
        b"<handshake>%s</handshake>" % PROOF[:-1].encode(),
        b"<handshake xmlns='urn:x'>%s</handshake>" % PROOF.encode(),
        b"<auth/>",
        MESSAGE,
        b"<handshake>%s</handshake>" % PROOF.encode() + MESSAGE,
        b"<handshake>%s</handshake><x/>" % PROOF.encode(),
    ],
)
def test_what_is_not_authorized(said: bytes) -> None:
    stream = acceptor()
    *_, last = stream.receive(header() + said)
    assert isinstance(last, Failed)
    assert (last.condition, last.by_peer) == ("not-authorized", False)
    assert stream.is_closed()
    assert stream.outgoing().endswith(stream_error(last.condition, last.text))


@pytest.mark.parametrize(
    ("attributes", "jid", "name"),
    [
        (f"to='{JID}'", JID, None),
        (f"from='{JID}/n'", JID, "n"),
        (f"to='' from='{JID}'", JID, None),
        (f"to='{JID}/n' from='other'", JID, "n"),
        (f"to='other' from='{JID}'", None, None),
        ("to='x.example'", None, None),
        ("", None, None),
    ],
)
def test_whom_the_header_means(attributes: str, jid: str | None, name: str | None) -> None:
    stream = acceptor()
    events = stream.receive(header(attributes))
    if jid is None:
        (failed,) = events
        assert isinstance(failed, Failed)
        assert failed.condition == "host-unknown"
        assert b" id='42'><stream:error><host-unknown " in stream.outgoing()
    else:
        handshake = f"<handshake>{PROOF}</handshake>".encode()
        assert stream.receive(handshake) == [Introduced(jid, name, "worker")]


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (header(ns="jabber:client"), "invalid-namespace"),
        (header().replace(b":stream ", b":flow ", 1), "invalid-namespace"),
        (header().replace(STREAM_NS.encode(), b"urn:x"), "invalid-namespace"),
        (b"GET / HTTP/1.1\r\n\r\n", "not-well-formed"),
        (header() + b"<!-- -->", "restricted-xml"),
        (header() + b"<handshake" + b" " * 10_001, "policy-violation"),
    ],
)
def test_our_header_comes_before_our_error(data: bytes, condition: str) -> None:
    stream = acceptor()
    (failed,) = stream.receive(data)
    assert isinstance(failed, Failed)
    assert failed.condition == condition
    said = stream.outgoing()
    assert said.count(b"<stream:stream ") == 1
    # what we say can be read by our own other half
    peer = initiator()
    peer.open()
    (heard,) = peer.receive(said)
    assert heard == failed._replace(by_peer=True)


# The end, in both roles.

OPENED = [
    pytest.param(opened_initiator, id="initiator"),
    pytest.param(opened_acceptor, id="acceptor"),
]


@pytest.mark.parametrize("role", [initiator, acceptor])
def test_close_before_anything_was_said_is_silent(role: Callable[[], Initiator | Acceptor]) -> None:
    stream = role()
    stream.close()
    assert (stream.outgoing(), stream.is_closed()) == (b"", True)


@pytest.mark.parametrize("role", [initiator, acceptor])
def test_fail_before_anything_was_said_says_our_header_first(
    role: Callable[[], Initiator | Acceptor],
) -> None:
    stream = role()
    assert str(stream.fail("system-shutdown", "bye")) == "system-shutdown: bye"
    said = stream.outgoing()
    assert said.startswith(b"<?xml version='1.0'?><stream:stream ")
    assert said.endswith(stream_error("system-shutdown", "bye"))


@pytest.mark.parametrize("role", OPENED)
def test_nothing_after_the_end(role: Callable[[], Initiator | Acceptor]) -> None:
    stream = role()
    stream.close()
    assert stream.outgoing() == b"</stream:stream>"
    stream.close()
    assert stream.fail("conflict") == Failed("conflict", "", by_peer=False)
    assert stream.receive(MESSAGE) == []
    assert stream.outgoing() == b""


@pytest.mark.parametrize("role", OPENED)
def test_what_an_open_stream_hands_on(role: Callable[[], Initiator | Acceptor]) -> None:
    stream = role()
    kinds = [type(event) for event in stream.receive(MESSAGE + b"<r xmlns='urn:xmpp:sm:3'/>")]
    assert kinds == [Stanza, Element]
    kinds = [type(event) for event in stream.receive(MESSAGE + b"</stream:stream>" + MESSAGE)]
    assert kinds == [Stanza, Closed]
    assert stream.outgoing() == b"</stream:stream>"


@pytest.mark.parametrize(("condition", "shown"), [("conflict", "conflict"), ("reset", "reset")])
def test_a_failure_without_text(condition: str, shown: str) -> None:
    assert str(Failed(condition, "", by_peer=True)) == shown


def test_an_oversize_stanza_is_told_in_every_dialect() -> None:
    assert b"<stanza-too-big xmlns='urn:xmpp:errors'/>" in stream_error("policy-violation")
    assert b"too-big" not in stream_error("conflict")


def test_welcome_is_for_those_who_proved_themselves() -> None:
    with pytest.raises(AssertionError):
        acceptor().welcome()


@pytest.mark.parametrize(
    ("stream", "shown"),
    [
        (initiator(), "<Initiator start>"),
        (acceptor(), "<Acceptor header>"),
        (opened_acceptor(), "<Acceptor open>"),
    ],
)
def test_repr(stream: Initiator | Acceptor, shown: str) -> None:
    assert repr(stream) == shown


# Ending from our side.


def test_finishing_says_the_last_word_and_listens_on() -> None:
    ours = opened_acceptor()
    ours.finish()
    assert ours.state is State.FINISHING
    assert ours.outgoing() == b"</stream:stream>"
    (stanza,) = ours.receive(b"<message to='a' from='b'/>")
    assert isinstance(stanza, Stanza)
    assert ours.receive(b"<a xmlns='urn:xmpp:sm:3' h='1'/>")
    (closed,) = ours.receive(b"</stream:stream>")
    assert isinstance(closed, Closed)
    assert (ours.state, ours.outgoing()) == (State.CLOSED, b"")


def test_what_is_wrong_after_the_last_word_is_not_answered() -> None:
    ours = opened_acceptor()
    ours.finish()
    ours.outgoing()
    (failed,) = ours.receive(b"<message></iq>")
    assert isinstance(failed, Failed)
    assert (ours.state, ours.outgoing()) == (State.CLOSED, b"")


def test_finishing_before_the_handshake_is_closing() -> None:
    ours = acceptor()
    ours.finish()
    assert ours.state is State.CLOSED
