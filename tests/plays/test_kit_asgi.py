"""ASGI applications as components, talked to by a client, through the balancer."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
import structlog
from slixmpp.exceptions import IqError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from backends import Backend
from backends.asgi import AsgiServer
from backends.asgi.__main__ import main
from backends.asgi.lifespan import LifespanError
from backends.errors import CONDITIONS, StanzaError, error_reply, received
from tests.kit.apps.plain import Plain
from tests.kit.stage import behind
from tests.servers import Prosody, XmppServer, client, disconnect
from tests.stage import BACKEND_SECRET, JID, SECRET, balancing, until

pytestmark = pytest.mark.asyncio

SHIM = "{http://jabber.org/protocol/shim}"
HTTP = "{urn:xmpp:http}"
SOAP = "{http://www.w3.org/2003/05/soap-envelope}"


@asynccontextmanager
async def served(backend: Backend, app: Any, **options: Any) -> AsyncIterator[AsgiServer]:
    """The application is served within."""
    server = AsgiServer(app, backend, **options)
    task = asyncio.create_task(server.serve(drain=5.0))
    try:
        await until(lambda: backend.online or task.done())
        yield server
    finally:
        backend.stop()
        await task


@asynccontextmanager
async def stage(
    prosody: XmppServer, app: Any, concurrency: int = 100, **options: Any
) -> AsyncIterator[tuple[Any, Backend]]:
    """The application behind a balancer, and a client."""
    async with balancing(prosody) as service:
        backend = behind(service, concurrency=concurrency)
        async with served(backend, app, **options):
            alice = await client(prosody, "alice", "phone")
            try:
                yield alice, backend
            finally:
                await disconnect(alice)


async def ask(
    alice: Any, path: str, payload: Any = None, type_: str = "get", jid: str = JID
) -> Any:
    """The payload of the answer; an answer in text is its text."""
    iq = alice.Iq(stype=type_, sto=f"{jid}/{path}" if path else jid)
    # A request has exactly one child (RFC 6120 §8.2.3); Prosody refuses any other.
    iq.append(payload if payload is not None else Element("{urn:example:ask}please"))
    result = await iq.send(timeout=20)
    child = next(iter(result.xml), None)
    if child is not None and child.tag == "{jabber:client}body":
        return child.text
    return child


async def refused(alice: Any, path: str, **options: Any) -> StanzaError:
    with pytest.raises(IqError) as caught:
        await ask(alice, path, **options)
    return received(caught.value.iq)


async def test_every_status_is_its_condition(prosody: XmppServer) -> None:
    async with stage(prosody, Plain()) as (alice, _):
        got = {}
        for name, known in CONDITIONS.items():
            error = await refused(alice, f"status/{known.status}")
            got[name] = (error.condition, error.etype, error.text)
        assert got == {name: (name, known.type, "because") for name, known in CONDITIONS.items()}
        for status, name in ((405, "not-allowed"), (408, "remote-server-timeout"),
                             (413, "not-acceptable"), (415, "not-acceptable"),
                             (429, "resource-constraint")):  # fmt: skip
            assert (await refused(alice, f"status/{status}")).condition == name
        error = await refused(alice, "headers/x?status=404&xmpp-error-type=wait")
        assert (error.condition, error.etype, error.text) == ("item-not-found", "wait", "x")


async def test_every_condition_is_its_status(prosody: XmppServer) -> None:
    async with stage(prosody, Plain()) as (alice, _):

        def answer(iq: Any) -> None:
            name = iq.xml[0].tag.rpartition("}")[2]
            if name == "fine":
                reply = iq.reply()
                reply.append(Element("{urn:example:ask}answer"))
                reply.send()
            else:
                error_reply(iq, StanzaError(name, "said alice")).send()

        for name in ("fine", *CONDITIONS):
            path = f"{{jabber:client}}iq/{{urn:example:ask}}{name}"
            alice.register_handler(Callback(name, MatchXPath(path), answer))
        assert await ask(alice, "ask/fine") == "{urn:example:ask}answer"
        got = {name: await ask(alice, f"ask/{name}") for name in CONDITIONS}
        assert got == {
            name: f"{known.status} {known.type} said alice" for name, known in CONDITIONS.items()
        }


async def test_messages_and_presence(prosody: XmppServer) -> None:
    app = Plain()
    async with stage(prosody, app) as (alice, _):
        heard: list[Any] = []
        for event in ("message", "message_error", "presence_error"):
            alice.add_event_handler(event, heard.append)
        # Dropped on success.
        alice.send_message(f"{JID}/echo", "hello")
        alice.send_presence(pto=f"{JID}/echo")
        await until(lambda: len(app.bodies) == 2)
        kinds = [dict(scope["headers"])[b"xmpp-stanza"] for scope in app.scopes]
        assert kinds == [b"message", b"presence"]
        assert [scope["method"] for scope in app.scopes] == ["POST", "POST"]
        assert app.bodies[0] == b'<body xmlns="jabber:client">hello</body>'
        # An error is told.
        alice.send_message(f"{JID}/status/410", "hello")
        await until(lambda: heard)
        alice.send_presence(pto=f"{JID}/status/403")
        await until(lambda: len(heard) == 2)
        assert [(each.name, received(each).condition) for each in heard] == [
            ("message", "gone"),
            ("presence", "forbidden"),
        ]
        # A reply can be asked for.
        alice.send_message(f"{JID}/headers/well?xmpp-reply=true", "how are you?", mtype="chat")
        await until(lambda: len(heard) == 3)
        assert (heard[2]["body"], heard[2]["type"]) == ("well", "chat")


async def test_all_messages_can_be_answered(prosody: XmppServer) -> None:
    async with stage(prosody, Plain(), reply=True) as (alice, _):
        heard: list[Any] = []
        alice.add_event_handler("message", heard.append)
        alice.send_message(f"{JID}/headers/well", "how are you?")
        await until(lambda: heard)
        assert heard[0]["body"] == "well"


async def test_soap_in_and_out(prosody: XmppServer) -> None:
    xsi = "{http://www.w3.org/2001/XMLSchema-instance}"
    seen: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        """A SOAP service: it multiplies, or faults."""
        if scope["type"] != "http":
            raise NotImplementedError
        seen.append((await receive())["body"])
        envelope = ElementTree.fromstring(seen[-1])
        numbers = [int(each.text or "") for each in envelope.iter("{urn:example:calc}n")]
        fault = "<e:Fault><e:Code><e:Value>e:Sender</e:Value></e:Code></e:Fault>"
        good = "<c:product xmlns:c='urn:example:calc' xsi:type='c:number'>42</c:product>"
        status, inner = (200, good) if len(numbers) == 2 else (500, fault)
        answer = (
            "<?xml version='1.0' encoding='utf-8'?>"
            f"<e:Envelope xmlns:e='{SOAP[1:-1]}' xmlns:xsi='{xsi[1:-1]}'>"
            f"<e:Body>{inner}</e:Body></e:Envelope>"
        )
        headers = [(b"content-type", b"application/soap+xml; charset=utf-8")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.encode()})

    def envelope(*numbers: int) -> Element:
        root = Element(f"{SOAP}Envelope")
        product = ElementTree.SubElement(
            ElementTree.SubElement(root, f"{SOAP}Body"), "{urn:example:calc}product"
        )
        for number in numbers:
            n = ElementTree.SubElement(product, "{urn:example:calc}n")
            n.text = str(number)
        return root

    async with stage(prosody, app) as (alice, _):
        result = await ask(alice, "", envelope(6, 7), "set")
        assert result.tag == f"{SOAP}Envelope"
        product = result[0][0]
        assert (product.tag, product.text) == ("{urn:example:calc}product", "42")
        assert product.get(f"{xsi}type") == "c:number", "what slixmpp would leave out"
        with pytest.raises(IqError) as caught:
            await ask(alice, "", envelope(6), "set")
        assert received(caught.value.iq).condition == "internal-server-error"
        assert caught.value.iq.xml.find(f"{SOAP}Envelope/{SOAP}Body/{SOAP}Fault") is not None


async def test_http_over_xmpp(prosody: XmppServer) -> None:
    from tests.kit.apps.starlette_app import app

    def req(method: str, resource: str, host: str = "testserver") -> Element:
        element = Element(f"{HTTP}req", {"method": method, "resource": resource, "version": "1.1"})
        headers = ElementTree.SubElement(element, f"{SHIM}headers")
        ElementTree.SubElement(headers, f"{SHIM}header", {"name": "Host"}).text = host
        return element

    async with stage(prosody, app) as (alice, _):
        resp = await ask(alice, "", req("GET", "/users/tom"), "set")
        assert (resp.tag, resp.get("statusCode")) == (f"{HTTP}resp", "200")
        assert resp.findtext(f"{HTTP}data/{HTTP}text") == "Hello, tom!"
        resp = await ask(alice, "", req("HEAD", "/func"), "set")
        assert resp.get("statusCode") == "200"
        assert resp.find(f"{HTTP}data") is None
        lengths = [h.text for h in resp.iter(f"{SHIM}header") if h.get("name") == "Content-Length"]
        assert lengths == ["13"], "the headers of GET"
        # A status of HTTP is no stanza error here.
        resp = await ask(alice, "", req("POST", "/func"), "set")
        assert (resp.get("statusCode"), resp.get("statusMessage")) == ("405", "Method Not Allowed")
        resp = await ask(alice, "", req("GET", "/", "foo.example.org"), "set")
        assert resp.findtext(f"{HTTP}data/{HTTP}text") == "Subdomain: foo"
        info = await alice.plugin["xep_0030"].get_info(JID)
        assert "urn:xmpp:http" in info["disco_info"]["features"]


async def test_starlette_s_own_test_application(tmp_path: Any) -> None:
    from tests.kit.apps.starlette_app import app

    hosts = ("testserver", "foo.example.org", JID)  # its middleware knows the first two
    async with Prosody(tmp_path, dict.fromkeys(hosts, SECRET)) as prosody:
        servers = [f"127.0.0.1:{prosody.component_port}"]
        alice = await client(prosody, "alice", "phone")
        async with served(Backend("testserver", SECRET, servers, balancer=False), app):
            for path, text in (
                ("func", "Hello, world!"),
                ("async", "Hello, world!"),
                ("class", "Hello, world!"),
                ("users/", "Hello, everyone!"),
                ("users/tomchristie", "Hello, tomchristie!"),
                ("state", '{"count":1}'),
            ):
                assert await ask(alice, path, jid="testserver") == text, path
            for path, type_, condition, text in (
                ("500", "get", "internal-server-error", '{"detail":"Server Error"}'),
                ("func", "set", "not-allowed", '{"detail":"Custom message"}'),
                ("class", "set", "not-allowed", '{"detail":"Custom message"}'),
                ("404", "get", "item-not-found", '{"detail":"Not Found"}'),
            ):
                error = await refused(alice, path, type_=type_, jid="testserver")
                assert (error.condition, error.text) == (condition, text)
        async with served(Backend("foo.example.org", SECRET, servers, balancer=False), app):
            assert await ask(alice, "/", jid="foo.example.org") == "Subdomain: foo"
        async with served(Backend(JID, SECRET, servers, balancer=False), app):
            error = await refused(alice, "func")
            assert (error.condition, error.text) == ("bad-request", "Invalid host header")
        await disconnect(alice)


async def test_django_unchanged(prosody: XmppServer) -> None:
    pytest.importorskip("django", reason="django is not installed")
    from tests.kit.apps.django_app import app

    async with stage(prosody, app) as (alice, _):
        assert await ask(alice, "hello/Zoé") == f"Hello, Zoé, from {JID}"
        numbers = ElementTree.fromstring("<ns xmlns='urn:example:sum'><n>20</n><n>22</n></ns>")
        total = await ask(alice, "count", numbers, "set")
        assert (total.tag, total.text) == ("{urn:example:sum}sum", "42")
        who = await ask(alice, "who?a=b")
        assert '"method": "GET"' in who
        assert who.count(str(alice.boundjid)) == 2
        assert '"query": {"a": "b"}' in who
        assert (await refused(alice, "forbidden")).condition == "forbidden"
        assert (await refused(alice, "missing")).condition == "item-not-found"


async def test_fastapi_unchanged(prosody: XmppServer) -> None:
    from tests.kit.apps.fastapi_app import app, done

    async with stage(prosody, app) as (alice, _):
        assert await ask(alice, "items/7?full=1") == '{"number":7,"full":true}'
        assert await ask(alice, "whoami") == str(alice.boundjid)
        error = await refused(alice, "items/12")
        assert (error.condition, error.text) == ("item-not-found", '{"detail":"no such item"}')
        error = await refused(alice, "items/many")
        assert error.condition == "subscription-required"  # the table's 422
        assert "int_parsing" in error.text
        assert (await ask(alice, "later", type_="set")).tag == "{urn:example:later}accepted"
        await until(lambda: done == ["later"])


async def test_an_application_sends_stanzas_of_its_own(prosody: XmppServer) -> None:
    async with stage(prosody, Plain()) as (alice, _):
        heard: list[Any] = []
        alice.add_event_handler("message", heard.append)
        alice.add_event_handler("presence_away", heard.append)
        loop = asyncio.get_running_loop()
        loop.set_debug(True)  # it then tells of calls from other threads that are not safe
        assert await ask(alice, "send") is None
        await until(lambda: len(heard) == 4)
        one, two, three, four = heard
        assert one["body"] == "one"
        assert one.xml.find("{urn:example:x}x") is not None
        assert (two["status"], two["type"]) == ("two", "away")
        assert (three["body"], three["type"]) == ("three", "chat")
        assert four["body"] == "four"
        assert {str(each["from"]) for each in heard} == {f"{JID}/send"}


async def test_what_the_asgi_specification_says(prosody: XmppServer) -> None:
    app = Plain()
    async with stage(prosody, app, timeout=0.5) as (alice, _):
        assert app.seen == ["startup"]
        streamed = await ask(alice, "stream")
        assert streamed.tag == "{urn:a}a"
        assert streamed[0].tag == "{urn:a}b"
        await until(lambda: app.seen == ["startup", "disconnected"])
        error = await refused(alice, "never")
        assert (error.condition, error.etype) == ("remote-server-timeout", "wait")
        await until(lambda: app.seen[2:] == ["too late"])
        for path in ("nothing", "half", "wrong"):
            assert (await refused(alice, path)).condition == "internal-server-error"
        assert (await refused(alice, "large")).condition == "resource-constraint"
        assert app.scopes[-1]["state"] == {"began": True}
        app.scopes[-1]["state"]["mine"] = True
        await ask(alice, "echo", Element("{urn:e}e"))
        assert app.scopes[-1]["state"] == {"began": True}, "each has a copy"
    assert app.seen[-1] == "shutdown"


async def test_an_application_that_cannot_start(prosody: XmppServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async with balancing(prosody) as service:
        backend = behind(service)
        with pytest.raises(LifespanError, match="no database"):
            await AsgiServer(app, backend).serve()
        assert backend.counts["connected"] == 0, "it is not there before it is ready"


async def test_requests_run_at_once_up_to_a_bound(prosody: XmppServer) -> None:
    app = Plain()
    async with stage(prosody, app, concurrency=4) as (alice, _):
        asked = [asyncio.ensure_future(ask(alice, "wait")) for _ in range(12)]
        await until(lambda: app.running == 4)
        app.go.set()
        await asyncio.gather(*asked)
        assert app.most == 4


async def test_the_command(prosody: XmppServer, tmp_path: Path) -> None:
    secret = tmp_path / "backend.secret"
    secret.write_text(f"{BACKEND_SECRET}\n")
    async with balancing(prosody) as service:
        pool = service.components[JID].router.pool
        server = f"127.0.0.1:{service.listener.port}"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "backends.asgi", "tests.kit.apps.fastapi_app:app"),
            *("--jid", f"{JID}/web-1", "--server", server, "--log", "json"),
            *("--secret-file", str(secret)),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            await until(lambda: pool.get("web-1") is not None)
            alice = await client(prosody, "alice", "phone")
            for number in range(1, 7):
                if number in (1, 4):  # the trace on, and off: heard before the next but one
                    process.send_signal(signal.SIGUSR1)
                said = await ask(alice, f"items/{number}")
                assert said == f'{{"number":{number},"full":false}}'
            process.terminate()
            _, written = await asyncio.wait_for(process.communicate(), 20)
            assert process.returncode == 0
            log = [json.loads(line) for line in written.decode().splitlines()]
            events = [each["event"] for each in log if each["event"] != "xml"]
            assert events == ["connected", "draining", "disconnected"]
            traced = " ".join(each["xml"] for each in log if each["event"] == "xml")
            assert "items/3" in traced
            assert "items/6" not in traced
            await until(lambda: not len(pool))
            await disconnect(alice)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["no.module:app", "--jid", "x", "--secret", "s"], "'no.module' cannot be imported"),
        (["backends:nothing", "--jid", "x", "--secret", "s"], "has no attribute 'nothing'"),
        (["backends:Backend", "--jid", "x", "--secret", "s", "--weight", "0"], "1 to 256"),
        (["backends:Backend", "--jid", "x", "--secret-file", "/no"], "/no cannot be read"),
        (["backends:Backend", "--jid", "x"], "set BACKEND_SECRET"),
    ],
)
async def test_what_the_command_refuses(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
    finally:
        structlog.reset_defaults()  # this test's standard error is no place for others' logs
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err
