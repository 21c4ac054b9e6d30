"""Proof that the servers the other tests rely on do what those expect."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import slixmpp

from tests.servers import Ejabberd, Prosody, XmppServer, available, client, disconnect

COMPONENTS = {"svc.localhost": "one secret", "other.localhost": 'a "quoted" secret'}
SECONDS = 10.0

KINDS = [
    pytest.param(
        kind,
        id=kind.program,
        marks=[
            getattr(pytest.mark, kind.program),
            pytest.mark.skipif(
                not available(kind), reason=f"{kind.program} is not installed on this machine"
            ),
        ],
    )
    for kind in (Prosody, Ejabberd)
]


def next_body(xmpp: slixmpp.ClientXMPP) -> asyncio.Future[tuple[str, str]]:
    """Sender and body of the next message, asked for before it can arrive."""
    future: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()

    def on_message(message: slixmpp.Message) -> None:
        if not future.done():
            future.set_result((str(message["from"]), str(message["body"])))

    xmpp.add_event_handler("message", on_message, disposable=True)
    return future


async def echo_component(server: XmppServer, jid: str) -> slixmpp.ComponentXMPP:
    """A component that answers each message with the same body."""
    component = slixmpp.ComponentXMPP(  # type: ignore[no-untyped-call]
        jid, server.components[jid], server.host, server.component_port
    )

    def on_message(message: slixmpp.Message) -> None:
        if message["type"] != "error":
            message.reply(message["body"]).send()  # type: ignore[no-untyped-call]

    component.add_event_handler("message", on_message)
    started = asyncio.ensure_future(component.wait_until("session_start", SECONDS))
    await asyncio.sleep(0)
    component.connect()
    await started
    return component


async def check_echo(server: XmppServer, alice: slixmpp.ClientXMPP, jid: str) -> None:
    """One message there and back through a component."""
    component = await echo_component(server, jid)
    received = next_body(alice)
    alice.send_message(mto=slixmpp.JID(f"{jid}/any"), mbody="to the component", mtype="chat")
    answer = await asyncio.wait_for(received, SECONDS)
    assert answer == (f"{jid}/any", "to the component")
    await disconnect(component)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", KINDS)
async def test_server(kind: type[XmppServer], tmp_path: Path) -> None:
    """Everything the other tests take for granted, before and after a restart."""
    async with kind(tmp_path / "server", COMPONENTS) as server:
        ports = (server.client_port, server.component_port)
        alice = await client(server, "alice", "desk")
        bob = await client(server, "bob", "phone")
        received = next_body(bob)
        alice.send_message(mto=bob.boundjid, mbody="hello", mtype="chat")
        assert await asyncio.wait_for(received, SECONDS) == ("alice@localhost/desk", "hello")
        for jid in COMPONENTS:
            await check_echo(server, alice, jid)
        await disconnect(alice)
        await disconnect(bob)

        before = server.pid
        await server.restart()
        assert server.pid != before
        assert ports == (server.client_port, server.component_port)
        alice = await client(server, "alice", "desk")
        await check_echo(server, alice, "svc.localhost")
        await disconnect(alice)
        after = server.pid
    for pid in (before, after):
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.killpg(pid, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", KINDS)
async def test_early_end_is_told(
    kind: type[XmppServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that cannot start says why, instead of letting a test time out."""
    command = ["sh", "-c", "echo no such luck; exit 3"]
    monkeypatch.setattr(kind, "_prepare", lambda _: (command, {}))
    with pytest.raises(RuntimeError, match=r"ended with 3:\n--- console.log\nno such luck"):
        await kind(tmp_path, COMPONENTS).start()
