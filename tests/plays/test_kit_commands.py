"""A daemon commanded by people: by chat, and by ad-hoc commands."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal

import pytest
from slixmpp import JID
from slixmpp.exceptions import IqError

from backends.commands import CommandError, Daemon, File
from backends.commands.presence import Here
from backends.errors import received
from tests.kit.stage import serving
from tests.servers import XmppServer, client, disconnect
from tests.stage import BACKEND_SECRET, balancing, until
from tests.stage import JID as SERVICE

pytestmark = pytest.mark.asyncio

ALLOW = {"*": ["alice@localhost"], "help": ["*"], "add": ["localhost"]}


class Calculator(Daemon):
    """What the plays command."""

    async def handle_add(self, first: int, second: int = 1) -> int:
        """Add two numbers.

        The second is 1 unless it is given.
        """
        return first + second

    def handle_say(self, *words: str, colour: Literal["red", "blue"] = "red") -> str:
        """Say it."""
        return f"{colour}: {'|'.join(words)}"

    def handle_whoami(self, *, caller: JID) -> str:
        return str(caller)

    async def handle_size(self, *files: File) -> list[str]:
        """Measure files."""
        return [f"{len(await file.read())} bytes of {file.type or 'something'}" for file in files]

    def handle_fail(self) -> None:
        raise ZeroDivisionError("by zero")

    def handle_nothing(self) -> None:
        pass

    def handle_refuse(self) -> None:
        raise CommandError("not today")


class Person:
    """A client, and what its user reads."""

    def __init__(self, xmpp: Any) -> None:
        self.xmpp = xmpp
        self.read: list[str] = []
        self.errors: list[Any] = []
        xmpp.add_event_handler("message", lambda message: self.read.append(message["body"]))
        xmpp.add_event_handler("message_error", self.errors.append)
        for plugin in ("xep_0004", "xep_0066", "xep_0231"):
            xmpp.register_plugin(plugin)

    async def types(self, text: str) -> str:
        """What is read after that."""
        before = len(self.read)
        self.xmpp.send_message(SERVICE, text, mtype="chat")
        await until(lambda: len(self.read) > before)
        return self.read[-1]


@asynccontextmanager
async def stage(server: XmppServer, **options: Any) -> AsyncIterator[tuple[Person, Calculator]]:
    async with balancing(server) as service:
        servers = [f"127.0.0.1:{service.listener.port}"]
        daemon = Calculator(f"{SERVICE}/d", BACKEND_SECRET, servers, allow=ALLOW, **options)
        async with serving(daemon):
            alice = await client(server, "alice", "phone")
            try:
                yield Person(alice), daemon
            finally:
                await disconnect(alice)


async def test_commands_by_chat(server: XmppServer) -> None:
    async with stage(server) as (alice, daemon):
        assert await alice.types("add 40 2") == "42"
        assert await alice.types("add 41") == "42"
        assert await alice.types("say 'two words' three colour=blue") == "blue: two words|three"
        assert await alice.types("whoami") == "alice@localhost/phone"
        assert await alice.types("nothing") == "done"
        assert await alice.types("add x") == "error: first is a whole number, not 'x'"
        assert await alice.types("fail") == "error: ZeroDivisionError: by zero"
        assert await alice.types("refuse") == "error: not today"
        assert (
            await alice.types("frobnicate") == "error: there is no command 'frobnicate'; try help"
        )
        overview = await alice.types("help")
        assert "add FIRST [SECOND] - Add two numbers." in overview.splitlines()
        assert "The second is 1 unless it is given." in await alice.types("help add")
        # They come and go while it runs.

        @daemon.command
        def handle_new() -> str:
            return "brand new"

        assert await alice.types("new") == "brand new"
        daemon.commands.remove("new")
        assert "no command 'new'" in await alice.types("new")


async def test_who_may_call_what(prosody: XmppServer) -> None:
    async with stage(prosody) as (_, __):
        xmpp = await client(prosody, "bob", "desk")
        bob = Person(xmpp)
        assert await bob.types("add 1 2") == "3"
        assert (await bob.types("help")).splitlines() == [
            "add FIRST [SECOND] - Add two numbers.",
            "help [COMMAND] - Say which commands there are, or what one of them does.",
        ]
        xmpp.send_message(SERVICE, "whoami", mtype="chat")
        await until(lambda: bob.errors)
        assert received(bob.errors[0]).condition == "forbidden"
        items = await xmpp.plugin["xep_0050"].get_commands(SERVICE)
        assert {node for _, node, _ in items["disco_items"]["items"]} == {"add", "help"}
        with pytest.raises(IqError) as caught:
            await xmpp.plugin["xep_0050"].send_command(SERVICE, "whoami")
        assert received(caught.value.iq).condition == "forbidden"
        await disconnect(xmpp)


@contextmanager
def web(content: bytes) -> Iterator[str]:
    """A file on a web server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as there:
        thread = threading.Thread(target=there.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{there.server_port}/a/file.txt"
        there.shutdown()
        thread.join()


async def test_files(prosody: XmppServer) -> None:
    with web(b"twelve bytes") as url:
        async with stage(prosody) as (alice, _):
            # Out-of-band data (XEP-0066) with the command, and bits of binary (XEP-0231).
            message = alice.xmpp.make_message(SERVICE, "size", mtype="chat")
            message["oob"]["url"] = url
            message["bob"]["data"] = b"\x00\x01\x02"
            message["bob"]["type"] = "image/png"
            message["bob"]["cid"] = "sha1+x@bob.xmpp.org"
            message.send()
            await until(lambda: alice.read)
            assert alice.read.pop().splitlines() == [
                "12 bytes of something",
                "3 bytes of image/png",
            ]
            # As many clients do it: the file first, as a message of its own.
            message = alice.xmpp.make_message(SERVICE, url, mtype="chat")
            message["oob"]["url"] = url
            message.send()
            await until(lambda: alice.read)
            assert alice.read == ["1 kept for your next command"]
            assert await alice.types("size") == "12 bytes of something"
            assert await alice.types("size") == "done", "they are used once"
            assert await alice.types(f"size {url}") == "12 bytes of something"


async def test_the_same_as_ad_hoc_commands(server: XmppServer) -> None:
    async with stage(server) as (alice, _):
        adhoc = alice.xmpp.plugin["xep_0050"]
        items = await adhoc.get_commands(SERVICE)
        names = sorted(node for _, node, _ in items["disco_items"]["items"])
        assert names == ["add", "fail", "help", "nothing", "refuse", "say", "size", "whoami"]
        info = await alice.xmpp.plugin["xep_0030"].get_info(SERVICE)
        assert "http://jabber.org/protocol/commands" in info["disco_info"]["features"]

        # slixmpp's own workflow: a person fills in the form.
        ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def fill_in(iq: Any, session: Any) -> None:
            form = iq["command"]["form"]
            assert form["title"] == "add"
            fields = form.get_fields()
            assert list(fields) == ["first", "second"]
            assert fields["second"]["value"] == "1"
            answer = alice.xmpp.plugin["xep_0004"].make_form(ftype="submit")
            answer.add_field(var="first", value="40")
            answer.add_field(var="second", value="2")
            session["payload"] = answer
            session["next"] = lambda iq, session: ended.set_result(iq)
            adhoc.complete_command(session)

        adhoc.start_command(SERVICE, "add", {"next": fill_in, "error": print})
        result = await asyncio.wait_for(ended, 20)
        assert result["command"]["status"] == "completed"
        assert result["command"]["notes"] == [("info", "42")]

        # Without parameters there is nothing to fill in.
        result = await adhoc.send_command(SERVICE, "whoami")
        assert result["command"]["notes"] == [("info", "alice@localhost/phone")]
        result = await adhoc.send_command(SERVICE, "fail")
        assert result["command"]["notes"] == [("error", "ZeroDivisionError: by zero")]
        # A form can be given up, and what is wrong in it is refused.
        form = await adhoc.send_command(SERVICE, "add")
        assert form["command"]["status"] == "executing"
        sessionid = form["command"]["sessionid"]
        given_up = await adhoc.send_command(SERVICE, "add", action="cancel", sessionid=sessionid)
        assert given_up["command"]["status"] == "canceled"
        wrong = alice.xmpp.plugin["xep_0004"].make_form(ftype="submit")
        wrong.add_field(var="first", value="x")
        with pytest.raises(IqError) as caught:
            await adhoc.send_command(SERVICE, "add", action="complete", payload=wrong)
        error = received(caught.value.iq)
        assert (error.condition, error.text) == (
            "bad-request",
            "first is a whole number, not 'x'",
        )
        with pytest.raises(IqError) as caught:
            await adhoc.send_command(SERVICE, "frobnicate")
        assert received(caught.value.iq).condition == "item-not-found"


async def test_waiting_for_all_to_be_here(prosody: XmppServer) -> None:
    async with stage(prosody) as (alice, daemon):
        everybody = ["alice@localhost", "bob@localhost/desk"]
        with pytest.raises(TimeoutError, match="not here: alice@localhost, bob@localhost/desk"):
            await daemon.wait_until_all_here(everybody, 0.2)
        waiting = asyncio.create_task(daemon.wait_until_all_here(everybody, 20))
        alice.xmpp.send_presence(pto=SERVICE)
        await until(lambda: "alice@localhost" in daemon.here)
        assert not waiting.done()
        bob = await client(prosody, "bob", "desk")
        bob.send_presence(pto=SERVICE)
        await waiting
        bob.send_presence(pto=SERVICE, ptype="unavailable")
        await until(lambda: "bob@localhost" not in daemon.here)
        await disconnect(bob)


async def test_a_subscriber_is_found_by_a_probe(prosody: XmppServer) -> None:
    async with stage(prosody) as (alice, daemon):
        alice.xmpp.send_presence_subscription(SERVICE)
        await until(lambda: "alice@localhost" in daemon.here)
        daemon.here = Here()  # as after a restart, of which the server tells nobody
        await daemon.wait_until_all_here(["alice@localhost"], 20)


@pytest.mark.parametrize("end", [True, False])
async def test_the_loss_of_a_master(prosody: XmppServer, end: bool) -> None:
    options = {"master": "alice@localhost", "end_with_master": end}
    async with stage(prosody, **options) as (alice, daemon):
        alice.xmpp.send_presence(pto=SERVICE)
        await daemon.wait_until_all_here(["alice@localhost"], 20)
        await disconnect(alice.xmpp)
        await until(lambda: "alice@localhost" not in daemon.here)
        assert daemon._stopping.is_set() is end
